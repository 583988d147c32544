"""What the router would do with a request: asked over HTTP, answered with numbers.

The question holds no prompt, only what of it matters to the router, so it may travel in
a URL: `GET /admin/routes/explain?site=acme&model=fast&prompt_tokens=1200`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, get_args
from urllib.parse import parse_qsl

from actors.router.explain import explain
from actors.router.messages import Explain, Explained, MakePlan
from actors.stream.hooks.placed import Placed
from gateway.gate import Gate
from gateway.settings.config import Config
from runtime import AskError
from wire.dialect import Need

PATH: Final = "/admin/routes/explain"
TOKENS_MAX: Final = 100_000_000
PARAMETERS: Final = (
    "site", "model", "dialect", "prompt_tokens", "prompt_tokens_max",
    "output_tokens_max", "needs", "affinity",
)  # fmt: skip


class BadQuestion(ValueError):
    """Something in the query is missing or wrong; the message says what."""


def question(query: bytes, config: Config) -> MakePlan:
    """The router's question in a query string. Raises BadQuestion."""
    given = dict(parse_qsl(query.decode("ascii", "replace"), max_num_fields=16))
    unknown = given.keys() - set(PARAMETERS)
    if unknown:
        known = ", ".join(PARAMETERS)
        raise BadQuestion(f"{min(unknown)[:64]!r} is no parameter; there are {known}")
    if not given.get("model"):
        raise BadQuestion("model is missing; name the model a client would ask for")
    needs = frozenset(filter(None, given.get("needs", "").split(",")))
    known_needs: frozenset[Need] = frozenset(get_args(Need))
    if not needs <= known_needs:
        raise BadQuestion(f"needs are some of {', '.join(sorted(known_needs))}")
    return MakePlan(
        site=_site(given.get("site"), config),
        model=given["model"],
        dialect=given.get("dialect", "openai-chat"),
        prompt_tokens=_tokens(given, "prompt_tokens") or 1,
        prompt_tokens_max=_tokens(given, "prompt_tokens_max"),
        output_tokens_max=_tokens(given, "output_tokens_max"),
        needs=frozenset(need for need in known_needs if need in needs),
        stream=True,
        affinity=0,
    )


async def answer(gate: Gate, query: bytes) -> tuple[int, dict[str, Any]]:
    """Status and body."""
    try:
        ask = question(query, gate.config)
        found = await gate.router.ask(Explain(ask))
    except BadQuestion as error:
        return 400, _error("invalid_request_error", str(error))
    except AskError:
        return 503, _error("gateway_unavailable", "The router does not answer now.")
    return 200, {**shown(found), "hooks": hooks(gate.hooks.of(ask.site, ask.model))}


def shown(found: Explained) -> dict[str, Any]:
    """A decision as JSON."""
    return explain(found)


def hooks(placed: Iterable[Placed]) -> list[dict[str, Any]]:
    """What the answer would pass, in order, and what that cost so far."""
    return [
        {
            "name": one.name,
            "kind": one.kind,
            "on_failure": one.on_failure,
            "isolated": one.isolated,
            "us_per_call": round(1e6 * one.counts.spent_s / (one.counts.calls or 1), 2),
            "calls": one.counts.calls,
        }
        for one in placed
    ]


def _site(name: str | None, config: Config) -> str:
    names = [site.name for site in config.sites]
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        raise BadQuestion(f"site must be one of {', '.join(names) or 'none'}")
    return name


def _tokens(given: dict[str, str], name: str) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text[:12]) <= TOKENS_MAX):
        raise BadQuestion(f"{name} is a number of tokens, 1 to {TOKENS_MAX}")
    return int(text)


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}
