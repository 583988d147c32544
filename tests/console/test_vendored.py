from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path

STATIC = Path(__file__).parents[2] / "gateway" / "console" / "static"
OWN = {
    "console.js",
    "overview.js",
    "playground.js",
    "console.css",
    "theme.js",
    "passkey.js",
    "vault.js",
}


def test_what_is_vendored_is_what_it_is_said_to_be() -> None:
    told = tomllib.loads((STATIC / "VENDORED.toml").read_text())["file"]

    for one in told:
        body = (STATIC / one["name"]).read_bytes()
        assert hashlib.sha256(body).hexdigest() == one["sha256"], one["name"]
        library = one["name"].partition("-")[0]
        assert (STATIC / f"{library}.LICENSE").read_text()


def test_every_script_and_style_is_ours_or_is_named_as_vendored() -> None:
    told = {
        one["name"]
        for one in tomllib.loads((STATIC / "VENDORED.toml").read_text())["file"]
    }
    scripts = {p.name for p in STATIC.iterdir() if p.suffix in {".js", ".css"}}

    assert scripts - told - OWN == set()


def test_no_page_and_no_style_names_another_host() -> None:
    for path in [*STATIC.glob("*.css"), *STATIC.parent.glob("templates/*.html")]:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        # An example in an empty field is no address that a browser goes to.
        text = re.sub(r'placeholder="https://[^"]*"', "", text)
        assert "http://" not in text, path
        assert "https://" not in text, path
        assert "style=" not in text, path
        assert " onclick=" not in text, path
