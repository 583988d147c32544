"""GET /v1/usage: what a site has spent, against what it may, for its own key.

Owns: what of the ledger and of the records a site may know: its own, and caps whose
sums are its own or its key's alone. Money that is spent but not recorded yet is in the
caps already; sums by feature follow a second later.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl

from actors.archivist.ports import Filter, Unavailable, UsageAsked
from actors.ledger.messages import CapAccount, ReportCaps
from gateway.gate import Gate
from gateway.http.inquiries import fault_of
from gateway.http.models import client_of
from gateway.http.replies import reply, reply_json
from gateway.http.request import Request
from gateway.settings.values import show_usd
from gateway.sites import Caller
from runtime import AskError

PATH: Final = "/v1/usage"
DAY_S: Final = 86_400
SPAN_S: Final = 30 * DAY_S
SPAN_S_MAX: Final = 400 * DAY_S
TIME_S_MAX: Final = 253_402_300_799
FEATURES_MAX: Final = 100  # A widget shows ten; the rest is in the admin API.


class BadQuestion(ValueError):
    """Something in the query is wrong; the message says what."""


class UsageOfSite:
    """The handler."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def __repr__(self) -> str:
        return "<UsageOfSite>"

    async def answer(self, request: Request, caller: Caller) -> None:
        """For the site of this key."""
        try:
            since_s, until_s = self._span(request)
            told = await self._told(caller, since_s, until_s)
        except BadQuestion as error:
            await _fail(request, 400, "invalid_value", str(error))
            return
        except (AskError, Unavailable):
            why = "Usage cannot be told now; try again in a moment."
            await _fail(request, 503, "gateway_unavailable", why)
            return
        await reply_json(request.send, 200, told, (("cache-control", "no-store"),))

    def _span(self, request: Request) -> tuple[int, int]:
        """From when to when. Raises BadQuestion."""
        query: bytes = request.scope["query_string"]
        given = dict(parse_qsl(query.decode("ascii", "replace"), max_num_fields=8))
        if unknown := given.keys() - {"since", "until"}:
            name = "".join(c for c in min(unknown)[:64] if c.isprintable())
            raise BadQuestion(f"{name!r} is no parameter; there are since and until.")
        until_s = _time(given, "until", self.gate.unix_s() + 1)
        since_s = _time(given, "since", max(0, until_s - SPAN_S))
        if not 0 < until_s - since_s <= SPAN_S_MAX:
            days = SPAN_S_MAX // DAY_S
            raise BadQuestion(f"since must be before until, by at most {days} days.")
        return since_s, until_s

    async def _told(self, caller: Caller, since_s: int, until_s: int) -> dict[str, Any]:
        accounts = await self.gate.ledger.ask(ReportCaps())
        caps = [_cap(one) for one in accounts if _is_own(one, caller)]
        hard = [cap for cap in caps if cap["kind"] == "hard"]
        tightest = min(hard, key=lambda cap: int(cap["left_nanousd"]), default=None)
        tenant, environment = self.gate.sites.home_of(caller.site)
        told: dict[str, Any] = {
            "object": "usage",
            "site": caller.site,
            "key": caller.key_id,
            "tenant": tenant,
            "environment": environment,
            "cap": tightest,
            "caps": caps,
            "since": since_s,
            "until": until_s,
        }
        told.update(await self._sums(caller.site, since_s, until_s))
        return told

    async def _sums(self, site: str, since_s: int, until_s: int) -> dict[str, Any]:
        records = self.gate.records
        if records is None:
            return {"total": None, "features": [], "features_truncated": False}
        wanted = Filter(since_s * 1000, until_s * 1000, site=site)
        (total,) = await records.usage(UsageAsked(wanted))
        rows = await records.usage(UsageAsked(wanted, by=("feature",)))
        rows.sort(key=lambda row: (-row.sums.cost_nanousd, -row.sums.requests, row.by))
        return {
            "total": _sum(total.sums),
            "features": [
                {"feature": row.by[0], **_sum(row.sums)} for row in rows[:FEATURES_MAX]
            ],
            "features_truncated": len(rows) > FEATURES_MAX,
        }


def _is_own(account: CapAccount, caller: Caller) -> bool:
    """Whether this sum is of nobody but the caller's site, or its key."""
    cap = account.cap
    if cap.per == "site":
        return account.subject == caller.site
    if cap.per == "key":
        return account.subject == caller.key_id
    return cap.per == "all" and cap.sites == (caller.site,)


def _cap(account: CapAccount) -> dict[str, Any]:
    cap = account.cap
    used = account.spent_nanousd + account.held_nanousd
    return {
        "name": cap.name,
        "kind": cap.kind,
        "window": cap.window,
        "rolling": cap.rolling,
        "time_zone": cap.zone,
        "max_nanousd": cap.nanousd_max,
        "max_usd": show_usd(cap.nanousd_max),
        "spent_nanousd": account.spent_nanousd,
        "spent_usd": show_usd(max(0, account.spent_nanousd)),
        "held_nanousd": account.held_nanousd,
        "left_nanousd": max(0, cap.nanousd_max - used),
        "resets_at": None if account.resets_at_s is None else int(account.resets_at_s),
    }


def _sum(sums: Any) -> dict[str, Any]:
    return {
        "requests": sums.requests,
        "errors": sums.errors,
        "refused": sums.refused,
        "prompt_tokens": sums.prompt_tokens,
        "cached_tokens": sums.cached_tokens,
        "output_tokens": sums.output_tokens,
        "cost_nanousd": sums.cost_nanousd,
        "cost_usd": show_usd(max(0, sums.cost_nanousd)),
    }


def _time(given: dict[str, str], name: str, default: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and int(text[:15]) <= TIME_S_MAX):
        raise BadQuestion(f"{name} is a Unix time in seconds.")
    return int(text)


async def _fail(request: Request, status: int, code: str, why: str) -> None:
    """An error in the dialect that the client most likely reads."""
    shown = client_of(request).render_error(fault_of(status, code, why))
    await reply(request.send, shown.status, shown.body, shown.headers)
