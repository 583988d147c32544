"""What can go wrong between actors. Each says who, why and what to do next.

No error here carries a message's content: ids, types and times only.
"""

from __future__ import annotations

import trio

from runtime.message import CrashReport


class RuntimeFault(Exception):
    """Base of all that this package raises. Its texts hold no payload."""


class DomainError(RuntimeFault):
    """A declared error: raised in a handler it is the answer, and nobody crashes.

    Its text reaches the asker and perhaps a log: ids and causes only.
    """


class AskError(RuntimeFault):
    """The question was not answered. Base of what `ask` and `tell` raise."""

    def __init__(self, who: str, text: str) -> None:
        super().__init__(text)
        self.id = who


class ActorGone(AskError):
    """It has ended for good, or is ending."""

    def __init__(self, who: str, why: str = "has ended") -> None:
        super().__init__(who, f"{who} {why} and will not come back; look it up again")


class ActorCrashed(AskError):
    """It crashed while it had this question in hand."""

    def __init__(self, who: str, incarnation: int) -> None:
        super().__init__(
            who,
            f"{who} #{incarnation} crashed with this message in hand; it was not "
            f"replayed, see the crash report",
        )
        self.incarnation = incarnation


class ActorDown(AskError):
    """It is between two lives. `retry_at` is trio time, None when not known."""

    def __init__(self, who: str, retry_at: float | None) -> None:
        after = "" if retry_at is None else f"; it returns at t={retry_at:.3f}"
        super().__init__(who, f"{who} is down and takes no messages{after}")
        self.retry_at = retry_at


class MailboxFull(AskError):
    """Its mailbox is full and sheds."""

    def __init__(self, who: str, capacity: int) -> None:
        super().__init__(who, f"{who} has {capacity} messages waiting and sheds more")
        self.capacity = capacity


class NotAccepted(AskError):
    """The asker's bug: this actor has no handler for such a message."""

    def __init__(self, who: str, message: str, accepts: str) -> None:
        super().__init__(
            who, f"{who} does not accept {message}; it accepts {accepts or 'nothing'}"
        )


class CallCycle(AskError):
    """The question would wait for itself."""

    def __init__(self, who: str, path: str) -> None:
        super().__init__(
            who, f"{path} is a cycle of asks; tell instead, or ask from start_soon"
        )
        self.path = path


class DeadlineExceeded(trio.TooSlowError, AskError):
    """No answer by the deadline."""

    def __init__(self, who: str, message: str) -> None:
        AskError.__init__(self, who, f"{who} did not answer {message} by its deadline")


class ReceiverGone(RuntimeFault):
    """The stream's reader has left; there is nobody to send to."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the receiver cancelled this stream: {reason}")
        self.reason = reason


class DuplicateChild(DomainError):
    """Two children of one parent cannot share an id."""

    def __init__(self, who: str) -> None:
        super().__init__(f"{who} exists already; stop it first or choose another id")
        self.id = who


class Draining(DomainError):
    """The system is on its way out and starts nothing new."""

    def __init__(self, who: str) -> None:
        super().__init__(f"{who} is draining and starts no more children")
        self.id = who


class DuplicateKey(RuntimeFault):
    """A registry key belongs to one actor."""

    def __init__(self, key: str, owner: str) -> None:
        super().__init__(f"the key {key!r} belongs to {owner}; choose another")
        self.key = key


class LimitExceeded(RuntimeFault):
    """A child crashes faster than its supervisor puts up with."""

    def __init__(self, who: str, crashes: int, seconds: float) -> None:
        super().__init__(
            f"{who} crashed more than {crashes} times in {seconds:g} s; "
            f"see its crash reports"
        )
        self.id = who


class SystemFailed(RuntimeFault):
    """The root gave up, so the system ended."""

    def __init__(self, root: str, why: str, report: CrashReport | None) -> None:
        super().__init__(f"{root} gave up and the system ended: {why}")
        self.report = report
