"""The client of a running gateway's control socket: HTTP/1.1 over a Unix socket.

Owns: finding the socket, one exchange, and what is said when nobody answers.
Whoever may open the socket is the gateway's own user.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any, Final

from gateway.cli import REFUSED, UNREACHABLE, USAGE, complain
from gateway.cli.source import add_config, config_path, environment, load_or_complain
from gateway.settings.load import Source
from gateway.settings.server import ServerConfig

ANSWER_S: Final = 5.0  # The gateway answers from memory; longer means it is stuck.
ANSWER_BYTES_MAX: Final = 64 * 2**20  # Ten thousand streams are about 3 MB.


class ControlError(Exception):
    """Nobody answered, or not sensibly; the message is for the operator."""


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection whose address is a path."""

    def __init__(self, path: Path, timeout_s: float = ANSWER_S) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path
        self._timeout_s = timeout_s

    def connect(self) -> None:
        """See HTTPConnection."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._timeout_s)
        self.sock.connect(os.fspath(self._path))


class Refused(ControlError):
    """The gateway understood and says no; the message is its own."""


def get(path: Path, target: str) -> Any:
    """The JSON that a running gateway answers to GET `target`.

    Raises:
        ControlError: No gateway runs there, or it answers with an error.
    """
    return _exchange(path, "GET", target, None)


def post(path: Path, target: str, value: Any) -> Any:
    """The JSON that a running gateway answers to POST `target` with this JSON.

    Raises:
        ControlError: No gateway runs there, or it answers with an error.
    """
    return _exchange(path, "POST", target, json.dumps(value).encode())


def get_text(path: Path, target: str) -> str:
    """The text that a running gateway answers to GET `target`.

    Raises:
        ControlError: No gateway runs there, or it answers with an error.
    """
    return _read(path, "GET", target, None).decode("utf-8", "replace")


def _exchange(path: Path, method: str, target: str, given: bytes | None) -> Any:
    body = _read(path, method, target, given)
    try:
        return json.loads(body)
    except ValueError:
        raise ControlError(f"the answer to {target} is no JSON") from None


def _read(path: Path, method: str, target: str, given: bytes | None) -> bytes:
    connection = UnixConnection(path)
    try:
        connection.request(
            method, target, body=given, headers={"Accept": "application/json"}
        )
        response = connection.getresponse()
        body = response.read(ANSWER_BYTES_MAX + 1)
    except (FileNotFoundError, ConnectionRefusedError):
        raise ControlError(
            f"no gateway runs with {path}; start one, or name its folder with "
            "--state-dir or its file with --config"
        ) from None
    except TimeoutError:
        raise ControlError(
            f"the gateway at {path} did not answer within {ANSWER_S:g} s"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise ControlError(f"{path}: {error}") from None
    finally:
        connection.close()
    if len(body) > ANSWER_BYTES_MAX:
        raise ControlError(f"the answer to {target} exceeds {ANSWER_BYTES_MAX} bytes")
    if response.status in (400, 409, 503):
        raise Refused(
            _reason(body) or f"the gateway answered {response.status} to {target}"
        )
    if response.status != 200:
        raise ControlError(f"the gateway answered {response.status} to {target}")
    return body


def _reason(body: bytes) -> str:
    """What the gateway says of an error, made fit for a terminal."""
    try:
        return plain(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return ""


def add_gateway(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say which gateway is meant."""
    add_config(parser)
    parser.add_argument(
        "--state-dir",
        type=Path,
        metavar="FOLDER",
        help="the running gateway's state_dir (default: the one in --config)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the gateway's answer as it is"
    )


def control_socket(args: argparse.Namespace) -> Path | int:
    """The socket of the gateway that is meant, or an exit code.

    A folder needs no file. Without either, the file of this folder decides, and where
    there is none, the default folder (that is the demo's).
    """
    if args.state_dir:
        return ServerConfig(state_dir=args.state_dir).control_socket
    env = environment()
    path = config_path(args, env)
    if args.config is None and not path.exists():
        return ServerConfig().control_socket
    config = load_or_complain(Source(path, env))
    return config if isinstance(config, int) else config.server.control_socket


def ask(args: argparse.Namespace, target: str) -> tuple[Any, int]:
    """The gateway's answer and 0, or None and the exit code after complaining."""
    path = control_socket(args)
    if isinstance(path, int):
        assert path in (REFUSED, USAGE)
        return None, path
    try:
        return get(path, target), 0
    except ControlError as error:
        complain(error)
        return None, UNREACHABLE


def plain(text: object) -> str:
    """Text for a terminal: whatever could move the cursor becomes a question mark."""
    return "".join(char if char.isprintable() else "?" for char in str(text))
