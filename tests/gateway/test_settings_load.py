"""Loading: precedence, and every problem at once, each with its place and its cure."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.settings import (
    Bind,
    Config,
    ConfigError,
    SiteKey,
    UnreadableError,
    checks,
    load,
)
from gateway.settings.build import Builder
from gateway.settings.config import Candidate
from gateway.settings.definition import Items, Section, Setting, Table, entries

GOOD = """
[server]
bind = "127.0.0.1:8080"
[server.deadlines]
idle_s = 45

[[sites]]
name = "acme"
keys = ["sk-acme-dev"]
spend_usd_max = "12.50"

[[providers]]
name = "main"
kind = "openai"
key_env = "OPENAI_API_KEY"
models = ["gpt-5-mini", "org/gpt"]
in_flight_max = 8

[providers.deadlines]
first_content_s = 90

[providers.prices."gpt-5-mini"]
input_usd_per_mtok = 0.25
output_usd_per_mtok = 2

[[models]]
name = "fast"
route = ["main/gpt-5-mini", "main/org/gpt"]
"""


def loaded(
    folder: Path,
    text: str = GOOD,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Config:
    file = folder / "stagedoor.toml"
    file.write_text(text)
    return load(file, env or {}, flags)


def refusal(
    folder: Path,
    text: str,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> list[str]:
    """The problems, without the path of the file's folder."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, env, flags)
    return [str(one).removeprefix(f"{folder}/") for one in caught.value.problems]


def test_a_file_becomes_values_of_their_types(tmp_path: Path) -> None:
    config = loaded(tmp_path)

    (site,), (provider,), (model,) = config.sites, config.providers, config.models
    assert config.server.bind == Bind("127.0.0.1", 8080)
    assert site.keys == (SiteKey.of("sk-acme-dev"),)
    assert site.spend_max_nanousd == 12_500_000_000
    assert provider.prices["gpt-5-mini"].input_nanousd_per_mtok == 250_000_000
    assert model.route == (
        Candidate("main", "gpt-5-mini"),
        Candidate("main", "org/gpt"),  # Only the first slash parts them.
    )


def test_derived_defaults_follow_what_they_derive_from(tmp_path: Path) -> None:
    provider = loaded(tmp_path).providers[0]

    assert provider.base_url == "https://api.openai.com/v1"
    assert provider.connections_max == 8
    assert provider.on_abort == "cancel"
    assert provider.allow_plain_http is False
    price = provider.prices["gpt-5-mini"]
    assert price.cached_input_nanousd_per_mtok == price.input_nanousd_per_mtok


def test_the_key_of_openai_goes_to_openai_alone(tmp_path: Path) -> None:
    """Others speak the same language; they get a key when one is named for them."""
    provider = loaded(
        tmp_path,
        "[[providers]]\nname = 'a'\nkind = 'openai'\nmodels = ['x']\n"
        "base_url = 'https://elsewhere.example/v1'",
    ).providers[0]

    assert provider.key_env == ""


def test_a_providers_deadlines_are_the_servers_where_it_says_nothing(
    tmp_path: Path,
) -> None:
    deadlines = loaded(tmp_path).providers[0].deadlines

    assert (deadlines.first_content_s, deadlines.idle_s) == (90.0, 45.0)


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    env = {"STAGEDOOR_SERVER__BIND": "127.0.0.1:1", "STAGEDOOR_SERVER__STATE_DIR": "/s"}
    flags = {"server.bind": "[::1]:2"}

    config = loaded(tmp_path, env=env, flags=flags)

    assert config.server.bind == Bind("::1", 2)
    assert config.server.state_dir == Path("/s")


def test_a_variable_reaches_into_a_named_table(tmp_path: Path) -> None:
    env = {
        "STAGEDOOR_PROVIDERS__MAIN__QUEUE_MAX": "3",
        "STAGEDOOR_PROVIDERS__MAIN__PRICES__GPT_5_MINI__OUTPUT_USD_PER_MTOK": "1.5",
        "STAGEDOOR_SITES__ACME__KEYS": "sk-acme-one, sk-acme-two",
    }

    config = loaded(tmp_path, env=env)

    provider = config.providers[0]
    assert provider.queue_max == 3
    assert provider.prices["gpt-5-mini"].output_nanousd_per_mtok == 1_500_000_000
    assert config.sites[0].keys == (
        SiteKey.of("sk-acme-one"),
        SiteKey.of("sk-acme-two"),
    )


