"""The plugin's PHP and scripts by themselves: their own tests, linters, the zip."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Generator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.wordpress import lab
from tests.wordpress.lab import KIT, PLUGIN, ROOT, Site
from tools.wp_plugin import build, versions

pytestmark = pytest.mark.wordpress

TESTS = ROOT / "wp-plugin" / "tests"
WASM = KIT / "node/node_modules/.bin/php-wasm-cli"
ALL_PASSED = re.compile(r"^OK \(\d+ tests, \d+ assertions\)$", re.MULTILINE)


@pytest.fixture(scope="module", params=["7.1", "6.5"])
def site(request: pytest.FixtureRequest) -> Generator[Site, None, None]:
    """A site that is not served; its plugin is ours, not a copy."""
    with TemporaryDirectory(prefix="wplab-") as name:
        yield add_plugin(lab.lay_out(Path(name), request.param, lab.free_port()))


def add_plugin(there: Site) -> Site:
    """The plugin with its tests, active."""
    plugin = there.path / "wp-content/plugins/stagedoor"
    shutil.copytree(PLUGIN, plugin)
    shutil.copytree(TESTS, plugin / "tests")
    there.wp("plugin", "activate", "stagedoor")
    return there


def phpunit(site: Site, command: list[str], env: dict[str, str]) -> str:
    """What PHPUnit says of the plugin's tests."""
    tests = site.path / "wp-content/plugins/stagedoor/tests"
    done = subprocess.run(
        [
            *command,
            "-d",
            f"auto_prepend_file={tests / 'load-wordpress.php'}",
            "-d",
            "include_path=/usr/share/php",
            "-d",
            "memory_limit=512M",
            "/usr/bin/phpunit",
            "--bootstrap",
            str(tests / "bootstrap.php"),
            "--no-configuration",
            "--test-suffix=Test.php",
            "--fail-on-warning",
            "--fail-on-risky",
            str(tests),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
        cwd=tests,
        env={**os.environ, **env, "STAGEDOOR_WORDPRESS": str(site.path)},
    )
    return done.stdout + done.stderr


def test_phpunit_on_this_machines_php(site: Site) -> None:
    said = phpunit(site, ["php"], {})

    assert ALL_PASSED.search(said), said


@pytest.mark.parametrize("version", ["7.4", "8.5"])
def test_phpunit_on_the_oldest_and_the_newest_php(site: Site, version: str) -> None:
    """Its exit code is lost on the way: what it prints counts."""
    said = phpunit(site, [str(WASM)], {"PHP": version})

    assert ALL_PASSED.search(said), said


def test_phpunit_on_mariadb() -> None:
    """What counts and claims in single statements does so on the database of most sites."""
    with TemporaryDirectory(prefix="wplab-") as name, lab.mariadb(Path(name)) as sock:
        site = add_plugin(lab.lay_out(Path(name), "7.1", lab.free_port(), sock))

        said = phpunit(site, ["php"], {})

    assert ALL_PASSED.search(said), said


@pytest.mark.parametrize("version", ["7.4", "8.5"])
def test_every_file_is_read_without_a_word_by_the_oldest_and_the_newest_php(
    version: str, tmp_path: Path
) -> None:
    script = tmp_path / "lint.php"
    script.write_text(
        "<?php error_reporting( E_ALL ); $n = 0;"
        f"foreach ( new RecursiveIteratorIterator( new RecursiveDirectoryIterator( '{PLUGIN}' ) ) as $f ) {{"
        "if ( 'php' === $f->getExtension() ) { token_get_all( file_get_contents( $f ), TOKEN_PARSE ); ++$n; } }"
        'echo "read $n files";'
    )
    done = subprocess.run(
        [str(WASM), str(script)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PHP": version},
    )

    count = len(list(PLUGIN.rglob("*.php")))
    assert done.stdout.strip() == f"read {count} files", done.stdout + done.stderr


def test_phpcs_finds_nothing() -> None:
    done = subprocess.run(
        ["phpcs", "--standard=phpcs.xml"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT / "wp-plugin",
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_eslint_finds_nothing() -> None:
    done = subprocess.run(
        [str(KIT / "node/node_modules/.bin/eslint"), "--max-warnings=0", "stagedoor"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT / "wp-plugin",
        env={**os.environ, "STAGEDOOR_NODE": str(KIT / "node")},
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_zip_is_the_same_bytes_each_time_and_holds_what_is_shipped(
    tmp_path: Path,
) -> None:
    copy = tmp_path / "stagedoor"
    shutil.copytree(PLUGIN, copy)
    for file in copy.rglob("*"):
        os.utime(file, (1, 1))

    one, other = build(tmp_path / "a"), build(tmp_path / "b", copy)

    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (one, other)}
    assert len(digests) == 1
    names = zipfile.ZipFile(one).namelist()
    assert names == sorted(names)
    assert {name.split("/")[0] for name in names} == {"stagedoor"}
    assert not any("tests/" in name or "/." in name for name in names)


def test_the_version_is_the_same_wherever_it_is_written() -> None:
    assert set(versions().values()) == {"1.7.0"}


def test_the_template_of_translations_is_current(site: Site, tmp_path: Path) -> None:
    """`wp i18n make-pot` finds the strings that languages/stagedoor.pot has."""
    fresh = tmp_path / "fresh.pot"
    make_pot(site, fresh)

    def strings(path: Path) -> set[str]:
        return set(re.findall(r'^msgid "(.*)"$', path.read_text(), re.MULTILINE))

    kept = PLUGIN / "languages" / "stagedoor.pot"
    assert strings(fresh) == strings(kept), "make it anew: make wp-plugin-pot"


def make_pot(site: Site, target: Path) -> None:
    """Collect the strings."""
    site.wp(
        "i18n",
        "make-pot",
        str(PLUGIN),
        str(target),
        "--domain=stagedoor",
        "--skip-theme-json",
        "--skip-block-json",
        '--headers={"Report-Msgid-Bugs-To":"","POT-Creation-Date":"","Last-Translator":"","Language-Team":""}',
    )
