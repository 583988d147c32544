"""The operations, one file a subject. `every` is the whole API."""
