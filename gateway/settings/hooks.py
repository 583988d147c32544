"""What can be said of hooks: which answers pass them, and what they may cost.

Owns: the table `[[hooks]]`. Never: loads a hook; that is gateway/hooks.py's.
"""

from __future__ import annotations

from typing import Final, Literal

from gateway.settings import values
from gateway.settings.definition import config, setting
from gateway.settings.server import Found
from gateway.settings.words import NAME

SHIPPED: Final = ("redact", "guard", "markdown", "meter", "coalesce")
OnFailure = Literal["", "skip", "fail"]
ON_FAILURE: Final[values.Reader[OnFailure]] = values.choice("", "skip", "fail")
KIND: Final = values.text(
    "name of a shipped hook or of an installed one",
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}",
)
PATTERN: Final = values.text("name or pattern with * and ?", r"[\x21-\x7e]{1,128}")
OPTION: Final = values.text("NAME=VALUE", r"[a-z][a-z0-9_]{0,62}=[\s\S]{0,8000}")
BOX_MS: Final = values.integer(1, 60_000)


@config
class HookConfig:
    """Something that sees, and may edit, answers on their way to the client.

    Hooks run in the order of the file.
    """

    name: str = setting(NAME, doc="Its name in plans, metrics and errors.")
    kind: str = setting(
        KIND,
        doc="What it does. `redact`: masks secrets and personal data. `guard`: ends, "
        "fails or masks answers in which a pattern is found. `markdown`: shows text "
        "only where its Markdown is whole. `meter`: ends answers at a number of "
        "tokens. `coalesce`: gathers small deltas for slow clients. Any other is the "
        "name of an installed hook (entry point group `stagedoor.hooks`).",
    )
    sites: tuple[str, ...] = setting(
        values.many(PATTERN), default=(), doc="The sites it is for; none are all."
    )
    models: tuple[str, ...] = setting(
        values.many(PATTERN),
        default=(),
        doc="The models it is for, as clients ask for them; none are all.",
    )
    on_failure: OnFailure = setting(
        ON_FAILURE,
        default="",
        default_doc="`fail` for redact and guard, else `skip`",
        doc="When it raises, or is late: `skip` goes on without it, `fail` ends the "
        "answer with an error.",
    )
    time_box_ms: int = setting(
        BOX_MS,
        factory=lambda self: 5 if self.kind in SHIPPED else 250,
        default_doc="5 for shipped hooks, else 250",
        unit="milliseconds",
        doc="How long one call may take. A hook of the process itself is late when "
        "three calls of an answer were longer; one that is isolated at once.",
    )
    isolated: bool = setting(
        values.BOOLEAN,
        factory=lambda self: self.kind not in SHIPPED,
        default_doc="true but for shipped hooks",
        doc="Whether it runs in a thread, where it can be left behind when it is "
        "late, at some 100 \u00b5s a delta.",
    )
    options: tuple[str, ...] = setting(
        values.many(OPTION),
        default=(),
        doc="What it is told, each as NAME=VALUE; see docs/hooks.md.",
    )

    def problems(self) -> Found:
        """Nothing waits for a thread in the time of an alarm."""
        if self.kind == "coalesce" and self.isolated:
            yield "isolated", "has no meaning for coalesce"
