"""What Google searched for an answer, as it is billed. Pure.

Models up to Gemini 2.x are billed by the answer that was grounded, however many queries
that took; later ones by the query. Only answers that were grounded list queries.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw, Struct

from wire.jsontext import JSON_ERRORS

BY_THE_ANSWER: Final = ("gemini-1", "gemini-2")


class _Grounding(Struct):
    webSearchQueries: list[str] | None = None  # noqa: N815


_grounding = msgspec.json.Decoder(_Grounding)


def searches_of(grounding: Raw, model: str) -> int:
    """How many searches one candidate's `groundingMetadata` is billed as."""
    if b"webSearchQueries" not in bytes(grounding):
        return 0
    try:
        queries = _grounding.decode(grounding).webSearchQueries or ()
    except JSON_ERRORS:
        return 0
    count = sum(bool(query.strip()) for query in queries)
    by_the_answer = model.rpartition("/")[2].startswith(BY_THE_ANSWER)
    return min(count, 1) if by_the_answer else count
