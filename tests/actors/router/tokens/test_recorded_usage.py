"""Counts against what providers billed, on every recorded request that can be read.

This is where the families' numbers come from; it keeps them true.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from actors.router.tokens import text
from actors.router.tokens.content import Content
from actors.router.tokens.counter import content_of
from actors.router.tokens.families import Family, family_of
from actors.router.tokens.ranks import ENCODINGS, encoding
from actors.router.tokens.tally import Count, Yardstick, count, tally
from tests.recordings_cases import Case, all_cases
from tests.recordings_reader import read
from wire.anthropic import MESSAGES
from wire.dialect import ClientDialect
from wire.gemini import GeminiClient, parse_path
from wire.openai_chat import CHAT
from wire.openai_responses import RESPONSES
from wire.side_exchanges import EMBED_CLIENT

COUNTS = {name: partial(text.count, encoding(name)) for name in ENCODINGS}

# What no look at the request can tell: the provider added it by itself.
HIDDEN = {
    "anthropic/messages--compaction-round-trip": "a summary in the provider's form",
    "anthropic/messages-toolresult--results-returned-as-search-results": "its own form",
    "gemini/generatecontent--mobile-youtube-video-url-input": "a video behind a URL",
    "openai-responses/responses-stream-tools-reasoning--responses-stream": "its tools",
    "openrouter/chat-stream--web-search-tool-usage-stream": "eight pages that it read",
    "openrouter/chat-stream-cached--stream-native-options": "a model of the reseller's",
    "vertex/generatecontent--creates-uses-and-deletes-cache": "a cache by its name",
}


class Seen(NamedTuple):
    case: Case
    family: Family
    content: Content
    count: Count
    billed: int


def dialect_of(case: Case) -> ClientDialect | None:
    request = case.request
    match case.family:
        case "anthropic":
            return MESSAGES
        case "count":
            return MESSAGES if "messages" in request else RESPONSES
        case "chat":
            return CHAT
        case "responses":
            return RESPONSES
        case "embeddings":
            return EMBED_CLIENT if "input" in request else None
        case "gemini":
            url = urlsplit(case.url or "")
            route = parse_path(url.path, url.query)
            return None if route is None else GeminiClient(route)
        case _:
            return None


def seen() -> Iterator[Seen]:
    for case in all_cases():
        if case.request is None or case.status != 200:
            continue
        reading = read(case)
        usage = reading.usage
        billed = (usage.prompt if usage is not None else 0) or reading.input_tokens
        dialect = dialect_of(case)
        if not billed or dialect is None:
            continue
        content = content_of(dialect, json.dumps(case.request).encode(), {})
        if content is None:
            continue
        name = str(case.request.get("model") or urlsplit(case.url or "").path)
        family = family_of(name)
        found = count(tally(content, COUNTS), Yardstick(family))
        yield Seen(case, family, content, found, billed)


SEEN = list(seen())


def test_there_are_recordings_to_judge_by() -> None:
    assert len(SEEN) > 180
    assert len({one.family.name for one in SEEN}) >= 14


@pytest.mark.parametrize("one", SEEN, ids=lambda one: one.case.name)
def test_no_bill_is_above_the_bound(one: Seen) -> None:
    """A hold that is too small is a cap that is overrun."""
    if one.case.name in HIDDEN:
        assert one.billed > one.count.bound, "it is in bounds now: take it off the list"
        return
    assert one.billed <= one.count.bound


OPENAI = {"o200k", "o200k-5", "cl100k"}

# Of texts alone, for OpenAI: who did not bill what was sent.
OTHERWISE = {
    "openai-chat/chat--web-search-tool": "its system prompt was not billed",
    "openai-chat/chat-stream--data-extraction": "five tokens more in seven messages",
}


def test_texts_for_openai_are_counted_to_the_token() -> None:
    plain = [
        one
        for one in SEEN
        if one.family.name in OPENAI
        and one.case.name not in HIDDEN
        and not one.content.tools
        and not one.content.pictures
        and not one.content.files
        and not one.content.opaque_bytes
    ]
    assert len(plain) >= 30
    wrong = [one.case.name for one in plain if one.count.tokens != one.billed]
    assert wrong == list(OTHERWISE)


def test_long_prompts_are_within_a_tenth_for_openai() -> None:
    long = [
        one
        for one in SEEN
        if one.family.name in OPENAI
        and one.billed > 1000
        and not one.content.servers
        and not one.content.pictures
        and not one.content.files
        and not one.content.opaque_bytes
    ]
    assert len(long) >= 4
    for one in long:
        assert one.count.tokens == pytest.approx(one.billed, rel=0.1)
