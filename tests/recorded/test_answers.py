"""Every recorded answer through the whole gateway, read by the official clients.

A recording is served by the kind of provider it came from, cut at seeded points, and
asked for in every dialect that leads there. What the client holds says the same as the
recording, by a reader that shares no code with the gateway; and the record that money
is counted from says the same, too.

By default each recording is played to the client of its own dialect and to one other,
in turn; RECORDED_ALL=1 plays every pair.
"""

from __future__ import annotations

import base64
import json
import struct
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.recorded.bridge import MODEL, replayed
from tests.recorded.normal import comparable, expected
from tests.recorded.official import Ask, Told, ask
from tests.recorded.places import (
    LEFT_OUT,
    Pair,
    clients_of,
    is_native,
    pairs,
    reason_left_out,
    sampled,
)
from tests.recordings_cases import Case
from tests.recordings_reader import read
from tests.support_recordings import cases, names

ANSWERS = [pair for pair in pairs(ok=True) if not read(pair.case).error]

# Recorded at addresses that the settings do not lead to by themselves: one of a
# router's providers, Azure's older inference API, a region in the middle, a beta.
OTHER_ADDRESSES = (
    "azure-openai/",
    "bedrock-mantle/",
    "compat-huggingface/",
    "gemini-openai-compat/",
    "vertex/",
)
NATIVE = [
    pair
    for pair in ANSWERS
    if is_native(pair)
    and pair.case.url
    and not pair.case.name.startswith(OTHER_ADDRESSES)
]


@pytest.mark.parametrize("pair", sampled(ANSWERS), ids=str)
async def test_an_official_client_reads_what_the_provider_said(pair: Pair) -> None:
    """Text, thoughts, calls with their arguments, end and usage; and the record's."""
    how = Ask(pair.case.streamed)
    async with replayed(pair) as (stage, upstream):
        told = await stage.run(lambda http: ask(pair.client, how, http))
        records = await stage.gateway.records()

    assert isinstance(told, Told), told
    assert comparable(told.reading, pair.client) == expected(pair)
    assert len(upstream.served) == 1
    [record] = records
    assert record.outcome == "ok"
    usage = read(pair.case).usage
    if usage is not None and not (usage.prompt or usage.completion):
        # Text that cost no token: nobody's count, so ours is recorded.
        assert record.usage_estimated
    elif usage is not None:
        assert (record.prompt_tokens, record.output_tokens) == (
            usage.prompt,
            usage.completion,
        )
        assert record.cached_tokens == usage.cached
        assert not record.usage_estimated


def floats_of(embedding: Any, *, int8: bool) -> list[float]:
    """A recorded vector as numbers, as each provider packs them."""
    if isinstance(embedding, list):
        return embedding
    data = base64.b64decode(embedding)
    if int8:
        return [float(value) for value in struct.unpack(f"{len(data)}b", data)]
    return list(struct.unpack(f"<{len(data) // 4}f", data))


@pytest.mark.parametrize(
    "pair", [pair for pair in ANSWERS if pair.client == "embeddings"], ids=str
)
async def test_vectors_arrive_as_numbers(pair: Pair) -> None:
    """Whatever they were packed in, and under the name that was asked for."""
    async with replayed(pair) as (stage, _):
        told = await stage.run(lambda http: ask(pair.client, Ask(False), http))

    assert isinstance(told, Told), told
    assert told.held["model"] == MODEL
    int8 = pair.case.provider == "compat-perplexity"
    found = [item["embedding"] for item in told.held["data"]]
    wanted = [
        floats_of(item["embedding"], int8=int8)
        for item in json.loads(pair.case.body)["data"]
    ]
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("pair", NATIVE[::5], ids=str)
async def test_the_provider_is_asked_where_it_was_recorded(pair: Pair) -> None:
    """The path, the deployment and the version are those of the recording."""
    case = pair.case
    async with replayed(pair) as (stage, upstream):
        await stage.run(lambda http: ask(pair.client, Ask(case.streamed), http))

    [served] = upstream.served
    assert served.method == case.method
    assert unquote(served.path) == wanted_path(case)
    assert "made-up-key" not in str(served)


def wanted_path(case: Case) -> str:
    """The recorded path; Google's streams are asked for as events, always."""
    url = urlsplit(case.url or "")
    path = unquote(url.path).removeprefix("/beta")
    streams = path.endswith(":streamGenerateContent")
    return f"{path}?alt=sse" if streams else path


@pytest.mark.parametrize("case", cases(), ids=names(cases()))
def test_every_recording_is_replayed_or_has_a_reason(case: Case) -> None:
    """None is forgotten: 375 recordings, each in one of two lists."""
    assert bool(clients_of(case)) != (reason_left_out(case) in LEFT_OUT)


def test_the_recordings_are_there() -> None:
    """An empty set would pass in silence."""
    assert len(cases()) == 375
    assert sum(bool(clients_of(case)) for case in cases()) >= 330
    assert len(ANSWERS) >= 970