def test_a_set_flag_reaches_into_a_named_table(tmp_path: Path) -> None:
    """A name with a dot is quoted, as in TOML."""
    flags = {
        "providers.main.breaker.failures_max": "9",
        'providers.main.prices."gpt-5-mini".input_usd_per_mtok': "3",
    }

    provider = loaded(tmp_path, flags=flags).providers[0]

    assert provider.breaker.failures_max == 9
    assert provider.prices["gpt-5-mini"].input_nanousd_per_mtok == 3_000_000_000


def test_variables_that_kubernetes_adds_are_left_alone(tmp_path: Path) -> None:
    """Beside a service named stagedoor, every pod has these in its environment."""
    env = {
        "STAGEDOOR_PORT": "tcp://10.0.0.1:8080",
        "STAGEDOOR_SERVICE_HOST": "10.0.0.1",
        "STAGEDOOR_PORT_8080_TCP_ADDR": "10.0.0.1",
    }

    assert loaded(tmp_path, env=env) == loaded(tmp_path)


def test_an_empty_file_is_a_gateway_with_defaults(tmp_path: Path) -> None:
    config = loaded(tmp_path, "")

    assert config.providers == ()
    assert config.server.state_dir == tmp_path / "state"


def test_relative_paths_count_from_the_file_but_from_here_on_the_command_line(
    tmp_path: Path,
) -> None:
    text = '[server]\nstate_dir = "kept"'

    assert loaded(tmp_path, text).server.state_dir == tmp_path / "kept"
    given = loaded(tmp_path, text, flags={"server.state_dir": "mine"})
    assert given.server.state_dir == Path("mine")


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    """One run of `check` a mistake would be one deployment a mistake."""
    problems = refusal(
        tmp_path,
        """
        [server]
        bind = "127.0.0.1"
        [[sites]]
        name = "acme"
        keys = ["sk-acme-dev"]
        models = ["fasst"]
        [[providers]]
        name = "main"
        kind = "openai"
        models = ["a"]
        [[providers]]
        name = "other"
        kind = "openai"
        base_url = "htp://x"
        models = ["a"]
        [[models]]
        name = "fast"
        route = ["main/a", "main/b", "other/a", "third/a"]
        """,
        {"STAGEDOOR_SERVER__BIN": "x"},
        {"server.limits.headers_max": "many"},
    )

    assert problems == [
        (
            'stagedoor.toml: server.bind: "127.0.0.1" names no port; write host:port, '
            "[v6 address]:port or unix:/path"
        ),
        (
            'command line: --limits-headers-max: "many" is not a whole number; '
            "write 8 to 1000"
        ),
        (
            'stagedoor.toml: providers[1].base_url: "htp://x" is not an http(s) URL; '
            "write https://host/path"
        ),
        (
            "environment: STAGEDOOR_SERVER__BIN: names no setting of this "
            "configuration; did you mean STAGEDOOR_SERVER__BIND?"
        ),
        (
            'stagedoor.toml: models[0].route[1]: "main/b" is a model that main does '
            "not list; its models are a"
        ),
        (
            'stagedoor.toml: models[0].route[3]: "third/a" names no provider; '
            "providers are main"
        ),
        'stagedoor.toml: sites[0].models[0]: "fasst" matches no model; models are fast',
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[server]\nbnid = 1", "server.bnid: is no setting; did you mean bind?"),
        ("idle_s = 1", "idle_s: is no setting; it belongs in [server.deadlines] or "),
        ("[serve]", "serve: is no setting; did you mean server?"),
        ("server = 1", "server: is not a table"),
        ("[sites]\nname = 'x'", "sites: is not an array of tables; write [[sites]]"),
        ("sites = [1]", "sites[0]: is not a table"),
        ("[[models]]\nroute = ['x']", "models[0].name: is missing; it takes: "),
        (
            "[[providers]]\nname = 'a/b'\nkind = 'openai'\nmodels = ['x']",
            'providers[0].name: "a/b" is not a name of letters, digits and',
        ),
        (
            "[[providers]]\nname = 'a'\nkind = 'openai'\nmodels = []",
            "providers[0].models: is empty",
        ),
        (
            "[[providers]]\nname = 'a'\nkind = 'opnai'\nmodels = ['x']",
            'providers[0].kind: "opnai" is none of openai, ',
        ),
        (
            (
                "[[providers]]\nname = 'a'\nkind = 'openai'\nmodels = ['x']\n"
                "base_url = 'http://10.1.2.3/v1'"
            ),
            (
                'providers[0].base_url: "http://10.1.2.3/v1" would send keys and '
                "prompts unencrypted; use https:// or set allow_plain_http = true"
            ),
        ),
        (
            (
                "[[providers]]\nname = 'a'\nkind = 'openai'\nmodels = ['x']\n"
                "[providers.prices.y]\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 1"
            ),
            "providers[0].prices.y: is the price of a model not in models",
        ),
        (
            (
                "[[providers]]\nname = 'a'\nkind = 'openai'\nmodels = ['x']\n"
                "[providers.prices.'x.1']\ninput_usd_per_mtok = 1"
            ),
            'providers[0].prices."x.1".output_usd_per_mtok: is missing',
        ),
        (
            (
                "[[providers]]\nname = 'a'\nkind = 'openai'\nmodels = ['x']\n"
                "[providers.breaker]\nbackoff_first_s = 90"
            ),
            "providers[0].breaker.backoff_first_s: must not exceed backoff_cap_s (15)",
        ),
        (
            (
                "[[providers]]\nname = 'a'\nkind = 'openai'\nmodels = ['x']\n"
                "[providers.deadlines]\nheaders_s = 300"
            ),
            "providers[0].deadlines.headers_s: must be less than first_content_s (120)",
        ),
        ("[server]\ntls_cert = 'x'", "server.tls_key: is missing; tls_cert needs it"),
        ("[server]\ntls_key = 'x'", "server.tls_cert: is missing; tls_key needs it"),
        (
            "[server]\nadmin_bind = '127.0.0.1:8080'",
            "server.admin_bind: is the same as bind",
        ),
        (
            f"[server]\nstate_dir = '/{'x' * 100}'",
            "server.state_dir: is too long a path: its control.sock must stay within",
        ),
        (
            "[server.deadlines]\nconnect_s = 60",
            "server.deadlines.connect_s: must be less than headers_s (60)",
        ),
        (
            "[server.deadlines]\nidle_s = 600",
            "server.deadlines.idle_s: must be less than total_s (600)",
        ),
        ("[[models]]\nname = 'x'\nroute = []", "models[0].route: is empty"),
        (
            "[[models]]\nname = 'x'\nroute = ['gpt']",
            'models[0].route[0]: "gpt" is no candidate; write PROVIDER/MODEL',
        ),
        (
            "[[sites]]\nname = 'x'\nmodels = 'all'",
            'sites[0].models: "all" is not a list; write ["…"]',
        ),
        (
            "[[sites]]\nname = 'x'\n[[sites]]\nname = 'x'",
            'sites[1].name: "x" is the name of sites[0] already',
        ),
        (
            "[[sites]]\nname = 'x'\nspend_usd_max = 0.1234567891",
            "sites[0].spend_usd_max: 0.1234567891 is finer than a nano-dollar",
        ),
    ],
)
def test_a_problem_says_where_and_what_to_write(
    tmp_path: Path, text: str, problem: str
) -> None:
    problems = refusal(tmp_path, text)

    assert any(one.startswith(f"stagedoor.toml: {problem}") for one in problems), (
        problems
    )


