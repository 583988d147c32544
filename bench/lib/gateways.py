"""What is measured: the mock itself, the stock pair, Stagedoor, and any other program.

Each is one process on the measured core, in front of the same mock. "direct" is the
mock without anything in front: what a gateway adds is the difference to it.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bench.lib import procs, shape
from bench.lib.load import Target, allow_files
from gateway.cli import control

KEY_ENV = "BENCH_UPSTREAM_KEY"  # where the gateway finds the upstream's key
SITE_KEY = "sk-bench-0123456789abcdef0123456789abcdef"

# No limit of ours may be what is measured: these are above every load here.
_CONFIG = """\
[server]
bind = "127.0.0.1:{port}"
state_dir = "{state_dir}"

[server.limits]
connections_max = 20000

[[sites]]
name = "bench"
keys = ["{site_key}"]
allowed_origins = ["https://bench.example"]

[[providers]]
name = "upstream"
kind = "openai"
base_url = "{upstream}"
key_env = "{key_env}"
models = ["{upstream_model}"]
in_flight_max = 20000
connections_max = 20000

[[models]]
name = "{model}"
route = ["upstream/{upstream_model}"]
"""


@dataclass(frozen=True, slots=True)
class Gateway:
    """One thing under measurement. ``process`` is None for the mock itself.

    ``state_dir`` is where Stagedoor has its control socket.
    """

    name: str
    target: Target
    process: procs.Process | None
    state_dir: Path | None = None

    def actors(self) -> int:
        """How many actors there are in it now; 0 for another gateway."""
        if self.state_dir is None or not (self.state_dir / "control.sock").exists():
            return 0
        tree = control.get(self.state_dir / "control.sock", "/tree")
        return _count(tree)


def options(doc: str | None) -> argparse.ArgumentParser:
    """The options that every measurement over HTTP has."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer, shorter rounds")
    parser.add_argument("--rounds", type=int, help="rounds to take the median of")
    parser.add_argument("--json", action="store_true", help="print JSON, no table")
    parser.add_argument("--markdown", action="store_true", help="for RESULTS.md")
    parser.add_argument(
        "--only", default="", help="names to run, by comma: stock,stagedoor"
    )
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="another gateway; {port} and {upstream} are filled in",
    )
    parser.add_argument(
        "--profile",
        metavar="FOLDER",
        help="write a py-spy flame graph of each gateway there (needs py-spy)",
    )
    return parser


@contextlib.contextmanager
def all_started(
    chosen: argparse.Namespace, *, pin: bool = True, extra: str = ""
) -> Generator[tuple[Gateway, list[Gateway]], None, None]:
    """Start the mock and the gateways; yield the mock and those in front of it.

    ``pin`` keeps this process off the measured core, for good: it is the load.
    ``extra`` goes to the end of Stagedoor's file.
    """
    allow_files()
    measured, others = procs.cores()
    with contextlib.ExitStack() as stack:
        direct = stack.enter_context(_mock(others))
        upstream = f"http://127.0.0.1:{direct.target.port}/v1"
        gateways = [
            stack.enter_context(_gateway(name, command, upstream, measured, extra))
            for name, command in _commands(chosen)
        ]
        if pin:
            procs.pin_self(others)  # after the starts: children inherit it
        yield direct, gateways


@contextlib.contextmanager
def workers_started(
    counts: Sequence[int],
) -> Generator[dict[int, Gateway], None, None]:
    """Stagedoor with each number of workers, on all cores, in front of one mock."""
    allow_files()
    with contextlib.ExitStack() as stack:
        direct = stack.enter_context(_mock(None))
        upstream = f"http://127.0.0.1:{direct.target.port}/v1"
        yield {
            count: stack.enter_context(
                _gateway(
                    f"{count} workers" if count > 1 else "1 worker",
                    f"{stagedoor()} serve --config {{config}} --workers {count}",
                    upstream,
                    None,
                )
            )
            for count in counts
        }


def _commands(chosen: argparse.Namespace) -> list[tuple[str, str]]:
    """The gateways to run, each with its command line."""
    stock = (
        f"{sys.executable} -m bench.lib.stock --port {{port}} --upstream {{upstream}}"
    )
    found = {"stock": stock, "stagedoor": f"{stagedoor()} serve --config {{config}}"}
    for also in chosen.also:
        name, equals, command = also.partition("=")
        if not equals:
            raise SystemExit(f"--also {also!r}: write NAME=COMMAND")
        found[name] = command
    wanted = [name for name in chosen.only.split(",") if name] or list(found)
    unknown = [name for name in wanted if name not in found]
    if unknown:
        raise SystemExit(f"--only: no gateway {unknown}; there are {list(found)}")
    return [(name, found[name]) for name in wanted]


def stagedoor() -> str:
    """The installed command: beside this interpreter, else on the PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "stagedoor"
    return str(beside) if beside.exists() else shutil.which("stagedoor") or str(beside)


def write_config(
    folder: Path,
    *,
    port: int,
    site_key: str,
    upstream: str,
    model: str,
    upstream_model: str,
) -> Path:
    """Write a stagedoor.toml for one provider and one model into ``folder``."""
    state_dir = folder / "state"
    state_dir.mkdir(mode=0o700)
    path = folder / "stagedoor.toml"
    path.touch(mode=0o600)  # it holds a key
    path.write_text(
        _CONFIG.format(
            port=port,
            state_dir=state_dir,
            site_key=site_key,
            upstream=upstream,
            key_env=KEY_ENV,
            model=model,
            upstream_model=upstream_model,
        )
    )
    return path


@contextlib.contextmanager
def _mock(core: int | None) -> Generator[Gateway, None, None]:
    command = [sys.executable, "-m", "bench.lib.upstream"]
    with procs.started("mock", command, core=core, pipe_stdout=True) as process:
        assert process.popen.stdout is not None
        line = process.popen.stdout.readline()
        if not line:
            raise procs.StartError(f"the mock ended: {process.log_tail()}")
        port = msgspec.json.decode(line, type=dict[str, int])["port"]
        yield Gateway("direct", Target("127.0.0.1", port), None)


@contextlib.contextmanager
def _gateway(
    name: str, command: str, upstream: str, core: int | None, extra: str = ""
) -> Generator[Gateway, None, None]:
    port = procs.free_port()
    with tempfile.TemporaryDirectory(prefix="stagedoor-bench-") as folder:
        config = write_config(
            Path(folder),
            port=port,
            site_key=SITE_KEY,
            upstream=upstream,
            model=shape.MODEL,
            upstream_model=shape.UPSTREAM_MODEL,
        )
        with config.open("a") as file:
            file.write(extra)
        words: Sequence[str] = [
            word.format(port=port, upstream=upstream, config=config)
            for word in shlex.split(command)
        ]
        env = {KEY_ENV: "sk-upstream", "UPSTREAM": upstream}
        with procs.started(name, words, core=core, env=env) as process:
            process.wait_listening(port)
            target = Target("127.0.0.1", port, SITE_KEY)
            yield Gateway(name, target, process, Path(folder) / "state")


def _count(tree: Any) -> int:
    """The nodes that have an id, wherever they are."""
    if isinstance(tree, list):
        return sum(map(_count, tree))
    if not isinstance(tree, dict):
        return 0
    return ("id" in tree) + sum(map(_count, tree.values()))
