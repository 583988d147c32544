"""From settings to hooks: finds each by its kind, and tries it once.

Owns: which kinds are shipped, and how installed ones are found (entry points of the
group `stagedoor.hooks`). A hook that cannot be made with its options stops the start.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Final

from actors.stream.hooks import coalesce, guard, markdown, meter, redact
from actors.stream.hooks.api import Hook, Make
from actors.stream.hooks.placed import OnFailure, Placed
from gateway.settings.config import Config
from gateway.settings.errors import ConfigError, Problem
from gateway.settings.hooks import HookConfig

GROUP: Final = "stagedoor.hooks"
SHIPPED: Final[dict[str, Make]] = {
    "redact": redact.make,
    "guard": guard.make,
    "markdown": markdown.make,
    "meter": meter.make,
    "coalesce": coalesce.make,
}
# Without these an answer shows what it must not: better none.
FAILS: Final = frozenset({"redact", "guard"})


def placed(
    config: Config, installed: Iterable[EntryPoint] | None = None
) -> tuple[Placed, ...]:
    """The hooks of a configuration, in its order. Raises ConfigError."""
    found = {
        point.name: point
        for point in (entry_points(group=GROUP) if installed is None else installed)
    }
    problems: list[Problem] = []
    made: list[Placed] = []
    timed = ""
    for index, hook in enumerate(config.hooks):
        where = f"hooks[{index}]"
        try:
            one = _placed(hook, found)
            timed = timed or (hook.name if one.fresh().flush_after_s else "")
        except ValueError as error:
            problems.append(Problem("", where, str(error)))
            continue
        if timed and hook.isolated:
            what = f"is isolated and stands behind {timed}; put it in front"
            problems.append(Problem("", where, what))
        made.append(one)
    if problems:
        raise ConfigError(tuple(problems))
    return tuple(made)


def _placed(hook: HookConfig, found: dict[str, EntryPoint]) -> Placed:
    """Raises ValueError."""
    on_failure: OnFailure = hook.on_failure or (
        "fail" if hook.kind in FAILS else "skip"
    )
    return Placed(
        name=hook.name,
        kind=hook.kind,
        make=_make(hook.kind, found),
        options=MappingProxyType(options_of(hook)),
        sites=hook.sites,
        models=hook.models,
        on_failure=on_failure,
        box_s=hook.time_box_ms / 1000,
        isolated=hook.isolated,
    )


def options_of(hook: HookConfig) -> dict[str, str]:
    """By name; what is given again goes below, on a line of its own."""
    options: dict[str, str] = {}
    for option in hook.options:
        name, _, value = option.partition("=")
        options[name] = f"{options[name]}\n{value}" if name in options else value
    return options


def _make(kind: str, found: dict[str, EntryPoint]) -> Make:
    shipped = SHIPPED.get(kind)
    if shipped is not None:
        return shipped
    point = found.get(kind)
    if point is None:
        known = ", ".join([*SHIPPED, *sorted(found)])
        raise ValueError(f"kind = {kind!r} is no hook; there are {known}")
    try:
        make = point.load()
    except Exception as error:
        what = f"kind = {kind!r} cannot be loaded: {type(error).__name__}: {error}"
        raise ValueError(what) from error

    def checked(options: object) -> Hook:
        hook = make(options)
        if not isinstance(hook, Hook):
            raise ValueError(f"kind = {kind!r} makes no Hook")  # noqa: TRY004
        return hook

    return checked
