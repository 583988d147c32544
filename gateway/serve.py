"""Run a gateway: from a configuration to a served address, and back down in order.

Owns: the process's clocks, signals, reloads and the order of start and stop. Start:
folder, sockets (so that a taken port is a plain error), tree, addresses told. Stop, on
SIGTERM or SIGINT: drain (no new requests, streams finish until `drain_s`), then the
tree from the edge down to the auditor, then files and pools.
"""

from __future__ import annotations

import os
import resource
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Final

import attrs
import httpx
import trio

from actors.ledger.accounts import window_start_s
from actors.ledger.messages import SetLimits
from actors.provider.messages import SetUpstream
from actors.provider.messages import Remove as RemoveProvider
from actors.router.messages import SetRoutes
from actors.tree import ProviderSpec, Tree, TreeSpec, open_tree, provider_child
from actors.vault.messages import SetKeys
from gateway import assembly
from gateway.control import Control
from gateway.edge import Edge, ListenerCell
from gateway.gate import Gate
from gateway.http.app import App
from gateway.http.inquiries import Endpoint
from gateway.http.ops import Ops
from gateway.http.replies import error_body
from gateway.http11_binding import bind, tls_context
from gateway.http11_parser import Http11Limits
from gateway.http11_transport import EdgeDeadlines
from gateway.logs import Logs
from gateway.metrics import Metrics
from gateway.settings.changes import diff
from gateway.settings.config import Config, ProviderConfig
from gateway.settings.errors import ConfigError, Problem
from gateway.settings.load import Source
from gateway.settings.state_dir import prepare
from gateway.settings.watch import changes
from runtime import Spawn, SystemFailed
from storage.records import RecordFiles, spent_since
from wire.openai_chat import CHAT

OnReady = Callable[[Sequence[str]], None]

FILES_PER_CONNECTION: Final = 2  # A client's socket and an upstream's.
FILES_SPARE: Final = 256  # Idle upstream connections, logs, records, the database.


def run(
    config: Config, *, source: Source | None = None, on_ready: OnReady | None = None
) -> None:
    """Serve until a signal says stop; returns after an orderly end.

    Raises:
        ConfigError: something that only shows at the start is wrong with the config.
        OSError: an address is taken or not ours.
        SystemFailed: the tree gave up.
    """
    trio.run(serve, config, source, on_ready)


async def serve(
    config: Config, source: Source | None, on_ready: OnReady | None
) -> None:
    """The same, inside trio."""
    raise_file_limit(config)
    logs = Logs()
    logs.take_over()
    try:
        async with open_gateway(config, environ=os.environ, logs=logs) as gateway:
            if on_ready is not None:
                on_ready(gateway.urls)
            async with trio.open_nursery() as nursery:
                if source is not None:
                    nursery.start_soon(_follow, gateway, source)
                await _obey_signals(gateway, source)
                nursery.cancel_scope.cancel(reason="stopping")
            await gateway.drain()
    finally:
        logs.close()