def test_two_sites_cannot_share_a_key(tmp_path: Path) -> None:
    problems = refusal(
        tmp_path,
        "[[sites]]\nname = 'a'\nkeys = ['sk-the-same-key']\n"
        "[[sites]]\nname = 'b'\nkeys = ['sk-other-key', 'sk-the-same-key']",
    )

    assert problems == [
        (
            "stagedoor.toml: sites[1].keys[1]: is the same key as sites[0].keys[0]; "
            "a key names one site"
        )
    ]


def test_a_bad_deadline_of_the_server_is_not_every_providers_fault(
    tmp_path: Path,
) -> None:
    problems = refusal(
        tmp_path,
        "[server.deadlines]\nconnect_s = 60\n"
        "[[providers]]\nname = 'a'\nkind = 'openai'\nmodels = ['x']",
    )

    assert len(problems) == 1


def test_a_model_that_routes_to_a_broken_provider_is_not_wrong_as_well(
    tmp_path: Path,
) -> None:
    problems = refusal(
        tmp_path,
        "[[providers]]\nname = 'a'\nkind = 'nope'\nmodels = ['x']\n"
        "[[models]]\nname = 'fast'\nroute = ['a/x']",
    )

    assert len(problems) == 1


def test_a_variable_that_could_mean_two_tables_is_refused(tmp_path: Path) -> None:
    problems = refusal(
        tmp_path,
        "[[sites]]\nname = 'a-b'\n[[sites]]\nname = 'a_b'",
        {"STAGEDOOR_SITES__A_B__IN_FLIGHT_MAX": "1"},
    )

    assert problems == [
        (
            "environment: STAGEDOOR_SITES__A_B__IN_FLIGHT_MAX: could mean "
            "sites[0].in_flight_max or sites[1].in_flight_max; set it in the file"
        )
    ]


