"""Actors on trio: supervised lives, bounded mailboxes, typed messages.

Knows nothing of models, HTTP or money. Everything others may use is exported here.
"""

from runtime._ask import Deferred
from runtime._asking import Later
from runtime._frame import current_trace, set_trace
from runtime._timers import Timer
from runtime.actor import Actor, answers, handles
from runtime.clock import SteadyClock
from runtime.context import Context
from runtime.errors import (
    ActorCrashed,
    ActorDown,
    ActorGone,
    AskError,
    CallCycle,
    DeadlineExceeded,
    DomainError,
    Draining,
    DuplicateChild,
    DuplicateKey,
    LimitExceeded,
    MailboxFull,
    NotAccepted,
    ReceiverGone,
    RuntimeFault,
    SystemFailed,
)
from runtime.message import (
    ControlTell,
    Crashed,
    CrashReport,
    Down,
    Exit,
    MonitorId,
    Normal,
    Request,
    Stopped,
    Tell,
    Tripped,
)
from runtime.ref import Ref
from runtime.snapshot import Node
from runtime.spec import Backoff, ChildSpec, Limit, MailboxSpec
from runtime.stream import StreamChannel
from runtime.supervisor import Spawn, StopChild, Supervisor
from runtime.system import System, open_system
from runtime.tracer import Tracer

__all__ = [
    "Actor",
    "ActorCrashed",
    "ActorDown",
    "ActorGone",
    "AskError",
    "Backoff",
    "CallCycle",
    "ChildSpec",
    "Context",
    "ControlTell",
    "CrashReport",
    "Crashed",
    "DeadlineExceeded",
    "Deferred",
    "DomainError",
    "Down",
    "Draining",
    "DuplicateChild",
    "DuplicateKey",
    "Exit",
    "Later",
    "Limit",
    "LimitExceeded",
    "MailboxFull",
    "MailboxSpec",
    "MonitorId",
    "Node",
    "Normal",
    "NotAccepted",
    "ReceiverGone",
    "Ref",
    "Request",
    "RuntimeFault",
    "Spawn",
    "SteadyClock",
    "StopChild",
    "Stopped",
    "StreamChannel",
    "Supervisor",
    "System",
    "SystemFailed",
    "Tell",
    "Timer",
    "Tracer",
    "Tripped",
    "answers",
    "current_trace",
    "handles",
    "open_system",
    "set_trace",
]
