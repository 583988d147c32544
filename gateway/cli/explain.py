"""`stagedoor explain REQUEST.json`: which candidate would serve this request, and why.

Owns: reading the request as its dialect does, and the table that is printed. The prompt
stays here: the gateway is told its size and its needs. Where no gateway runs, the
configuration alone decides, and what only calls can tell (speed, errors) is a guess.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import urlencode

from actors.router import policy
from actors.router.book import Book
from actors.router.catalogue import files
from actors.stream import tokens
from gateway.assembly import route_table
from gateway.cli import OK, REFUSED, USAGE, complain
from gateway.cli.control import add_gateway, ask, plain
from gateway.cli.source import config_path, environment, load_or_complain
from gateway.explaining import PATH, BadQuestion, question, shown
from gateway.settings.load import Source
from wire.anthropic import MESSAGES
from wire.dialect import ClientDialect, ClientError, Head
from wire.openai_chat import CHAT
from wire.openai_responses import RESPONSES

DIALECTS: Final[Mapping[str, ClientDialect]] = {
    "chat": CHAT,
    "messages": MESSAGES,
    "responses": RESPONSES,
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which request, as whom, at which gateway."""
    parser.add_argument(
        "request", metavar="REQUEST.json", help="the body of a request; - reads it"
    )
    parser.add_argument("--site", help="as which site (default: the only one)")
    parser.add_argument(
        "--dialect", choices=tuple(DIALECTS), default="chat", help="default: chat"
    )
    parser.add_argument(
        "--offline", action="store_true", help="decide by the configuration alone"
    )
    add_gateway(parser)


def run(args: argparse.Namespace) -> int:
    """Explain it."""
    try:
        body = (
            sys.stdin.buffer.read()
            if args.request == "-"
            else Path(args.request).read_bytes()
        )
        head = DIALECTS[args.dialect].read_head(body, {})
    except OSError as error:
        complain(f"{args.request}: {error.strerror}")
        return USAGE
    except ClientError as error:
        complain(f"{args.request}: {error.message}")
        return REFUSED
    query = urlencode(asked(head, args.site, args.dialect))
    answer, code = _offline(args, query) if args.offline else ask(args, _at(query))
    if code != OK:
        return code
    if args.json:
        print(json.dumps(answer, indent=2))
    else:
        print("\n".join(plain(line) for line in listing(answer)))
    return OK


def asked(head: Head, site: str | None, dialect: str) -> dict[str, str]:
    """What the router needs to know of a request."""
    query = {
        "model": head.model,
        "dialect": dialect,
        "prompt_tokens": str(tokens.prompt_tokens(head.prompt_bytes)),
        "prompt_tokens_max": str(tokens.prompt_tokens_max(head.prompt_bytes)),
        "needs": ",".join(sorted(head.needs)),
    }
    if head.max_output_tokens is not None:
        query["output_tokens_max"] = str(head.max_output_tokens)
    if site is not None:
        query["site"] = site
    return query


def listing(answer: Mapping[str, Any]) -> Iterator[str]:
    """A candidate a line, in the order they would be tried; then who is not."""
    yield f"{answer['model']}: {answer.get('prefer', 'ordered')}"
    for place, one in enumerate(answer["candidates"], 1):
        parts = "  ".join(f"{name} {part:.2f}" for name, part in one["parts"].items())
        yield (
            f"{place:3}  {one['deployment']}  score {one['score']:.3f}  {parts}  "
            f"p95 {one['latency_p95_s']:.2f} s  {_usd(one['cost_usd'])}"
            + ("  (probe)" if one["probe"] else "")
            + (f"  (after {one['after']})" if one["after"] != "any" else "")
        )
    for one in answer["gated"]:
        yield f"  -  {one['deployment']}  {one['gate']}: {one['why']}"
    if "refused" in answer:
        refused = answer["refused"]
        yield f"refused: {refused['status']} {refused['code']}: {refused['message']}"


def _at(query: str) -> str:
    return f"{PATH}?{query}"


def _offline(args: argparse.Namespace, query: str) -> tuple[Any, int]:
    env = environment()
    config = load_or_complain(Source(config_path(args, env), env))
    if isinstance(config, int):
        return None, config
    try:
        wanted = question(query.encode(), config)
    except BadQuestion as error:
        complain(error)
        return None, USAGE
    try:
        catalogue = files.lookup(config.server.state_dir)
    except (files.BadCatalogue, OSError) as error:
        complain(error)
        return None, REFUSED
    book = Book(route_table(config, catalogue))
    # One seed: the same file and request give the same answer.
    return shown(policy.explain(book, wanted, 0.0, Random(0))), OK  # noqa: S311


def _usd(cost: str) -> str:
    """A cost as the gateway tells it: digits, or that there is no price."""
    return f"${cost}" if cost[:1].isdigit() else cost
