"""A sample over real sockets: clients, `stagedoor serve` and stub providers.

The stubs write each recording in pieces of 1 to 7 bytes, a chunk of the transfer
encoding each, on connections that are kept alive.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from tests.recorded.normal import comparable, expected
from tests.recorded.official import Ask, Raised, Told, ask
from tests.recorded.places import pairs
from tests.recorded.process import Served, sample, serving
from tests.recordings_reader import read

SEED = 11
SAMPLE = sample(pairs(), SEED)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One gateway for all."""
    with serving(tmp_path_factory.mktemp("loopback"), SAMPLE) as made:
        yield made


@pytest.mark.parametrize("at", range(len(SAMPLE)), ids=[str(p) for p in SAMPLE])
def test_a_recording_is_read_over_sockets(served: Served, at: int) -> None:
    """The same as in memory: what the client holds is what was recorded."""
    name, pair = f"m{at}", SAMPLE[at]
    how = Ask(pair.case.streamed, served.base_url, name)
    with httpx2.Client(timeout=60) as http:
        answer = ask(pair.client, how, http)

    reading = read(pair.case)
    asked = [one for slug, one in served.upstream.served if slug == name]
    assert asked
    assert all("content-length" in one.headers for one in asked)
    if reading.error is None:
        assert isinstance(answer, Told), answer
        assert comparable(answer.reading, pair.client) == expected(pair)
    else:
        assert isinstance(answer, Raised), answer
        assert answer.status not in {401, 403}


def test_the_sample_covers_every_folder() -> None:
    """Each folder that is replayed at all."""
    replayed = {pair.case.provider for pair in pairs()}
    assert {pair.case.provider for pair in SAMPLE} == replayed
