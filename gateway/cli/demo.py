"""`stagedoor demo`: a gateway to try things out on, with no file to write first."""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from gateway.cli import USAGE, complain
from gateway.cli.serve import serve
from gateway.cli.source import environment
from gateway.settings.config import Config
from gateway.settings.demo import ACCOUNTS, DEMO_MODEL, demo_config
from gateway.settings.errors import Unfit
from gateway.settings.values import BIND, Bind

NAME: Final = "stagedoor"
PREFERRED: Final = Bind("127.0.0.1", 8080)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where to listen and what to keep."""
    parser.add_argument(
        "--bind",
        metavar="ADDRESS",
        help="where to listen (default: 127.0.0.1:8080, or a free port if it is taken)",
    )
    parser.add_argument(
        "--state-dir",
        type=Path,
        default=Path("state"),
        metavar="FOLDER",
        help="what the gateway keeps (default: state)",
    )


def run(args: argparse.Namespace) -> int:
    """Serve what the keys at hand allow."""
    env = environment()
    try:
        bind = BIND.read(args.bind) if args.bind else _free(PREFERRED)
    except Unfit as unfit:
        complain(f"--bind {unfit}")
        return USAGE
    # A fresh key each time: behind it may be an account that costs money.
    key = f"sk-demo-{secrets.token_urlsafe(12)}"
    config = demo_config(env, key=key, bind=bind, state_dir=args.state_dir)

    def announce(urls: Sequence[str]) -> None:
        print(greeting(config, env, key, urls), flush=True)

    return serve(config, source=None, on_ready=announce)


def greeting(
    config: Config, env: Mapping[str, str], key: str, urls: Sequence[str]
) -> str:
    """What to do next; the curl line works as it is."""
    url = urls[0].rstrip("/")
    accounts = [one for one in ACCOUNTS if env.get(one.key_env)]
    if accounts:
        names = ", ".join(f"{one.name} ({one.key_env})" for one in accounts)
        behind = f'"{DEMO_MODEL}" goes to {names}'
    else:
        variables = ", ".join(one.key_env for one in ACCOUNTS[:3])
        behind = (
            f'"{DEMO_MODEL}" is simulated: no provider key is set; '
            f"set {variables} or the like for a real model"
        )
    models = ", ".join(model.name for model in config.models)
    body = (
        f'{{"model": "{DEMO_MODEL}", "stream": true, '
        '"messages": [{"role": "user", "content": "Hello!"}]}'
    )
    return f"""
Stagedoor is at {url}/v1
  key      {key}
  models   {models}
  {behind}

Try it:

  curl -N {url}/v1/chat/completions \\
    -H 'Authorization: Bearer {key}' \\
    -H 'Content-Type: application/json' \\
    -d '{body}'

`{itself()} tree --state-dir {config.server.state_dir}` shows its actors. \
Ctrl-C stops it.
"""


def itself() -> str:
    """This command as its user can type it: `make run` puts it on no PATH."""
    path = Path(sys.argv[0])
    if path.name != NAME or shutil.which(NAME):
        return NAME
    return os.path.relpath(path)


def _free(bind: Bind) -> Bind:
    """The address itself, or any free port of its host if it is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind.host, bind.port))
        except OSError:
            return Bind(bind.host, 0)
    return bind
