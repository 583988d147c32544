"""Relay base and translation: what is promised to the stream that drives them."""

from collections.abc import Sequence

import pytest

from wire import events as ev
from wire.dialect import Reading
from wire.flavours import FLAVOURS
from wire.openai_chat_relay import ChatRelay
from wire.relay import Translation


class ScriptedDecoder:
    """Answers each feed with the next list of events; the last one ends the grammar."""

    def __init__(self, *script: list[ev.Event], cut: bool = False) -> None:
        self.script = list(script)
        self.cut = cut
        self.done = False

    def feed(self, data: bytes) -> list[ev.Event]:
        events = self.script.pop(0)
        self.done = not self.script and not self.cut
        return events

    def finish(self) -> list[ev.Event]:
        return [ev.Fault("transient", "cut", truncated=True)] if self.cut else []


class SpellingEncoder:
    """Writes one letter an event, so that order and loss are visible."""

    def encode(self, events: Sequence[ev.Event]) -> bytes:
        return b"".join(type(event).__name__[:1].encode() for event in events)

    def finish(self) -> bytes:
        return b"."


START, TEXT, FINISH = ev.Start(), ev.TextDelta("ab"), ev.Finish("stop")
USAGE = ev.Usage(prompt=1)
FAULT = ev.Fault("transient", "boom")


def run(*script: list[ev.Event], cut: bool = False) -> list[Reading]:
    reader = Translation(ScriptedDecoder(*script, cut=cut), SpellingEncoder())
    return [*(reader.feed(b"") for _ in script), reader.finish()]


def test_nothing_is_encoded_before_the_first_content() -> None:
    readings = run([START], [ev.TextDelta("")], [TEXT], [FINISH, USAGE])
    assert [r.out for r in readings] == [b"", b"", b"STT", b"FU.", b""]
    assert [r.content for r in readings] == [False, False, True, False, False]
    assert readings[2].output_chars == 2
    assert readings[3].finish == "stop"
    assert readings[3].usage == USAGE
    assert readings[3].done


def test_an_answer_without_content_comes_out_at_its_end() -> None:
    readings = run([START], [FINISH])
    assert [r.out for r in readings] == [b"", b"SF.", b""]


def test_a_fault_before_content_leaves_no_trace() -> None:
    readings = run([START], [FAULT], [TEXT])
    assert [r.out for r in readings] == [b"", b"", b"", b""]
    assert readings[1].fault == FAULT
    assert not any(r.done for r in readings)


def test_a_fault_after_content_keeps_what_came_before_it() -> None:
    readings = run([START, TEXT], [TEXT, FAULT, TEXT], [TEXT])
    assert [r.out for r in readings] == [b"ST", b"T", b"", b""]
    assert readings[1].fault == FAULT
    assert readings[2] == Reading()


def test_a_fault_beside_the_first_content_leaves_no_trace_either() -> None:
    """Nothing has gone to the client yet, so another candidate may still answer."""
    reading = run([START, TEXT, FAULT])[0]
    assert reading == Reading(fault=FAULT, events=3)


def test_a_truncated_stream_is_a_fault_without_an_end() -> None:
    readings = run([START, TEXT], cut=True)
    assert readings[-1].fault is not None
    assert readings[-1].fault.truncated
    assert readings[-1].out == b""


def test_the_end_comes_at_the_connections_end_where_there_is_no_other() -> None:
    decoder = ScriptedDecoder([START, TEXT], [FINISH])
    reader = Translation(decoder, SpellingEncoder())
    reader.feed(b"")
    decoder.cut = True
    reader.feed(b"")
    decoder.cut = False
    last = reader.finish()
    assert (last.out, last.done) == (b".", True)
    assert reader.finish() == Reading()


def test_a_cut_finishes_every_open_choice_then_says_nothing() -> None:
    reader = Translation(
        ScriptedDecoder([START, TEXT, ev.TextDelta("c", 1)], [TEXT]), SpellingEncoder()
    )
    assert reader.feed(b"").out == b"STT"
    assert reader.cut("length") == b"FF."
    assert reader.cut() == b""
    assert reader.feed(b"") == Reading()
    assert reader.finish() == Reading()


def test_a_cut_before_content_still_answers_in_the_grammar() -> None:
    reader = Translation(ScriptedDecoder([START], [TEXT]), SpellingEncoder())
    reader.feed(b"")
    assert reader.cut() == b"SF."


@pytest.mark.parametrize("step", [1, 5, 4096])
def test_an_overlong_line_is_a_fault_of_the_provider(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = ChatRelay("x", FLAVOURS["openai"])
    monkeypatch.setattr(relay._splitter, "_line_bytes_max", 100)
    body = b"data: " + b"x" * 200 + b"\n\n"
    readings = [relay.feed(body[at : at + step]) for at in range(0, len(body), step)]
    readings.append(relay.finish())
    faults = [r.fault for r in readings if r.fault is not None]
    assert len(faults) == 1
    assert faults[0].code == "upstream_malformed"
    assert "x" * 10 not in faults[0].message


def test_reprs_tell_the_state_and_no_content() -> None:
    relay = ChatRelay("x", FLAVOURS["openai"])
    assert "open" in repr(relay)
    relay.feed(b'data: {"error":{"message":"secret"}}\n\n')
    assert "failed" in repr(relay)
    assert "secret" not in repr(relay)
    assert "secret" not in repr(ev.Fault("client", "secret"))
