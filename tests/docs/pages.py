"""The pages that people read, taken apart: prose, code, commands."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

_SPAN: Final = re.compile(r"`([^`\n]+)`")
_BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _listed() -> tuple[str, ...]:
    """The files of the tree, without what tools and tests leave in it."""
    told = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(told.stdout.splitlines())


FILES: Final = _listed()
PAGES: Final = tuple(
    ROOT / name
    for name in FILES
    if name in {"README.md", "ARCHITECTURE.md", "CHANGELOG.md", "bench/RESULTS.md"}
    or (name.startswith("docs/") and name.endswith(".md"))
)


def name_of(page: Path) -> str:
    """A page's path from the root, as a test's id shows it."""
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return _BLOCK.sub("", page.read_text())


def spans(page: Path) -> Iterator[str]:
    """What stands between backticks, within lines."""
    yield from (match[1] for match in _SPAN.finditer(prose(page)))


def blocks(page: Path, language: str) -> Iterator[str]:
    """The blocks of code of one language."""
    for match in _BLOCK.finditer(page.read_text()):
        if match[1] == language:
            yield match[2]


def commands(page: Path) -> Iterator[str]:
    """What a reader may type: lines of shell blocks, and spans."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            yield line.partition("  #")[0].strip()
    yield from spans(page)
