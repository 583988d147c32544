"""Readers: each takes what it should, refuses the rest, and rounds nothing."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.settings.errors import ConfigError, Unfit
from gateway.settings.keys import SiteKey, digest
from gateway.settings.state_dir import prepare
from gateway.settings.values import (
    BIND,
    BOOLEAN,
    MONEY,
    NETWORK,
    SECONDS,
    SITE_KEY,
    URL,
    Bind,
    choice,
    integer,
    many,
    show_usd,
)

NANOUSD = st.integers(min_value=0, max_value=10**18)


@given(NANOUSD)
def test_money_survives_being_written_and_read(nanousd: int) -> None:
    assert nanousd == MONEY.read(show_usd(nanousd))


@given(NANOUSD)
def test_money_from_a_toml_number_is_exact(nanousd: int) -> None:
    """TOML's floats arrive as Decimal; 0.1 is a tenth, not a float near it."""
    assert nanousd == MONEY.read(Decimal(nanousd).scaleb(-9))


@pytest.mark.parametrize(
    "value",
    [-1, True, "1e3", "1,50", "", "NaN", 10**9 + 1, Decimal("NaN"), Decimal("1e-10"),
     Decimal("Infinity"), 0.1, None, []],
)  # fmt: skip
def test_money_refuses_what_is_no_exact_amount(value: object) -> None:
    """A float is refused too: nothing hands one over, so it would be our mistake."""
    with pytest.raises(Unfit):
        MONEY.read(value)


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("127.0.0.1:8080", Bind("127.0.0.1", 8080)),
        ("localhost:0", Bind("localhost", 0)),
        ("[::]:443", Bind("::", 443)),
        ("unix:/run/stagedoor.sock", Bind(path="/run/stagedoor.sock")),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, bind: Bind) -> None:
    assert bind == BIND.read(text)
    assert text == str(bind)


@pytest.mark.parametrize(
    "value",
    ["", ":80", "8080", "::1:80", "[::1]", "[x]:80", "[1.2.3.4]:80", "a:b", "a:70000",
     "a b:80", "unix:x", f"unix:/{'x' * 107}", "h:٣", "-h:1", 80],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(Unfit):
        BIND.read(value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
     ("api.localhost", True), ("0.0.0.0", False), ("localhost.evil.com", False),
     ("127.0.0.1.evil.com", False), ("10.0.0.1", False), ("", False)],
)  # fmt: skip
def test_only_this_machine_is_loopback(host: str, loopback: bool) -> None:
    assert loopback == Bind(host, 80).is_loopback


@pytest.mark.parametrize(
    "value",
    ["htp://x", "https://", "http:/x", "https://h:99999/", "https://h:0/", "h/v1", 1,
     "https://u@h/", "https://h/?a=b", "https://h/#x", "https://h/a b", "https://h/ä",
     "https://[::1"],
)  # fmt: skip
def test_a_url_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(Unfit):
        URL.read(value)


def test_a_url_loses_its_last_slash() -> None:
    """Paths are appended to it."""
    assert URL.read("https://h/v1/") == "https://h/v1"


@given(st.text())
def test_readers_of_text_refuse_and_never_crash(text: str) -> None:
    for reader in (BIND, URL, NETWORK, MONEY, SITE_KEY, SECONDS, BOOLEAN):
        try:
            reader.read(reader.parse(text))
        except Unfit:
            continue


@pytest.mark.parametrize("value", [0, -1, True, "5", Decimal("NaN"), 86_401, None])
def test_seconds_are_positive_and_at_most_a_day(value: object) -> None:
    """A signalling comparison with NaN must not escape as another error."""
    with pytest.raises(Unfit):
        SECONDS.read(value)


def test_a_flag_is_not_a_number() -> None:
    with pytest.raises(Unfit):
        integer(0, 9).read(True)
    with pytest.raises(Unfit):
        BOOLEAN.read(1)
    with pytest.raises(Unfit):
        choice("1", "2").read(1)


def test_a_list_in_a_variable_is_separated_by_commas() -> None:
    reader = many(integer(0, 9))

    assert reader.read(reader.parse("1, 2,,3")) == (1, 2, 3)


def test_a_site_key_is_known_by_its_digest_alone() -> None:
    key = SiteKey.of("sk-acme-dev")

    assert key.digest == digest("sk-acme-dev")
    assert repr(key) == "SiteKey(sk-ac…)"
    assert key != SiteKey.of("sk-acme-dex")


@pytest.mark.parametrize(
    "value", ["short", "with space in it", "x" * 513, "ключ-длинный"]
)
def test_a_key_that_no_client_could_send_or_anyone_could_guess_is_refused(
    value: str,
) -> None:
    with pytest.raises(Unfit):
        SITE_KEY.read(value)


def test_the_state_folder_is_private(tmp_path: Path) -> None:
    made = prepare(tmp_path / "a" / "state")

    assert made.stat().st_mode & 0o777 == 0o700
    assert made == prepare(made)


def test_a_state_folder_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """Silently closing it would hide that others may have read it."""
    tmp_path.chmod(0o750)

    with pytest.raises(ConfigError, match=r"open to others .mode 0750.; chmod 700 "):
        prepare(tmp_path)


def test_a_state_folder_is_no_link_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)

    for name in ("file", "link"):
        with pytest.raises(ConfigError):
            prepare(tmp_path / name)
