"""The settings of the process: where it listens, what it bounds, what it keeps.

Owns: `[server]` and its tables, among them the deadlines that providers inherit.
Never: does I/O.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final

from gateway.settings import values
from gateway.settings.audit import AuditConfig
from gateway.settings.definition import config, section, setting

COUNT: Final = values.integer(1, 1_000_000)
WORKERS: Final = values.integer(1, 64)  # Each has its own log, pools and caches.

Found = Iterator[tuple[str, str]]
"""What `problems` yields: the key, and what is wrong with its value."""


@config
class Limits:
    """What one request and all connections together may cost in memory."""

    body_bytes_max: int = setting(
        values.integer(1024, 2**30),
        default=32 * 2**20,  # Twenty images as base64; OpenAI itself takes 50 MB.
        unit="bytes",
        reload="restart",
        doc="The largest request body; a larger one is refused with 413, unread.",
    )
    header_bytes_max: int = setting(
        values.integer(1024, 2**20),
        default=64 * 1024,  # Long cookies and tracing baggage fit; a body does not.
        unit="bytes",
        reload="restart",
        doc="The largest head of a request, request line included; beyond it, 431.",
    )
    headers_max: int = setting(
        values.integer(8, 1000),
        default=100,  # As Apache; the SDKs send 15 to 25.
        reload="restart",
        doc="The most header lines of a request; beyond it, 431.",
    )
    request_line_bytes_max: int = setting(
        values.integer(256, 2**16),
        default=8 * 1024,  # As nginx.
        unit="bytes",
        reload="restart",
        doc="The longest request line; beyond it, 414.",
    )
    connections_max: int = setting(
        COUNT,
        default=10_000,  # Of about 20 KB each; ulimit -n must allow twice as many.
        reload="restart",
        doc="The most client connections at once; more wait in the kernel's backlog.",
    )
    kept_bytes_max: int = setting(
        values.integer(0, 2**40),
        default=64 * 2**20,  # Ten thousand answers of a page, a few hundred long ones.
        unit="bytes",
        reload="restart",
        doc="What answers kept for /v1/responses (to be fetched, or gone on from) may "
        "take of memory; the least recently used go first. 0 keeps none.",
    )
    replay_bytes_max: int = setting(
        values.integer(0, 2**40),
        default=64 * 2**20,  # A thousand long answers; 8 MiB is the most of one.
        unit="bytes",
        reload="restart",
        doc="What answers may take of memory that can be picked up again, or are given "
        "again for the same Idempotency-Key; the oldest go first. 0 keeps none.",
    )
    replay_s: float = setting(
        values.SECONDS,
        default=600.0,
        unit="seconds",
        reload="restart",
        doc="How long after its end an answer can be picked up or given again.",
    )
    keep_s: float = setting(
        values.SECONDS,
        default=86_400.0,
        unit="seconds",
        reload="restart",
        doc="How long a kept answer can be fetched, or gone on from.",
    )


@config
class UpstreamDeadlines:
    """How long the stages of one upstream call may take. Each nests in the next."""

    connect_s: float = setting(
        values.SECONDS,
        default=5.0,  # A handshake across the world takes under 1 s; two retransmits.
        unit="seconds",
        doc="Until the connection stands, TLS included.",
    )
    headers_s: float = setting(
        values.SECONDS,
        default=60.0,
        unit="seconds",
        doc="Until the response's head, for streamed calls. The head of an unstreamed "
        "answer comes when the answer is complete: that is bounded by total_s.",
    )
    first_content_s: float = setting(
        values.SECONDS,
        default=120.0,  # Reasoning models think for a minute or two before they speak.
        unit="seconds",
        doc="Until the first content of a stream. Up to here another candidate of the "
        "route can still take over.",
    )
    idle_s: float = setting(
        values.SECONDS,
        default=60.0,
        unit="seconds",
        doc="Between two pieces of a stream.",
    )
    total_s: float = setting(
        values.SECONDS,
        default=600.0,  # The OpenAI SDKs give up after ten minutes as well.
        unit="seconds",
        doc="For the whole call, from its start to its last byte.",
    )

    def problems(self) -> Found:
        """A deadline that can never fire first is a mistake."""
        if self.connect_s >= self.headers_s:
            yield "connect_s", f"must be less than headers_s ({self.headers_s:g})"
        if self.headers_s >= self.first_content_s:
            yield (
                "headers_s",
                f"must be less than first_content_s ({self.first_content_s:g})",
            )
        if self.first_content_s >= self.total_s:
            yield "first_content_s", f"must be less than total_s ({self.total_s:g})"
        if self.idle_s >= self.total_s:
            yield "idle_s", f"must be less than total_s ({self.total_s:g})"


@config
class Deadlines(UpstreamDeadlines):
    """The upstream deadlines of all providers, and those of the client's side."""

    write_s: float = setting(
        values.SECONDS,
        default=30.0,
        unit="seconds",
        reload="restart",
        doc="A client that takes no byte for this long is dropped.",
    )
    heartbeat_s: float = setting(
        values.SECONDS,
        default=15.0,  # A quarter of what nginx waits, a sixth of Cloudflare's.
        unit="seconds",
        reload="restart",
        doc="The longest silence of a stream: before it ends, the client is sent a "
        "heartbeat that its SDK ignores. A stream that has not begun by then is begun "
        "with 200, and an error that comes later is an event of it.",
    )
    drain_s: float = setting(
        values.SECONDS,
        default=30.0,  # The grace that Kubernetes gives a pod.
        unit="seconds",
        reload="restart",
        doc="How long a stopping gateway lets running requests finish.",
    )
    request_head_s: float = setting(
        values.SECONDS,
        default=10.0,
        unit="seconds",
        reload="restart",
        doc="Until a request's head is complete; beyond it, 408.",
    )
    keep_alive_s: float = setting(
        values.SECONDS,
        default=75.0,  # Longer than the 60 s of common load balancers in front.
        unit="seconds",
        reload="restart",
        doc="How long an idle connection is kept open for its next request.",
    )