@attrs.define
class Gateway:
    """A running gateway."""

    config: Config
    tree: Tree
    gate: Gate
    urls: list[str]
    transports: dict[str, httpx.AsyncBaseTransport]
    _make: Callable[[ProviderConfig], httpx.AsyncBaseTransport]
    _retiring: list[httpx.AsyncBaseTransport] = attrs.field(factory=list)

    async def drain(self) -> None:
        """Stop in order, within `drain_s`."""
        self.gate.draining = True
        drain_s = self.config.server.deadlines.drain_s
        await self.tree.system.drain(trio.current_time() + drain_s)

    async def reload(self, config: Config) -> None:
        """Apply what can be applied while serving; say what needs a restart.

        Requests under way finish as they began: with their plan, their upstream and
        their hold.
        """
        changed = diff(self.config, config)
        log = self.gate.logs.log
        for change in changed.restart:
            log.warning("reload.needs_restart", setting=change.path)
        if not changed.live:
            return
        old = {provider.name: provider for provider in self.config.providers}
        for provider in config.providers:
            await self._apply_provider(config, old.pop(provider.name, None), provider)
        for name in old:
            self.tree.providers.offer(RemoveProvider(name))
            self._retire(name)
        # Keys and limits before routes: nobody is sent where no key or cap is yet.
        await self.tree.vault.ask(
            SetKeys(
                tuple(
                    (scope, key.env, key.hosts, key.plain_allowed)
                    for scope, key in assembly.key_sources(config).items()
                )
            )
        )
        await self.tree.ledger.ask(SetLimits(assembly.site_limits(config)))
        await self.tree.router.ask(SetRoutes(assembly.route_table(config)))
        self.gate.config = config
        self.gate.sites.replace(config)
        self.config = config
        log.info("reload.applied", count=len(changed.live))

    async def _apply_provider(
        self, config: Config, old: ProviderConfig | None, new: ProviderConfig
    ) -> None:
        if old == new:
            return
        if old is not None:
            self._retire(old.name)
        transport = self.transports[new.name] = self._make(new)
        spec = assembly.provider_spec(config, new, transport)
        ref = self.tree.provider(new.name) if old is not None else None
        if ref is None:
            await self.tree.providers.ask(Spawn(provider_child(spec)))
            return
        ref.offer(
            SetUpstream(
                spec.cell.upstream,
                new.in_flight_max,
                new.queue_max,
                new.breaker.failures_max,
            )
        )

    def _retire(self, name: str) -> None:
        """Keep a replaced pool for the calls that still use it; closed at the end."""
        self._retiring.append(self.transports.pop(name))

    async def aclose(self) -> None:
        """Close all pools, present and retired."""
        for transport in (*self.transports.values(), *self._retiring):
            await transport.aclose()


@asynccontextmanager
async def open_gateway(
    config: Config,
    *,
    environ: Mapping[str, str],
    logs: Logs,
    make_transport: assembly.MakeTransport | None = None,
    wall: Callable[[], float] = time.time,
    rng: Random | None = None,
) -> AsyncIterator[Gateway]:
    """A gateway that serves inside this block, and stops in order after it.

    Raises:
        ConfigError: something that only shows at the start is wrong with the config.
        OSError: an address is taken or not ours.
    """
    prepare(config.server.state_dir)
    gate = Gate(config, logs, Metrics())
    control = Control(gate)
    urls: list[str] = []
    cells = _listeners(config, gate, control, urls)
    make = make_transport or _default_transports(wall)
    transports = {p.name: make(p) for p in config.providers}
    journal = RecordFiles(config.server.state_dir, wall)
    gateway: Gateway | None = None
    try:
        spec = TreeSpec(
            providers=_providers(config, transports),
            keys=assembly.key_sources(config),
            environ=environ,
            routes=assembly.route_table(config),
            limits=assembly.site_limits(config),
            spent_nanousd=await trio.to_thread.run_sync(_spent, config, wall()),
            journal=journal,
            now=trio.current_time,
            wall=wall,
            rng=rng or Random(),  # noqa: S311 - jitter, not secrets
            ended=gate.ended,
            edge=lambda: Edge(cells, gate.attach),
        )
        async with open_tree(spec) as tree:
            control.system = tree.system
            gateway = Gateway(config, tree, gate, urls, transports, make)
            await gate.until_bound(len(cells))
            yield gateway
    finally:
        for cell in cells:
            if cell.sock is not None:
                cell.sock.close()
        if gateway is not None:
            await gateway.aclose()
        journal.close()


def _providers(
    config: Config, transports: Mapping[str, httpx.AsyncBaseTransport]
) -> tuple[ProviderSpec, ...]:
    return tuple(
        assembly.provider_spec(config, provider, transports[provider.name])
        for provider in config.providers
    )


def _default_transports(wall: Callable[[], float]) -> assembly.MakeTransport:
    tls = ssl.create_default_context()

    def make(provider: ProviderConfig) -> httpx.AsyncBaseTransport:
        return assembly.transport_of(provider, tls, wall)

    return make


