"""One definition, many renderings: none may fall behind."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from gateway.settings import Config, load
from gateway.settings.definition import Row, Section, entries, rows
from gateway.settings.reference import FORMS, render

ROWS = list(rows(Config))
REFERENCE = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.path)
def test_every_setting_is_in_the_reference(row: Row) -> None:
    """With its key, its variable, its flag and its words."""
    text = REFERENCE.read_text()
    section = text.partition(f"## `{row.header}`")[2].partition("\n## ")[0]

    for part in (f"**`{row.key}`**", row.what.doc, row.env, row.flag):
        assert part in section


def test_the_reference_is_the_one_that_the_definitions_give() -> None:
    """Run `make docs` when this fails."""
    assert REFERENCE.read_text() == render("markdown").rstrip("\n") + "\n"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.path)
def test_every_setting_says_what_it_is_in_a_sentence(row: Row) -> None:
    assert re.fullmatch(r"[A-Z].*\.", row.what.doc)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.path)
def test_a_unit_is_the_last_word_of_a_key(row: Row) -> None:
    """`total_s`, not `total`: whoever reads the file should not have to guess."""
    if row.what.unit == "seconds":
        assert row.key.endswith("_s")
    if row.what.unit == "bytes":
        assert row.key.endswith("_bytes_max")
    if row.what.unit == "US dollars":
        assert "_usd" in row.key


def test_no_two_settings_share_a_variable_or_a_flag() -> None:
    for names in ([row.env for row in ROWS], [row.flag for row in ROWS]):
        given = [name for name in names if name]
        assert len(given) == len(set(given))


def test_a_secret_has_no_flag() -> None:
    """`ps` shows flags to everyone on the machine."""
    assert [row.path for row in ROWS if row.what.secret] == [
        "sites.NAME.keys",
        "database.url",
        "admin.tokens.NAME.keys",
    ]
    assert not any(row.flag for row in ROWS if row.what.secret)


def test_the_default_of_every_setting_is_one_that_its_reader_takes(
    tmp_path: Path,
) -> None:
    """The commented file, with its comments taken off, is the defaults."""
    lines = [
        line.removeprefix("# ")
        for line in render("toml").splitlines()
        if re.match(r"# (\[|[a-z_]+ = )", line) and "…" not in line
    ]
    text = "\n".join(lines).split("[[")[0]
    assert tomllib.loads(text)["server"]["bind"] == "127.0.0.1:8080"
    empty, written = tmp_path / "empty.toml", tmp_path / "written.toml"
    empty.touch()
    written.write_text(text)

    assert load(empty, {}) == load(written, {})


@pytest.mark.parametrize("form", FORMS)
def test_every_form_can_be_printed(form: str) -> None:
    text = render(form)

    for row in ROWS:
        assert row.key in text


def test_the_reference_for_programs_is_json() -> None:
    found = {row["path"]: row for row in json.loads(render("json"))}

    assert found["server.bind"]["variable"] == "STAGEDOOR_SERVER__BIND"
    assert found["server.bind"]["flag"] == "--bind"
    assert found["sites.NAME.keys"]["flag"] is None


def test_an_inheriting_table_has_only_settings_that_its_parent_has() -> None:
    """What is missing in the one is taken from the other."""
    server = {entry.key: entry for entry in entries(Config)}["server"].what
    assert isinstance(server, Section)
    parent = {entry.key: entry for entry in entries(server.of)}["deadlines"].what
    assert isinstance(parent, Section)
    provided = {entry.key for entry in entries(parent.of)}

    inheriting = [row for row in ROWS if row.inherits]
    assert {row.inherits for row in inheriting} == {"server.deadlines"}
    assert {row.key for row in inheriting} <= provided