def test_a_problem_between_settings_cites_the_variable_it_came_from(
    tmp_path: Path,
) -> None:
    problems = refusal(tmp_path, "", {"STAGEDOOR_SERVER__DEADLINES__IDLE_S": "900"})

    assert problems == [
        (
            "environment: STAGEDOOR_SERVER__DEADLINES__IDLE_S: "
            "must be less than total_s (600)"
        )
    ]


CANARY = "sk-canary-0123456789"


@pytest.mark.parametrize(
    ("text", "env", "flags"),
    [
        (f"[[sites]]\nname = 'x'\nkeys = ['{CANARY} ']", {}, {}),
        (f"[[sites]]\nname = 'x'\nkeys = '{CANARY}'", {}, {}),
        (
            f"[[sites]]\nname = 'x'\nkeys = ['{CANARY}', '{CANARY}']",
            {},
            {},
        ),
        ("[[sites]]\nname = 'x'", {"STAGEDOOR_SITES__X__KEYS": f"{CANARY} x"}, {}),
        ("[[sites]]\nname = 'x'", {}, {"sites.x.keys": CANARY}),
        (
            (
                "[[providers]]\nname = 'a'\nkind = 'openai'\nmodels = ['x']\n"
                f"key_env = '{CANARY}'"
            ),
            {},
            {},
        ),
        (
            (
                "[[providers]]\nname = 'a'\nkind = 'openai'\nmodels = ['x']\n"
                f"base_url = 'https://user:{CANARY}@host/v1'"
            ),
            {},
            {},
        ),
        (
            (
                "[[providers]]\nname = 'a'\nkind = 'openai'\nmodels = ['x']\n"
                f"base_url = 'https://host/v1?key={CANARY}'"
            ),
            {},
            {},
        ),
        (f"api_key = '{CANARY}'", {}, {}),
    ],
)
def test_no_problem_shows_what_may_be_a_key(
    tmp_path: Path, text: str, env: dict[str, str], flags: dict[str, str]
) -> None:
    """Problems end in CI logs; people put keys into the wrong place."""
    problems = refusal(tmp_path, text, env, flags)

    assert problems
    assert CANARY[:8] not in "".join(problems)