def _spent(config: Config, now_s: float) -> dict[str, int]:
    """What the records say of the current windows, so that a restart forgets no cap."""
    starts = {
        site.name: window_start_s(site.spend_window, now_s)
        for site in config.sites
        if site.spend_max_nanousd is not None
    }
    return spent_since(config.server.state_dir, starts)


def _listeners(
    config: Config, gate: Gate, control: Control, urls: list[str]
) -> tuple[ListenerCell, ...]:
    """Bind every address. Raises OSError."""
    server = config.server
    ops = Ops(gate, created=int(time.time()))
    operations = {
        ("GET", "/healthz"): ops.healthz,
        ("GET", "/readyz"): ops.readyz,
        ("GET", "/metrics"): ops.metrics,
    }
    clients = App(
        gate,
        open_routes={} if server.admin_bind else operations,
        key_routes={("GET", "/v1/models"): ops.models},
        endpoints={"/v1/chat/completions": Endpoint(gate, CHAT)},
    )
    tls = None
    if server.tls_cert is not None and server.tls_key is not None:
        try:
            tls = tls_context(str(server.tls_cert), str(server.tls_key))
        except (OSError, ssl.SSLError) as error:
            what = f"cannot be used: {type(error).__name__}"
            raise ConfigError((Problem("", "server.tls_cert", what),)) from None
    limits = Http11Limits(
        target_bytes_max=server.limits.request_line_bytes_max,
        head_bytes_max=server.limits.header_bytes_max,
        headers_max=server.limits.headers_max,
        body_bytes_max=server.limits.body_bytes_max,
        connections_max=server.limits.connections_max,
    )
    deadlines = EdgeDeadlines(
        head_s=server.deadlines.request_head_s,
        idle_s=server.deadlines.keep_alive_s,
        write_s=server.deadlines.write_s,
        stop_s=server.deadlines.drain_s,
    )

    def bound(addresses: list[str]) -> None:
        urls.extend(addresses)
        gate.bound()

    def bound_too(_: list[str]) -> None:
        gate.bound()

    def cell(name: str, address: str, app: object, *, secure: bool) -> ListenerCell:
        return ListenerCell(
            name=name,
            address=address,
            app=app,  # type: ignore[arg-type]  # an ASGI app
            tls=tls if secure else None,
            limits=limits,
            deadlines=deadlines,
            error_body=error_body,
            bound=bound if name == "clients" else bound_too,
            sock=bind(address),
        )

    cells = [cell("clients", str(server.bind), clients, secure=True)]
    if server.admin_bind is not None:
        admin = App(gate, open_routes=operations, key_routes={}, endpoints={})
        cells.append(cell("admin", str(server.admin_bind), admin, secure=True))
    cells.append(
        cell("control", f"unix:{server.control_socket}", control, secure=False)
    )
    return tuple(cells)


async def _obey_signals(gateway: Gateway, source: Source | None) -> None:
    """Return on SIGTERM or SIGINT. SIGHUP reloads, SIGUSR1 dumps the tree."""
    wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
    with trio.open_signal_receiver(*wanted) as received:
        async for number in received:
            match number:
                case signal.SIGHUP:
                    if source is not None:
                        await _reload(gateway, source)
                case signal.SIGUSR1:
                    print(gateway.tree.system.dump(), file=sys.stderr, flush=True)
                case _:
                    return


async def _follow(gateway: Gateway, source: Source) -> None:
    async for _ in changes(source.path):
        await _reload(gateway, source)


async def _reload(gateway: Gateway, source: Source) -> None:
    """Load and apply; a file with mistakes changes nothing."""
    try:
        config = await trio.to_thread.run_sync(source.load)
        await gateway.reload(config)
    except ConfigError as error:
        for problem in error.problems:
            gateway.gate.logs.log.error("reload.refused", setting=problem.where)
            print(problem, file=sys.stderr, flush=True)


def raise_file_limit(config: Config) -> None:
    """Allow as many open files as the connections need, as far as the system lets us."""
    wanted = config.server.limits.connections_max * FILES_PER_CONNECTION + FILES_SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        best = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (best, hard))


__all__ = ["Gateway", "SystemFailed", "open_gateway", "run", "serve"]
