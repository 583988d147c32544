"""Token counting: exact where the encoding is known, else with a known error.

    ranks.py       the encodings themselves, from files in this package
    text.py        text into a count, in bounded time, whatever the text is
    families.py    whose tokenizer a model has, and how far off ours is from it
    content.py     what a prompt consists of
    bodies.py      the same, from a raw body, without parsing all of it
    images.py      what a picture costs, by the rules in the catalogue
    tally.py       content into numbers, numbers into a `Count` for one family
    correction.py  what reported usage teaches
    counter.py     the one object that streams use: threads, loading, learning

All but `counter.py` (threads) and `ranks.py` (files) is pure.
"""
