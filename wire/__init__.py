"""Sans-io codecs of every dialect: bytes in, typed events out, and back.

Start with `wire.dialect` (the interface), `wire.events` and `wire.request` (the two
vocabularies). One file a dialect, both directions. Imports stdlib and msgspec only.
"""
