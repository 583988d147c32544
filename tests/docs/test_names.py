"""What the pages name is there: a page that lies is worse than none."""

from __future__ import annotations

import argparse
import re
import shlex
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import COMMANDS, load
from gateway.settings.build import Builder
from gateway.settings.config import Config
from gateway.settings.definition import rows
from tests.docs.pages import FILES, PAGES, ROOT, blocks, commands, name_of, prose, spans

PACKAGES = "actors|bench|gateway|runtime|storage|tests|tools|wire"
SUFFIXES = "css|in|js|json|lock|md|mjs|php|py|sh|sql|toml"

# Of the reader's, not of this tree.
THEIRS = frozenset({"stagedoor.toml", "NNNN_name.sql"})

SETTINGS = [tuple(row.path.split(".")) for row in rows(Config)]
TABLES = frozenset(path[0] for path in SETTINGS)
ARRAYS = frozenset(path[0] for path in SETTINGS if path[1].isupper())
# Entries of the audit log, and alerts, have dots in their names too.
EVENTS = frozenset(
    {
        "records.export",
        "records.found",
        "records.kept",
        "records.trouble",
        "vault.store",
    }
)

each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", prose(page))

    assert not [
        target
        for target in targets
        if "://" not in target and not (page.parent / target).exists()
    ]


@each_page
def test_every_file_that_is_named_is_there(page: Path) -> None:
    """By its path from the root or its package, or by its bare name."""
    named = [
        span
        for span in spans(page)
        if re.fullmatch(rf"[\w.*-][\w./*-]*\.(?:{SUFFIXES})", span)
        and span not in THEIRS
    ]

    assert not [
        name
        for name in named
        if not any(f"/{file}".endswith(f"/{name}") for file in FILES)
        and not any(ROOT.glob(name))
        and not any(page.parent.glob(name))
    ]


@each_page
def test_every_module_that_is_named_is_there(page: Path) -> None:
    """`python -m bench.unary`, and `bench.unary` alone."""
    typed = [
        found
        for command in commands(page)
        for found in re.findall(rf"-m ((?:{PACKAGES})[\w.]*)", command)
    ]
    told = [
        span for span in spans(page) if re.fullmatch(rf"(?:{PACKAGES})(\.\w+)+", span)
    ]

    assert not [name for name in typed if not _is_module(name)]
    assert not [name for name in told if not _is_module(name) and not _is_member(name)]


def _is_module(name: str) -> bool:
    path = name.replace(".", "/")
    return any(file in FILES for file in (f"{path}.py", f"{path}/__main__.py")) or any(
        file.startswith(f"{path}/") for file in FILES
    )


def _is_member(name: str) -> bool:
    """`runtime.Backoff`: a word of the module, or of the package's façade."""
    module, _, member = name.rpartition(".")
    path = module.replace(".", "/")
    return any(
        re.search(rf"\b{member}\b", (ROOT / file).read_text())
        for file in (f"{path}.py", f"{path}/__init__.py")
        if file in FILES
    )


@each_page
def test_every_make_target_that_is_named_can_be_made(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    asked = [
        found
        for command in commands(page)
        for found in re.findall(r"^make ([a-z-]+)", command)
    ]

    assert not set(asked) - set(targets)


@each_page
def test_every_command_that_is_named_can_be_typed(page: Path) -> None:
    """Its words and its flags, as the command line's own parser knows them."""
    wrong: list[str] = []
    for command in commands(page):
        if re.match(r"(?:\S+=\S* )*(?:\S*/)?stagedoor [a-z]", command):
            words = _words(command)
            heads = words[0].split("|")
            wrong += [
                f"{command}: {word}"
                for head in heads
                for word in _unknown([head, *words[1:]])
            ]

    assert not wrong


def _words(command: str) -> list[str]:
    command = re.split(r" (?:[|>;&]|\d?>) ?", command)[0]
    words = shlex.split(command.replace("…", "..."))
    at = next(i for i, word in enumerate(words) if word.endswith("stagedoor"))
    return words[at + 1 :]


def _unknown(words: list[str]) -> Iterator[str]:
    if words[0] not in COMMANDS:
        yield words[0]
        return
    parser = argparse.ArgumentParser()
    load(COMMANDS[words[0]][0]).arguments(parser)
    for word in words[1:]:
        below = _subparsers(parser)
        if word.startswith("--"):
            flag = word.partition("=")[0]
            if flag not in parser._option_string_actions:
                yield flag
        elif below and re.match(r"[a-z]", word):
            names = word.split("|")
            yield from (name for name in names if name not in below)
            parser = below.get(names[0], parser)


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, Any]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


@each_page
def test_every_setting_that_is_named_can_be_set(page: Path) -> None:
    """`server.deadlines.idle_s`, `sites.acme.resume`; a table counts as one."""
    named = [
        span
        for span in spans(page)
        if re.fullmatch(r"[a-z_]+(?:\.[\w-]+)+", span)
        and span.partition(".")[0] in TABLES
        and span not in EVENTS
    ]

    assert not [name for name in named if not _is_setting(tuple(name.split(".")))]


def _is_setting(path: tuple[str, ...]) -> bool:
    return any(
        len(path) <= len(known)
        and all(
            part.isupper() or part == given
            for part, given in zip(known, path, strict=False)
        )
        for known in SETTINGS
    )


@each_page
def test_every_piece_of_a_file_that_is_shown_would_be_read(page: Path) -> None:
    """Its names and its values; what the piece leaves out is another matter."""
    for block in blocks(page, "toml"):
        if "[project" in block:  # A plug-in's pyproject.toml.
            continue
        first = re.match(r"\[+(\w+)\.", block)
        inside = first is not None and first[1] in ARRAYS
        text = f'[[{first[1]}]]\nname = "a"\n{block}' if first and inside else block
        builder = Builder(Config, page.name, Path(), ())
        builder.build(tomllib.loads(text, parse_float=Decimal))

        wrong = [str(problem) for problem in builder.problems]
        assert [one for one in wrong if " is missing; " not in one] == []


def test_names_are_found_at_all() -> None:
    """Each test above would pass on pages that name nothing, or cannot be read."""
    assert len(PAGES) > 20
    assert sum(len(list(spans(page))) for page in PAGES) > 1000
    assert sum(1 for page in PAGES for _ in blocks(page, "toml")) > 5
    assert list(_unknown(["audit", "verify", "--nothing"])) == ["--nothing"]
    assert list(_unknown(["cap", "refund|melt"])) == ["melt"]
    assert _is_setting(("server", "deadlines", "idle_s"))
    assert not _is_setting(("server", "deadlines", "idle"))
