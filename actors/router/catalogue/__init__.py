"""The catalogue: what is known of models before anyone asks them.

    schema.py    what an entry says; money in integers
    names.py     the ways in which one model is written
    lookup.py    layers of catalogues, and finding a model in them
    files.py     reading and writing them
    convert.py   from the public list that it is made from
    rules.py     how families of models count pictures
    diff.py      what changed between two

Pure but for files.py. An unknown model is unpriced, never free.
"""
