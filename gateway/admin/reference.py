"""`python -m gateway.admin.reference`: the table of operations for docs/admin-api.md.

From the definitions that serve, like the OpenAPI document.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

from gateway.admin.building import every
from gateway.admin.office import Books, Office
from gateway.admin.openapi import TAGS
from gateway.admin.operation import Operation

BEGIN: Final = "<!-- operations: written by `make docs` -->"


def operations() -> tuple[Operation, ...]:
    """All of them; they are described here, and never called."""
    nothing = cast("Any", None)
    gate = cast("Any", SimpleNamespace(reports={}))
    return every(Office(gate, nothing, "", Books()))


def table() -> Iterator[str]:
    """Markdown."""
    found = operations()
    for tag, text in TAGS.items():
        ours = [one for one in found if one.tag == tag]
        if not ours:
            continue
        yield from (f"### {tag.capitalize()}", "", text, "")
        yield from (
            "| operation | what it does | least role | log |",
            "|---|---|---|---|",
        )
        for one in ours:
            role: str = "none" if one.anyone else one.role
            if one.reach == "operator" and not one.anyone:
                role += ", operator"
            act = f"`{one.act}`" if one.act else ""
            what = f"{one.summary}. {one.doc}".strip()
            yield f"| `{one.method} {one.path}` | {what} | {role} | {act} |"
        yield ""


def page(text: str) -> str:
    """A page with its table written anew."""
    head, _, _ = text.partition(BEGIN)
    return "\n".join([f"{head}{BEGIN}", "", *table()])


if __name__ == "__main__":
    sys.stdout.write(page(Path(sys.argv[1]).read_text("utf-8")))
