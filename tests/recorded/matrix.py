"""The table of pairs: who can talk to whom about what, and how we know.

python -m tests.recorded.matrix > docs/dialects.md
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final, Literal

import attrs

from gateway.settings.kinds import GOOGLES, KINDS
from tests.recorded.conversations import CONVERSATIONS, cannot_say
from tests.recorded.places import CLIENTS, FAMILIES
from tests.recorded.scenes import Scene, scene_of
from wire.registry import SPEECHES

Known = Literal["recorded", "belief", "not expressible"]

NAMES: Final = {
    "chat": "OpenAI chat",
    "responses": "OpenAI Responses",
    "messages": "Anthropic messages",
    "gemini": "Google Gemini",
}
MARKS: Final[dict[Known, str]] = {
    "recorded": "R",
    "belief": "b",
    "not expressible": "-",
}


@attrs.frozen
class Cell:
    """One conversation of one client with one kind of provider."""

    client: str
    kind: str
    family: str  # The grammar that the provider answers this client in.
    name: str
    scene: Scene | None

    def __str__(self) -> str:
        return f"{self.client}-{self.kind}-{self.name}"

    @property
    def known(self) -> Known:
        """How we know the answer's shape."""
        if self.scene is None:
            return "not expressible"
        return self.scene.source

    @property
    def project(self) -> str:
        """Google's project, where one is needed."""
        return "example-project" if self.kind in GOOGLES else ""


def kinds() -> list[str]:
    """Every kind of provider but the one that is no provider."""
    return [kind for kind in KINDS if kind != "simulated"]


def cells() -> list[Cell]:
    """All of them."""
    found = []
    for kind in kinds():
        for client, dialect in CLIENTS.items():
            family = FAMILIES[SPEECHES[kind].dialect_for(dialect.name).name]
            for name in CONVERSATIONS:
                mute = cannot_say(client, name)
                scene = None if mute else scene_of(kind, family, name)
                found.append(Cell(client, kind, family, name, scene))
    return found


def sampled(found: list[Cell]) -> list[Cell]:
    """All recorded cells, and of the others each fourth; all with RECORDED_ALL=1."""
    if os.environ.get("RECORDED_ALL"):
        return found
    believed = [cell for cell in found if cell.known != "recorded"]
    kept = set(map(str, believed[::4]))
    return [cell for cell in found if cell.known == "recorded" or str(cell) in kept]


def page() -> str:
    """The page of the documentation."""
    lines = [HEAD, _row("Provider", *CONVERSATIONS), _rule(len(CONVERSATIONS) + 1)]
    by = {(cell.kind, cell.client, cell.name): cell for cell in cells()}
    for kind in kinds():
        marks = [
            MARKS[_best(by[kind, one, name].known for one in CLIENTS)]
            for name in CONVERSATIONS
        ]
        lines.append(_row(f"`{kind}`", *marks))
    lines += [PAIRS, _row("In \\ out", *[f"`{kind}`" for kind in kinds()])]
    lines.append(_rule(len(kinds()) + 1))
    for client in CLIENTS:
        counts = []
        for kind in kinds():
            known = [by[kind, client, name].known for name in CONVERSATIONS]
            counts.append("/".join(str(known.count(one)) for one in MARKS))
        lines.append(_row(NAMES[client], *counts))
    lines.append(TAIL)
    return "\n".join(lines)


def _best(known: Iterable[Known]) -> Known:
    """The best knowledge that any client's dialect leads to."""
    found = set(known)
    return next(one for one in MARKS if one in found)


def _row(*values: str) -> str:
    return f"| {' | '.join(values)} |"


def _rule(columns: int) -> str:
    return "|" + "---|" * columns


HEAD: Final = """\
# Dialects, pair by pair

Each dialect that clients speak has the same conversations with each kind of provider in
`tests/recorded/test_pairs.py`: what was asked arrives at the provider, and what the
provider answered arrives at the client. This page is the table of them, written by
`python -m tests.recorded.matrix`; a test holds it to the truth. What becomes of single
fields is in [dialects-fields.md](dialects-fields.md).

- **R**: the provider's side is a recording of that provider's real answer.
- **b**: it is not, but a recording of another provider with the same grammar, or a body
  as the provider's documents have it. Believed, until somebody records one.
- **-**: not expressible: the provider has no such thing, or the client's dialect has no
  word for it (the Responses have no stop sequences).
"""

PAIRS: Final = """
Per pair, how many of the conversations are recorded, believed, and not expressible:
"""

TAIL: Final = """
Beside this table, every recorded answer and error is played through the whole gateway
to the official clients of Python and JavaScript that can be led to it:
`make test-recorded`.

No answer of `vertex-anthropic` was recorded: what is sent there is held, field by
field, to what Anthropic's official Vertex client sends
(`tests/gateway/test_vertex_claude.py`), its answers are Anthropic's recordings, and its
errors have Google's shape or Anthropic's, both believed. What `bedrock-invoke` answers
of Claude and Nova is recorded; that a request is taken is believed.
"""

if __name__ == "__main__":
    print(page(), end="")
