"""The map is the land: indexes, folders and the tree of actors, as they are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from trio.testing import MockClock

from gateway.embed import embedded
from gateway.embed_providers import FakeProvider
from storage.sql.memory import open_memory
from tests.docs.pages import FILES, PAGES, ROOT, blocks, name_of, prose
from tests.gateway.gateways import config

DECISIONS = ROOT / "docs" / "decisions"
ARCHITECTURE = ROOT / "ARCHITECTURE.md"
README = ROOT / "README.md"
RESULTS = ROOT / "bench" / "RESULTS.md"

FOLDERS = sorted(
    {
        str(Path(file).parent)
        for file in FILES
        if file.endswith(".py") and not file.startswith(("tests/", "wp-plugin/"))
    }
)


def links(page: Path) -> set[Path]:
    found = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", prose(page))
    return {(page.parent / link).resolve() for link in found if "://" not in link}


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    pages = {page for page in PAGES if page.parent == index.parent} - {index}

    assert not {name_of(page) for page in pages - links(index)}


def test_every_decision_is_in_the_index_under_its_number() -> None:
    index = DECISIONS / "README.md"
    made = sorted(page for page in PAGES if page.parent == DECISIONS if page != index)
    told = re.findall(r"^(\d+)\. \[(.*)\]\((.*)\)$", index.read_text(), re.MULTILINE)

    assert [int(page.name[:4]) for page in made] == list(range(1, len(made) + 1))
    assert [(page.name, page.read_text().splitlines()[0]) for page in made] == [
        (file, f"# {number}. {title}") for number, title, file in told
    ]


def test_every_folder_of_the_tree_is_on_the_map() -> None:
    """By a line of the table, which says what is in it."""
    table = re.findall(r"^\| `([\w-]+)/` \| \S", ARCHITECTURE.read_text(), re.MULTILINE)
    tops = {file.partition("/")[0] for file in FILES if "/" in file}
    # What no reader looks for: CI, fragments of the changelog, locks.
    hidden = {".ci", "changelog.d", "requirements"}

    assert sorted(table) == sorted(tops - hidden)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_package_says_what_it_is_in_a_line(folder: str) -> None:
    """In its first sentence, so that a reader need not open it to pass it by."""
    source = (ROOT / folder / "__init__.py").read_text()
    said = ast.get_docstring(ast.parse(source)) or ""

    assert re.match(r".{15,}[.:]", said), f"{folder} does not say what it is"


async def test_the_tree_of_actors_is_the_one_on_the_map(
    autojump_clock: MockClock,
) -> None:
    """Name by name, in the order in which they start."""
    drawn = next(block for block in blocks(ARCHITECTURE, "") if "auditor" in block)
    told = re.findall(r"^[├└]── (\w+)", drawn, re.MULTILINE)
    database = await open_memory()
    try:
        async with embedded(
            config(), {"main": FakeProvider()}, database=database
        ) as gateway:
            root = gateway.gateway.tree.system.snapshot()
    finally:
        await database.aclose()

    # The edge is what serves sockets: here clients call a function.
    assert [child.id for child in root.children] == told[:-1]
    assert told[-1] == "edge"


def test_what_the_readme_says_was_measured_is_in_the_results() -> None:
    """Number by number; multiples are computed, and units may differ by a thousand."""
    section = README.read_text().partition("\n## Measured\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    number = r"(?<![\w.,-])\d[\d,]*(?:\.\d+)?"
    known = {
        float(found.replace(",", ""))
        for found in re.findall(number, RESULTS.read_text())
    }
    wrong: list[str] = []
    for row in rows:
        cells = row.strip("| ").split("|")[1:]
        for found in re.findall(rf"{number}(?! ?\u00d7)", " ".join(cells)):
            step = 10.0 ** -len(found.partition(".")[2])
            value = float(found.replace(",", ""))
            if not any(
                abs(one - value) <= step / 2 or abs(one / 1000 - value) <= step / 2
                for one in known
            ):
                wrong.append(f"{found} in {row}")

    assert len(rows) > 5
    assert not wrong
