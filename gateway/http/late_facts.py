"""What an answer's head would have said, in a stream that had to begin before it. Pure.

A stream that is silent for long is begun with a head of its own, so that no proxy cuts
it; who answers, and how, is not known then. It comes as comments in front of the first
event, a header field a line: whoever reads the bytes finds it, and no official client
ever sees it. Dialects whose clients choke on comments go without.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from wire.dialect import ClientDialect

# Those of every stream, and of every whole answer: they were said, or mean nothing.
SAID: Final = frozenset({"content-type", "content-length", "x-request-id"})


def late_facts(dialect: ClientDialect, fields: Iterable[tuple[str, str]]) -> bytes:
    """The lines; without a blank one, so that they are no event of their own."""
    if not dialect.reads_sse:
        return b""
    said = SAID.union(name for name, _ in dialect.stream_headers)
    # A field's value has no end of line in it; should one ever have, it is no line.
    return b"".join(
        f": {name}: {' '.join(value.split())}\n".encode()
        for name, value in fields
        if name not in said
    )