@config
class Sockets:
    """WebSockets: how long one lives, and how it is kept alive."""

    age_s: float = setting(
        values.SECONDS,
        default=3600.0,  # As OpenAI: long enough to work, short enough to rebalance.
        unit="seconds",
        doc="How long a WebSocket may stay open. Then its client is told, what runs "
        "on it may finish, and it is closed.",
    )
    ping_s: float = setting(
        values.SECONDS,
        default=20.0,  # Below the 30 s of mobile networks and the 60 s of nginx.
        unit="seconds",
        reload="restart",
        doc="The time between two pings of a WebSocket. One that sends nothing until "
        "the next ping is closed.",
    )


@config
class ServerConfig:
    """The process: where it listens and what it keeps."""

    bind: values.Bind = setting(
        values.BIND,
        default=values.Bind("127.0.0.1", 8080),
        reload="restart",
        doc="Where clients connect: host:port, [v6 address]:port or unix:/path. "
        "Port 0 takes a free one.",
    )
    public_url: str = setting(
        values.URL_OR_NONE,
        default="",
        default_doc="what each request was sent to",
        doc="Where browsers reach this gateway, as stream grants name it: needed "
        "where servers call it by another, internal address.",
    )
    admin_bind: values.Bind | None = setting(
        values.BIND,
        default=None,
        reload="restart",
        doc="Where metrics, health and the Console answer instead of on bind.",
    )
    state_dir: Path = setting(
        values.PATH,
        default=Path("state"),
        reload="restart",
        doc="The folder of everything the gateway keeps, with mode 0700. A relative "
        "path counts from the configuration file.",
    )
    workers: int = setting(
        WORKERS,
        default=1,
        reload="restart",
        doc="How many processes serve behind the same addresses. With more than one, a "
        "parent starts them and replaces those that die; one a core is plenty.",
    )
    tls_cert: Path | None = setting(
        values.PATH,
        default=None,
        reload="restart",
        doc="The certificate chain (PEM). Needs tls_key.",
    )
    tls_key: Path | None = setting(
        values.PATH,
        default=None,
        reload="restart",
        doc="The private key of tls_cert (PEM).",
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = setting(
        values.many(values.NETWORK),
        default=(),
        doc="Networks whose Forwarded and X-Forwarded-* headers are believed.",
    )
    limits: Limits = section(
        default_factory=Limits, doc="What a request and a connection may take up."
    )
    deadlines: Deadlines = section(
        default_factory=Deadlines,
        doc="How long things may take. `connect_s` < `headers_s` < `first_content_s` "
        "< `total_s`, and `idle_s` < `total_s`.",
    )
    sockets: Sockets = section(
        default_factory=Sockets, doc="WebSockets: their age and their pings."
    )
    audit: AuditConfig = section(
        default_factory=AuditConfig,
        doc="The tamper-evident log of grants, rotations, changes and logins.",
    )

    def problems(self) -> Found:
        """TLS needs both halves; two listeners need two addresses."""
        if self.tls_cert and not self.tls_key:
            yield "tls_key", "is missing; tls_cert needs it"
        if self.tls_key and not self.tls_cert:
            yield "tls_cert", "is missing; tls_key needs it"
        if self.admin_bind == self.bind and (self.bind.port or self.bind.path):
            yield "admin_bind", "is the same as bind; give it another address"
        control = str(self.control_socket)
        if len(control.encode()) > values.UNIX_PATH_BYTES_MAX:
            yield (
                "state_dir",
                (
                    "is too long a path: its control.sock must stay within "
                    f"{values.UNIX_PATH_BYTES_MAX} bytes"
                ),
            )

    @property
    def control_socket(self) -> Path:
        """Where `stagedoor tree` and its like ask a running gateway."""
        return self.state_dir / "control.sock"
