"""The rule of heartbeats: who has had nothing for two looks out of three."""

from __future__ import annotations

import attrs

from actors.stream.heart import Heart


@attrs.define(eq=False)
class Channel:
    """What the heart sees of a channel."""

    passed: int = 0
    depth: int = 0
    ended: bool = False


def look(heart: Heart[Channel]) -> list[bytes]:
    return [beat for _, beat in heart.look()]


def test_the_third_of_silence_before_the_bound_is_filled() -> None:
    heart, channel = Heart[Channel](), Channel()
    heart.add(channel, b"hb")

    assert [look(heart) for _ in range(4)] == [[], [b"hb"], [b"hb"], [b"hb"]]


def test_a_heartbeat_counts_as_what_came() -> None:
    """It goes through the channel, so it is not sent at every look."""
    heart, channel = Heart[Channel](), Channel()
    heart.add(channel, b"hb")
    sent = []
    for _ in range(6):
        beats = look(heart)
        sent.append(len(beats))
        channel.passed += len(beats)

    assert sent == [0, 1, 0, 0, 1, 0]


def test_what_flows_or_waits_for_its_reader_needs_none() -> None:
    heart, flowing, stalled = Heart[Channel](), Channel(), Channel(depth=3)
    heart.add(flowing, b"a")
    heart.add(stalled, b"b")
    for _ in range(5):
        flowing.passed += 1
        assert look(heart) == []


def test_what_ended_or_was_discarded_is_forgotten() -> None:
    heart, ended, gone = Heart[Channel](), Channel(ended=True), Channel()
    heart.add(ended, b"a")
    heart.add(gone, b"b")
    heart.discard(gone)
    heart.discard(gone)

    assert look(heart) == []
    assert len(heart) == 0
