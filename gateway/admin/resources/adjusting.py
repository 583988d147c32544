"""What an operator may do to what was spent: begin a cap anew, give back, charge.

Both change sums of caps, never records: usage goes on saying what calls cost. Both are
in the audit log with why and, being money, how much.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from actors.ledger.messages import Adjust, ResetCap
from gateway.admin.office import Office
from gateway.admin.operation import Call, Operation
from gateway.admin.problems import Problem
from gateway.assembly import caps_of
from gateway.settings.sites import SiteConfig

ADJUST_NANOUSD_MAX: Final = 10**15  # A million dollars: beyond it, somebody mistyped.

Why = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=200,
        pattern=r"^[\x20-\x7e]+$",
        description="Why, for the audit log.",
    ),
]
Told = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[\x20-\x7e]*$")]


class CapReset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Begin a cap's current windows anew."""

    reason: Why
    subject: Annotated[
        str,
        msgspec.Meta(
            max_length=200,
            pattern=r"^[\x20-\x7e]*$",
            description="Of which site, key, model or provider, as `listSpending` "
            "names it. Empty: of all.",
        ),
    ] = ""


class Begun(msgspec.Struct, frozen=True):
    """A cap that begins anew."""

    cap: str
    subject: str
    sums: int
    """How many sums that were."""


class Adjustment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A refund or a charge."""

    nanousd: Annotated[
        int,
        msgspec.Meta(
            ge=-ADJUST_NANOUSD_MAX,
            le=ADJUST_NANOUSD_MAX,
            description="Below zero it is given back, above it is charged.",
        ),
    ]
    reason: Why
    key: Told = ""
    """The id of a key of the site's: caps of each key count it too."""
    model: Told = ""
    provider: Told = ""


class Adjusted(msgspec.Struct, frozen=True):
    """What was given back or charged, durably."""

    site: str
    nanousd: int


def operations(office: Office) -> tuple[Operation, ...]:
    """What may be done to what was spent."""

    async def reset(call: Call) -> Begun:
        name = call.param("cap")
        _check_cap(office, name)
        asked: CapReset = call.body
        await call.record(name, subject=asked.subject, reason=asked.reason)
        # The answer follows the store: whatever a replica had at hand is gone then.
        sums = await office.gate.ledger.ask(ResetCap(name, asked.subject))
        return Begun(name, asked.subject, sums)

    async def adjust(call: Call) -> Adjusted:
        site = _site(office, call.param("site"))
        asked: Adjustment = call.body
        key_id = asked.key
        if key_id and not key_id.startswith(f"{site.name}:"):
            key_id = f"{site.name}:{key_id}"
        if not asked.nanousd:
            raise Problem("invalid", "$.nanousd: is nothing to give back or to charge")
        tenant, env = office.config.home_of(site)
        await call.record(
            site.name,
            tenant=tenant,
            env=env,
            provider=asked.provider,
            nanousd=asked.nanousd,
            reason=asked.reason,
        )
        await office.gate.ledger.ask(
            Adjust(site.name, asked.nanousd, key_id, asked.model, asked.provider)
        )
        return Adjusted(site.name, asked.nanousd)

    return (
        Operation(
            "resetCap", "POST", "/caps/{cap}/reset", "caps",
            "Begin a cap's current windows anew", reset,
            doc="What was spent is forgotten, by every process; holds stay. A site's "
            "own spend_usd_max is the cap `SITE:spend`. What killed processes had "
            "leased is given back an hour after they died.",
            role="admin", reach="operator", body=CapReset, gives=Begun,
            act="cap.reset",
        ),
        Operation(
            "adjustSpending", "POST", "/sites/{site}/adjustments", "caps",
            "Give money back to a site, or charge it",
            adjust,
            doc="It counts now, in the current window of every cap that covers it. "
            "Records and usage stay as they are.",
            role="admin", reach="operator", body=Adjustment, gives=Adjusted,
            act="cap.adjust",
        ),
    )  # fmt: skip


def _check_cap(office: Office, name: str) -> None:
    site, colon, _ = name.rpartition(":spend")
    if any(one.name == name for one in caps_of(office.config)):
        return
    if colon and any(one.name == site for one in office.config.sites):
        return
    raise Problem("not-found", f"there is no cap {name}")


def _site(office: Office, name: str) -> SiteConfig:
    for one in office.config.sites:
        if one.name == name:
            return one
    raise Problem("not-found", f"there is no site {name}")
