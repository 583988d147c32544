"""What an actor is made of: handlers, hooks, and the table that joins them.

Owns: the check at import that every accepted message has a handler of its kind.
Never: runs a handler; that is the guard's work. A handler is

- `def`: never blocks. For an ask it may run inline in the asker's task, when the
  actor is idle and its mailbox empty, under the same order and crash rules.
- `async def`: may block. Nothing else of this actor runs meanwhile; an ask's
  handler is cancelled at the asker's deadline or when the asker leaves.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import (
    Any,
    ClassVar,
    ForwardRef,
    Generic,
    Literal,
    TypeVar,
    get_args,
    overload,
)

from runtime._ask import Deferred
from runtime.context import Context
from runtime.message import ControlTell, Down, Exit, Request, Tell
from runtime.spec import Limit, MailboxSpec

A = TypeVar("A", bound="Actor")
R = TypeVar("R")
T_co = TypeVar("T_co", bound=Tell[Any], covariant=True)
Q_co = TypeVar("Q_co", bound=Request[Any, Any], covariant=True)
Message = type[Tell[Any]] | type[Request[Any, Any]]

Hook = Literal["none", "sync", "async"]

_MARK = "__handles_message__"


class Entry:
    """One row of an actor class's table."""

    __slots__ = ("asks", "blocking", "fn", "kind")

    def __init__(self, kind: type, fn: Callable[[Any, Any], Any]) -> None:
        self.kind = kind
        self.fn = fn
        self.asks = issubclass(kind, Request)
        self.blocking = inspect.iscoroutinefunction(fn)

    def __repr__(self) -> str:
        return f"<Entry {self.kind.__name__} -> {self.fn.__qualname__}>"


class Actor:
    """Base of all actors. One incarnation is one instance.

    `accepts` may list the messages; then a member without a handler, or a handler
    for something else, is an error at import. `on_start`, `on_stop` and `on_down`
    may each be `def` or `async def`.
    """

    mailbox: ClassVar[MailboxSpec] = MailboxSpec()
    accepts: ClassVar[tuple[type, ...]] = ()
    table: ClassVar[dict[type, Entry]] = {}
    inline: ClassVar[dict[type, Callable[[Any, Any], Any]]] = {}
    blocks: ClassVar[bool] = False
    supervises: ClassVar[bool] = False
    has_main: ClassVar[bool] = False
    starts: ClassVar[Hook] = "none"
    stops: ClassVar[Hook] = "none"
    hears_downs: ClassVar[Hook] = "none"
    limit: Limit = Limit()
    # Read of supervisors only (`supervises`), so others may use the names freely.
    children: Any = ()
    strategy: Any = "one_for_one"
    ctx: Context

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.table = _table(cls)
        cls.inline = {
            kind: entry.fn
            for kind, entry in cls.table.items()
            if entry.asks and not entry.blocking
        }
        cls.starts = _hook(cls.on_start, Actor.on_start)
        cls.stops = _hook(cls.on_stop, Actor.on_stop)
        cls.hears_downs = _hook(cls.on_down, Actor.on_down)
        # Only what may block needs a cancel scope around its life, 4 us and 1 KiB.
        hooks = (cls.on_start, cls.on_down, cls.on_drain)
        cls.blocks = any(entry.blocking for entry in cls.table.values()) or any(
            inspect.iscoroutinefunction(hook) for hook in hooks
        )
        cls.has_main = cls.main is not Actor.main
        if cls.has_main:
            _check_main(cls)
            cls.blocks = True
        if cls.supervises:  # Its start waits for its children, whatever the hooks.
            cls.starts = "async"
            cls.blocks = True

    async def main(self) -> None:
        """Do the one thing this actor is for, in its own task; its return is the end.

        For actors that are a piece of work rather than a service. They hear control
        messages only, in the teller's step and while `main` waits, so every handler
        and hook is `def`. A stop cancels `main`.
        """

    def on_start(self) -> Awaitable[None] | None:
        """Run before the first message of this incarnation."""

    def on_stop(self, why: Exit) -> Awaitable[None] | None:
        """Run last, shielded and bounded by the spec's `shutdown_s`."""

    def on_down(self, down: Down) -> Awaitable[None] | None:
        """Run when a monitored actor has ended for good."""

    def on_drain(self, deadline: float) -> Awaitable[None] | None:
        """Run once when the system begins to drain; `deadline` is trio time."""


def _check_main(cls: type[Actor]) -> None:
    """What is heard beside `main` must not wait: there is no second task."""
    for kind, entry in cls.table.items():
        if entry.blocking or not issubclass(kind, ControlTell):
            raise TypeError(
                f"{cls.__name__} has a main, so {kind.__name__} must be a ControlTell "
                f"and {entry.fn.__name__} a plain def"
            )
    for hook in (cls.on_start, cls.on_down, cls.on_drain):
        if inspect.iscoroutinefunction(hook):
            raise TypeError(
                f"{cls.__name__} has a main, so {hook.__name__} must be a plain def"
            )


