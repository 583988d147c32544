"""What is wrong with an actor's class is said at import, not at the first message."""

from __future__ import annotations

import pytest

from runtime import Actor, Request, Tell, answers, handles
from tests.runtime.support_actors import Add, Counter, Note


class Ping(Request["Pinger", str], frozen=True):
    pass


class Poke(Tell["Pinger"], frozen=True):
    pass


def test_an_accepted_message_needs_a_handler() -> None:
    with pytest.raises(
        TypeError,
        match=r"Pinger accepts Poke but has no handler for it; "
        r"write one with @handles\(Poke\)",
    ):

        class Pinger(Actor):
            accepts = (Ping, Poke)

            @answers(Ping)
            def ping(self, msg: Ping) -> str:
                return "pong"


def test_a_handler_must_be_listed_when_there_is_a_list() -> None:
    with pytest.raises(TypeError, match=r"Pinger\.poke handles Poke, which is not in"):

        class Pinger(Actor):
            accepts = (Ping,)

            @answers(Ping)
            def ping(self, msg: Ping) -> str:
                return "pong"

            @handles(Poke)
            def poke(self, msg: Poke) -> None: ...


def test_one_message_has_one_handler() -> None:
    with pytest.raises(TypeError, match="two handlers for Poke: again and poke"):

        class Pinger(Actor):
            @handles(Poke)
            def poke(self, msg: Poke) -> None: ...

            @handles(Poke)
            def again(self, msg: Poke) -> None: ...


def test_a_message_for_another_actor_cannot_be_handled() -> None:
    with pytest.raises(TypeError, match=r"Stranger\.poke handles Poke.* for Pinger"):

        class Stranger(Actor):
            @handles(Poke)  # type: ignore[arg-type]
            def poke(self, msg: Poke) -> None: ...


def test_an_override_without_its_mark_is_refused() -> None:
    """It would silently take the handler out of the table."""
    with pytest.raises(TypeError, match=r"Quiet\.note overrides a handler of Counter"):

        class Quiet(Counter):
            def note(self, msg: Note) -> None: ...


def test_an_override_with_its_mark_replaces_the_handler() -> None:
    class Loud(Counter):
        @answers(Add)
        def add(self, msg: Add) -> int:
            return -1

    assert Loud.table[Add].fn is Loud.add
    assert Counter.table[Add].fn is Counter.add


def test_each_decorator_takes_its_own_kind() -> None:
    with pytest.raises(TypeError, match="Poke is no Request; use @handles"):
        answers(Poke)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="Ping is no Tell; use @answers"):
        handles(Ping)  # type: ignore[type-var]


def test_only_def_requests_run_inline_and_only_blocking_actors_need_a_scope() -> None:
    class Pinger(Actor):
        @answers(Ping)
        def ping(self, msg: Ping) -> str:
            return "pong"

        @handles(Poke)
        def poke(self, msg: Poke) -> None: ...

    assert list(Pinger.inline) == [Ping]
    assert Pinger.blocks is False
    assert Counter.blocks is True
    assert repr(Pinger.table[Ping]).startswith("<Entry Ping -> ")
