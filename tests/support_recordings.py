"""Recorded cases for tests: pick them by what they hold, and cut their bodies anywhere.

No cassette keeps where the chunks of a body ended, and no network promises to: a codec
must give the same events for every cut. The cuts here are seeded, so that a failing one
can be had again from the number in the test's message.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import cache

from tests.recordings_cases import Case, all_cases

PIECE_BYTES_MAX = 7  # Small enough to land in the middle of every token there is.


@cache
def _everything() -> tuple[Case, ...]:
    return tuple(all_cases())


def cases(
    *providers: str,
    family: str | None = None,
    operation: str | None = None,
    streamed: bool | None = None,
    ok: bool | None = None,
    features: Iterable[str] = (),
) -> list[Case]:
    """Return the recorded cases that fit all of the filters.

    Args:
        providers: folders of tests/recordings; none means all.
        family: the grammar of the body (see recordings_cases.FAMILIES).
        operation: the recorded operation, as in meta.json.
        streamed: only streams, or only whole answers.
        ok: only successes, or only error statuses.
        features: strings that meta.json must list.
    """
    wanted = frozenset(features)
    return [
        case
        for case in _everything()
        if (not providers or case.provider in providers)
        and family in {None, case.family}
        and operation in {None, case.operation}
        and streamed in {None, case.streamed}
        and ok in {None, case.status < 400}
        and wanted <= case.features
    ]


def case(name: str) -> Case:
    """Return the one case of this name (`provider/case`)."""
    found = [one for one in _everything() if one.name == name]
    assert len(found) == 1, f"{name}: {len(found)} recordings of that name"
    return found[0]


def names(found: Iterable[Case]) -> list[str]:
    """Ids for `pytest.mark.parametrize`."""
    return [one.name for one in found]


def cut(body: bytes, seed: int, piece_bytes_max: int = PIECE_BYTES_MAX) -> list[bytes]:
    """Cut a body into pieces of 1 to `piece_bytes_max` bytes at seeded points."""
    chance = random.Random(seed)
    pieces, at = [], 0
    while at < len(body):
        size = chance.randint(1, piece_bytes_max)
        pieces.append(body[at : at + size])
        at += size
    return pieces


def cut_cruelly(body: bytes) -> list[bytes]:
    """Cut only where it hurts: inside every UTF-8 sequence, between every CR and LF."""
    pieces, start = [], 0
    for at in range(1, len(body)):
        inside_character = body[at] & 0xC0 == 0x80
        between_cr_lf = body[at - 1 : at + 1] == b"\r\n"
        if inside_character or between_cr_lf:
            pieces.append(body[start:at])
            start = at
    pieces.append(body[start:])
    return pieces


def cuts(body: bytes, seed: int) -> dict[str, list[bytes]]:
    """Return the ways to cut that every streaming codec is tried with, by name."""
    return {
        "whole": [body],
        f"random seed={seed}": cut(body, seed),
        f"random seed={seed}, up to 500": cut(body, seed, 500),
        "in characters and CRLF": cut_cruelly(body),
    }
