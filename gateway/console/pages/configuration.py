"""Configuration as code: out as a file, in again after a look; and what is in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from gateway.console.app import Console, Page
from gateway.console.visit import Refused, Shown, Visit

JSON_FILE: Final = (
    ("content-type", "application/json"),
    ("content-disposition", 'attachment; filename="stagedoor.json"'),
)


def pages(_console: Console) -> Sequence[Page]:
    """The pages of this file."""
    operators = partial(Page, operator=True)
    owners = partial(Page, role="owner", operator=True)
    path = "/settings/configuration"
    return (
        operators("GET", path, configuration),
        operators("GET", f"{path}/export", export),
        owners("POST", f"{path}/diff", diff),
        owners("POST", f"{path}/import", bring_in, sure=True),
    )


async def configuration(visit: Visit) -> Shown:
    """What there is."""
    return await _configuration(visit, 200)


async def _configuration(visit: Visit, status: int, **more: Any) -> Shown:
    shown: dict[str, Any] = {
        "steps": None,
        "done_steps": None,
        "problem": "",
        "text": visit.form.get("text", [""])[-1],
        "prune": visit.field("prune") == "yes",
        **more,
    }
    settings = (await visit.ask("GET", "/settings"))["settings"]
    return visit.show(
        "configuration.html",
        status,
        settings=list(flat(settings)),
        keeps=visit.console.office.config.records,
        **shown,
    )


async def export(visit: Visit) -> Shown:
    """A file, the same twice if nothing changed."""
    found = await visit.ask("GET", "/configuration", query={"origin": "database"})
    body = msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"
    return Shown(200, body, JSON_FILE)


async def diff(visit: Visit) -> Shown:
    """What an import would do."""
    return await _take(visit, dry_run=True)


async def bring_in(visit: Visit) -> Shown:
    """Do it."""
    return await _take(visit, dry_run=False)


async def _take(visit: Visit, *, dry_run: bool) -> Shown:
    try:
        wanted: Any = msgspec.json.decode(visit.form.get("text", [""])[-1])
    except msgspec.DecodeError as error:
        return await _configuration(visit, 422, problem=f"This is no JSON: {error}.")
    if not isinstance(wanted, dict):
        return await _configuration(visit, 422, problem="This is no configuration.")
    body = {**wanted, "prune": visit.field("prune") == "yes", "dry_run": dry_run}
    try:
        told = await visit.ask(
            "POST", "/configuration/import", body=body, once=visit.field("once")
        )
    except Refused as refused:
        return await _configuration(visit, refused.status, problem=refused.told)
    name = "steps" if dry_run else "done_steps"
    return await _configuration(visit, 200, **{name: told["steps"]})


def flat(settings: Mapping[str, Any], path: str = "") -> Sequence[tuple[str, str]]:
    """Settings as rows, those of lists by their names."""
    rows: list[tuple[str, str]] = []
    for name, value in settings.items():
        here = f"{path}.{name}" if path else name
        if isinstance(value, Mapping):
            rows += flat(value, here)  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for one in value:  # pyright: ignore[reportUnknownVariableType]
                label = f"{here}.{one.get('name', '')}"  # pyright: ignore[reportUnknownMemberType]
                rest = {k: v for k, v in one.items() if k != "name"}  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
                rows += flat(rest, label) or [(label, "")]  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(value, list):
            rows.append((here, ", ".join(map(str, value))))  # pyright: ignore[reportUnknownArgumentType]
        else:
            rows.append((here, str(value)))
    return rows