def _hook(hook: Any, default: Any) -> Hook:
    if hook is default:
        return "none"
    return "async" if inspect.iscoroutinefunction(hook) else "sync"


def _table(cls: type[Actor]) -> dict[type, Entry]:
    found: dict[type, Entry] = {}
    for name in dir(cls):
        fn = inspect.getattr_static(cls, name)
        kind = getattr(fn, _MARK, None)
        if kind is None:
            _check_override(cls, name)
            continue
        if kind in found:
            raise TypeError(
                f"{cls.__name__} has two handlers for {kind.__name__}: "
                f"{found[kind].fn.__name__} and {name}; keep one"
            )
        _check_addressee(cls, kind, name)
        found[kind] = Entry(kind, fn)
    for kind in cls.accepts:
        if kind not in found:
            raise TypeError(
                f"{cls.__name__} accepts {kind.__name__} but has no handler for it; "
                f"write one with {_decorator_for(kind)}"
            )
    if cls.accepts:
        for kind, entry in found.items():
            if kind not in cls.accepts:
                raise TypeError(
                    f"{cls.__name__}.{entry.fn.__name__} handles {kind.__name__}, "
                    f"which is not in accepts; add it there"
                )
    return found


def _check_override(cls: type[Actor], name: str) -> None:
    """Refuse an override that would silently take a handler out of the table."""
    for base in cls.__mro__[1:]:
        kind = getattr(base.__dict__.get(name), _MARK, None)
        if kind is not None:
            raise TypeError(
                f"{cls.__name__}.{name} overrides a handler of {base.__name__}; "
                f"mark it with {_decorator_for(kind)} too"
            )


def _decorator_for(kind: type) -> str:
    return f"@{'answers' if issubclass(kind, Request) else 'handles'}({kind.__name__})"


def _check_addressee(cls: type[Actor], kind: type, name: str) -> None:
    """Refuse a handler for a message that is addressed to another actor."""
    for base in getattr(kind, "__orig_bases__", ()):
        for arg in get_args(base)[:1]:
            to = arg.__forward_arg__ if isinstance(arg, ForwardRef) else arg
            to = to if isinstance(to, str) else getattr(to, "__name__", "")
            known = {parent.__name__ for parent in cls.__mro__}
            if isinstance(arg, TypeVar) or not to or to.rpartition(".")[2] in known:
                continue
            raise TypeError(
                f"{cls.__name__}.{name} handles {kind.__name__}, "
                f"which is a message for {to}"
            )


class Answers(Generic[Q_co]):
    """The decorator that `answers()` returns."""

    def __init__(self, kind: type[Q_co]) -> None:
        self._kind = kind

    @overload
    def __call__(
        self: Answers[Request[A, R]],
        fn: Callable[[A, Q_co], Coroutine[Any, Any, R | Deferred[R]]],
    ) -> Callable[[A, Q_co], Coroutine[Any, Any, R | Deferred[R]]]: ...
    @overload
    def __call__(
        self: Answers[Request[A, R]], fn: Callable[[A, Q_co], R | Deferred[R]]
    ) -> Callable[[A, Q_co], R | Deferred[R]]: ...
    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Mark the function."""
        setattr(fn, _MARK, self._kind)
        return fn


class Handles(Generic[T_co]):
    """The decorator that `handles()` returns."""

    def __init__(self, kind: type[T_co]) -> None:
        self._kind = kind

    @overload
    def __call__(
        self: Handles[Tell[A]],
        fn: Callable[[A, T_co], Coroutine[Any, Any, None]],
    ) -> Callable[[A, T_co], Coroutine[Any, Any, None]]: ...
    @overload
    def __call__(
        self: Handles[Tell[A]], fn: Callable[[A, T_co], None]
    ) -> Callable[[A, T_co], None]: ...
    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Mark the function."""
        setattr(fn, _MARK, self._kind)
        return fn


def answers(kind: type[Q_co]) -> Answers[Q_co]:
    """Mark the handler of a `Request`: actor, message and reply are type-checked."""
    if not issubclass(kind, Request):
        raise TypeError(f"{kind.__name__} is no Request; use @handles for a Tell")
    return Answers(kind)


def handles(kind: type[T_co]) -> Handles[T_co]:
    """Mark the handler of a `Tell`: actor and message are type-checked."""
    if not issubclass(kind, Tell):
        raise TypeError(f"{kind.__name__} is no Tell; use @answers for a Request")
    return Handles(kind)
