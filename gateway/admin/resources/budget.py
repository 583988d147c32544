"""What a site has spent of each cap that holds it, and where that is heading.

`listSpending` is the operator's: sums of all caps as they are kept. This is a site's
own view: every cap that bears on it, also one that nothing was spent under yet. Of a
cap that is shared with others only its name is told to whoever is bound to tenants.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from actors.ledger.covering import Who, is_of_site, subject_of
from actors.ledger.messages import Cap, CapAccount, ReportCaps
from actors.ledger.outlook import outlook
from gateway.admin.office import Office
from gateway.admin.operation import Call, Operation
from gateway.admin.paging import Page, Paged, page_of
from gateway.admin.problems import Problem
from gateway.assembly import caps_of
from gateway.settings.sites import SiteConfig

OWN = "spend"  # How a site's own spend_usd_max is called here.


class SiteCap(msgspec.Struct, frozen=True):
    """A sum of a cap that holds a site."""

    name: str
    """`spend` is the site's own spend_usd_max."""
    subject: str
    """The key, model or provider that this sum is kept for; empty for the site's."""
    kind: str
    window: str
    rolling: bool
    time_zone: str
    shared: bool
    """Whether others spend from it too."""
    spend_nanousd_max: int | None
    """Null, as all amounts, where it is shared and not the caller's to know."""
    spent_nanousd: int | None
    held_nanousd: int | None
    """Kept for requests that are running."""
    began_ms: int | None
    resets_ms: int | None
    plan_nanousd: int | None
    """What an even pace would have spent by now."""
    forecast_nanousd: int | None
    """What will be spent by the window's end at the pace so far."""
    runs_out_ms: int | None
    """When it is used up at that pace, if before the window's end."""


class SiteSpending(msgspec.Struct, frozen=True):
    """A site and the caps that hold it, the tightest first."""

    site: str
    tenant: str
    environment: str
    ladder: tuple[str, ...]
    """The steps of its ladder that are in force now."""
    caps: tuple[SiteCap, ...]


def operations(office: Office) -> tuple[Operation, ...]:
    """All about what sites spend."""

    async def accounts() -> tuple[CapAccount, ...]:
        return await office.gate.ledger.ask(ReportCaps())

    def spending(
        call: Call, site: SiteConfig, sums: tuple[CapAccount, ...]
    ) -> SiteSpending:
        now_s = office.now_ms() / 1000
        tenant, environment = office.config.home_of(site)
        caps = sorted(
            (
                _shown(one, site.name, now_s, all_of=call.principal.is_operator)
                for one in _bearing(office, site, sums)
            ),
            key=_tightness,
        )
        used = max(
            (
                (one.spent_nanousd + one.held_nanousd) * 100 / one.cap.nanousd_max
                for one in _bearing(office, site, sums)
                if one.cap.kind != "soft" and one.cap.nanousd_max
            ),
            default=0.0,
        )
        ladder = tuple(rung.name for rung in site.ladder if rung.from_percent <= used)
        return SiteSpending(site.name, tenant, environment, ladder, tuple(caps))

    async def every(call: Call) -> Page[SiteSpending]:
        seen = [
            site
            for site in office.config.sites
            if call.principal.sees(office.config.home_of(site)[0])
        ]
        page = page_of("site-spending", seen, call.query, lambda one: one.name)
        sums = await accounts()
        return Page(
            tuple(spending(call, one, sums) for one in page.items), page.next_cursor
        )

    async def one(call: Call) -> SiteSpending:
        name = office.own_site(call, call.param("site"))
        for site in office.config.sites:
            if site.name == name:
                return spending(call, site, await accounts())
        raise Problem("not-found", f"there is no site {name}")

    return (
        Operation(
            "listSiteSpending", "GET", "/site-spending", "caps",
            "What each site has spent of its caps", every,
            query=Paged, gives=Page[SiteSpending],
        ),
        Operation(
            "getSiteSpending", "GET", "/sites/{site}/spending", "caps",
            "What a site has spent of its caps, and where it is heading", one,
            gives=SiteSpending,
        ),
    )  # fmt: skip


def _bearing(
    office: Office, site: SiteConfig, sums: tuple[CapAccount, ...]
) -> Iterable[CapAccount]:
    """Every sum that holds this site; caps that nothing was spent under are at zero."""
    own = f"{site.name}:{OWN}"
    if site.spend_max_nanousd is not None:
        cap = Cap(
            name=own,
            nanousd_max=site.spend_max_nanousd,
            window=site.spend_window,
            zone=site.spend_time_zone,
            sites=(site.name,),
        )
        found = next((one for one in sums if one.cap.name == own), None)
        yield found or CapAccount(cap, site.name, 0, 0, None)
    for cap in caps_of(office.config):
        covered = subject_of(_of_sites(cap), Who(site.name, "", "", "")) is not None
        if not covered:
            continue
        found_any = False
        for one in sums:
            if one.cap.name == cap.name and _is_of(one, site.name):
                found_any = True
                yield one
        if not found_any:
            subject = site.name if cap.per == "site" else ""
            yield CapAccount(cap, subject, 0, 0, None)


def _of_sites(cap: Cap) -> Cap:
    """The cap as if it covered every key, model and provider of the sites it covers."""
    return msgspec.structs.replace(cap, keys=(), models=(), providers=(), per="site")


def _is_of(account: CapAccount, site: str) -> bool:
    match account.cap.per:
        case "site":
            return account.subject == site
        case "key":
            return account.subject.startswith(f"{site}:")
        case _:
            return True


def _shown(account: CapAccount, site: str, now_s: float, *, all_of: bool) -> SiteCap:
    cap = account.cap
    own = is_of_site(cap, site)
    told = own or all_of
    used = account.spent_nanousd + account.held_nanousd
    ahead = outlook(cap, used, now_s)
    subject = "" if cap.per in {"all", "site"} else account.subject
    return SiteCap(
        name=OWN if cap.name == f"{site}:{OWN}" else cap.name,
        subject=subject if told else "",
        kind=cap.kind,
        window=cap.window,
        rolling=cap.rolling,
        time_zone=cap.zone,
        shared=not own,
        spend_nanousd_max=cap.nanousd_max if told else None,
        spent_nanousd=account.spent_nanousd if told else None,
        held_nanousd=account.held_nanousd if told else None,
        began_ms=_ms(ahead.began_s),
        resets_ms=_ms(ahead.resets_at_s or account.resets_at_s),
        plan_nanousd=ahead.plan_nanousd if told else None,
        forecast_nanousd=ahead.forecast_nanousd if told else None,
        runs_out_ms=_ms(ahead.runs_out_s) if told else None,
    )


def _tightness(one: SiteCap) -> tuple[bool, float, bool, str]:
    if not one.spend_nanousd_max:
        return (True, 0.0, True, one.name)
    used = (one.spent_nanousd or 0) + (one.held_nanousd or 0)
    return (one.kind == "soft", -used / one.spend_nanousd_max, one.shared, one.name)


def _ms(at_s: float | None) -> int | None:
    return None if at_s is None else int(at_s * 1000)
