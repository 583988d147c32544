"""Where Google says its text comes from, and how sure it was, in our words. Pure.

Grounding segments count UTF-8 bytes, citations count too; ours count characters.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from wire.events import Citation, Event
from wire.gemini_schema import SOURCE, Candidate
from wire.jsontext import JSON_ERRORS, decode_object, encode


class _Web(Struct):
    uri: str = ""
    title: str = ""


class _GroundingChunk(Struct):
    web: _Web | None = None
    retrievedContext: _Web | None = None  # noqa: N815 - Google's spelling


class _Segment(Struct):
    startIndex: int = 0  # noqa: N815
    endIndex: int = 0  # noqa: N815
    text: str = ""


class _Support(Struct):
    segment: _Segment | None = None
    groundingChunkIndices: list[int] = []  # noqa: N815


class _Grounding(Struct):
    groundingChunks: list[_GroundingChunk] | None = None  # noqa: N815
    groundingSupports: list[_Support] | None = None  # noqa: N815


class _Source(Struct):
    startIndex: int = 0  # noqa: N815
    endIndex: int = 0  # noqa: N815
    uri: str = ""
    title: str = ""


class _Cited(Struct):
    citationSources: list[_Source] | None = None  # noqa: N815
    citations: list[_Source] | None = None  # Vertex's name for the same


def citations(candidate: Candidate, text: str) -> list[Event]:
    """The links of a candidate; nothing where their JSON is not as expected."""
    try:
        grounding = msgspec.json.decode(
            candidate.groundingMetadata or b"{}", type=_Grounding
        )
        cited = msgspec.json.decode(candidate.citationMetadata or b"{}", type=_Cited)
    except JSON_ERRORS:
        return []  # A new shape of links is no reason to fail an answer.
    out: list[Event] = []
    encoded = text.encode()

    def chars(at: int) -> int:
        return len(encoded[:at].decode("utf-8", "ignore"))

    chunks = grounding.groundingChunks or []
    for support in grounding.groundingSupports or ():
        segment = support.segment or _Segment()
        for at in support.groundingChunkIndices:
            chunk = chunks[at] if 0 <= at < len(chunks) else _GroundingChunk()
            web = chunk.web or chunk.retrievedContext
            if web is not None:
                out.append(
                    Citation(
                        url=web.uri,
                        title=web.title,
                        text=segment.text,
                        start=chars(segment.startIndex),
                        end=chars(segment.endIndex),
                        choice=candidate.index,
                        source=SOURCE,
                    )
                )
    out.extend(
        Citation(
            url=source.uri,
            title=source.title,
            start=chars(source.startIndex),
            end=chars(source.endIndex),
            choice=candidate.index,
            source=SOURCE,
        )
        for source in (*(cited.citationSources or ()), *(cited.citations or ()))
    )
    return out


class _Token(Struct):
    token: str = ""
    logProbability: float = 0.0  # noqa: N815


class _Top(Struct):
    candidates: list[_Token] = []


class _LogprobsResult(Struct):
    chosenCandidates: list[_Token] = []  # noqa: N815
    topCandidates: list[_Top] = []  # noqa: N815


def openai_logprobs(raw: Raw) -> bytes:
    """Google's log probabilities as OpenAI's object; b"" where there are none."""
    try:
        result = msgspec.json.decode(raw, type=_LogprobsResult)
    except JSON_ERRORS:
        return b""
    tops = result.topCandidates
    content: list[dict[str, Any]] = []
    for at, chosen in enumerate(result.chosenCandidates):
        others = tops[at].candidates if at < len(tops) else []
        entry = _entry(chosen)
        entry["top_logprobs"] = [_entry(other) for other in others]
        content.append(entry)
    return encode({"content": content, "refusal": None}) if content else b""


def google_logprobs(pieces: list[bytes]) -> dict[str, Any] | None:
    """OpenAI's log probabilities, piece by piece, as Google's `logprobsResult`."""
    chosen: list[dict[str, Any]] = []
    tops: list[dict[str, Any]] = []
    for piece in pieces:
        said = decode_object(piece) or {}
        content = said.get("content")
        for token in content if isinstance(content, list) else ():
            if not isinstance(token, dict):
                continue
            chosen.append(_google_entry(token))
            others = token.get("top_logprobs")
            listed = others if isinstance(others, list) else []
            entries = [_google_entry(o) for o in listed if isinstance(o, dict)]
            tops.append({"candidates": entries})
    return {"chosenCandidates": chosen, "topCandidates": tops} if chosen else None


def _google_entry(token: dict[str, Any]) -> dict[str, Any]:
    return {"token": token.get("token"), "logProbability": token.get("logprob")}


def _entry(token: _Token) -> dict[str, Any]:
    return {
        "token": token.token,
        "logprob": token.logProbability,
        "bytes": list(token.token.encode()),
    }