def test_a_configuration_can_be_printed(tmp_path: Path) -> None:
    """Its repr holds no more than a key's first characters."""
    text = f"[[sites]]\nname = 'x'\nkeys = ['{CANARY}']"

    shown = repr(loaded(tmp_path, text))

    assert "SiteKey(sk-can…)" in shown
    assert CANARY[:8] not in shown


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"[server\n", "is not TOML: "),
        (b"\xff", "is not UTF-8 (at byte 0)"),
        (b"#" * (4 * 2**20 + 1), "is larger than 4194304 bytes"),
        (None, "is not there; `stagedoor settings --format toml` prints"),
    ],
)
def test_a_file_that_cannot_be_read_is_another_kind_of_error(
    tmp_path: Path, data: bytes | None, what: str
) -> None:
    file = tmp_path / "stagedoor.toml"
    if data is not None:
        file.write_bytes(data)

    with pytest.raises(UnreadableError) as caught:
        load(file, {})

    assert str(caught.value).startswith(f"{file}: {what}")


def test_tls_files_must_be_there(tmp_path: Path) -> None:
    problems = refusal(tmp_path, "[server]\ntls_cert = 'c.pem'\ntls_key = 'k.pem'")

    assert problems == [
        f"stagedoor.toml: server.tls_cert: {tmp_path}/c.pem is no file",
        f"stagedoor.toml: server.tls_key: {tmp_path}/k.pem is no file",
    ]


WORDS = st.sampled_from(
    ["openai", "main", "fast", "main/a", "a", "127.0.0.1:1", "https://h", "x" * 12, ""]
)
JUNK = (
    st.booleans()
    | st.integers()
    | st.decimals(allow_nan=True)
    | st.text(max_size=8)
    | WORDS
    | st.datetimes()
)
VALUES = WORDS | st.integers(1, 99) | st.lists(WORDS, max_size=3) | JUNK


def tables(cls: type[object]) -> st.SearchStrategy[dict[str, object]]:
    """Tables shaped like the definitions, filled with what may or may not fit."""
    shapes: dict[str, st.SearchStrategy[object]] = {}
    for entry in entries(cls):
        match entry.what:
            case Setting():
                shapes[entry.key] = VALUES
            case Section(of):
                shapes[entry.key] = tables(of) | JUNK
            case Items(of):
                shapes[entry.key] = st.lists(tables(of) | JUNK, max_size=3) | JUNK
            case Table(of):
                shapes[entry.key] = st.dictionaries(WORDS, tables(of) | JUNK) | JUNK
    known = st.fixed_dictionaries({}, optional=shapes)
    unknown = st.dictionaries(st.text(max_size=5), JUNK, max_size=1)
    return st.builds(lambda one, other: {**other, **one}, known, unknown)


@given(tables(Config))
def test_any_toml_is_either_served_or_refused(raw: dict[str, object]) -> None:
    """Whatever somebody writes, `check` answers with problems, not with a traceback."""
    builder = Builder(Config, "stagedoor.toml", Path(), [])

    made = builder.build(raw)
    for where, what in checks.problems(made, builder.where, builder.declared):
        builder.report(where, what)

    assert all(problem.where and problem.what for problem in builder.problems)


TWO_MODELS = (
    GOOD
    + """
[[models]]
name = "slow"
route = ["main/org/gpt"]
"""
)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ('canary = ["60% main/org/gpt", "41% main/gpt-5-mini"]', "is 101% of"),
        ('mirror = ["60% main/org/gpt", "60% main/gpt-5-mini"]', "is 120% of"),
        ('canary = ["5% main/gone"]', "names no model of a configured provider"),
        ('fallbacks = ["slow"]', "is the model itself"),
        ('fallbacks = ["gone"]', '"gone" is no model'),
        ('aliases = ["fast"]', "is the name of a model"),
        ('aliases = ["quick", "quick"]', "is an alias of slow too"),
    ],
)
def test_a_route_that_leads_nowhere_or_round_is_refused(
    tmp_path: Path, lines: str, told: str
) -> None:
    """An alias is a name of one model, never of another alias: there are no cycles."""
    assert any(told in one for one in refusal(tmp_path, TWO_MODELS + lines))


def test_models_may_be_each_others_fallback(tmp_path: Path) -> None:
    text = (
        TWO_MODELS.replace('name = "fast"', 'name = "fast"\nfallbacks = ["slow"]')
        + 'fallbacks = ["fast"]'
    )
    assert [m.fallbacks for m in loaded(tmp_path, text).models] == [
        ("slow",),
        ("fast",),
    ]
