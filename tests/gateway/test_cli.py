"""The command: what it prints, what it returns, and that it starts quickly."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gateway import cli
from gateway.cli import main
from gateway.cli.demo import greeting
from gateway.cli.models import listing
from gateway.cli.serve import serve
from gateway.cli.tree import line, render
from gateway.settings import Bind, Config, ConfigError, Problem, SiteKey, Source
from gateway.settings.checks import problems
from gateway.settings.demo import ACCOUNTS, demo_config

GOOD = """
[[sites]]
name = "acme"
keys = ["sk-acme-dev"]
spend_usd_max = 12.5
[[providers]]
name = "main"
kind = "openai"
models = ["gpt-5-mini"]
[providers.prices."gpt-5-mini"]
input_usd_per_mtok = 0.25
output_usd_per_mtok = 2
[[models]]
name = "fast"
route = ["main/gpt-5-mini"]
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable and no file of whoever runs the tests has a say."""
    for variable in os.environ:
        if variable.startswith("STAGEDOOR_") or variable.endswith("_API_KEY"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    file = tmp_path / "stagedoor.toml"
    file.write_text(GOOD)
    file.chmod(0o600)
    return file


Output = pytest.CaptureFixture[str]


def test_check_says_what_would_be_served(good: Path, capsys: Output) -> None:
    assert main(["check", str(good)]) == cli.OK
    assert capsys.readouterr().out == (
        f"{good}: no problems\n"
        "listen     127.0.0.1:8080 (http)\n"
        f"state      {good.parent}/state\n"
        "sites      acme  1 key; models *; at most $12.5 a month\n"
        "providers  main  openai; https://api.openai.com/v1; models gpt-5-mini "
        "($0.25 in, $2 out a million tokens); at most 64 at once\n"
        "models     fast  main/gpt-5-mini\n"
        "note: provider main: OPENAI_API_KEY is not set here; its calls will be "
        "refused\n"
    )


def test_check_says_what_is_likely_not_meant(good: Path, capsys: Output) -> None:
    good.chmod(0o644)
    with good.open("a") as file:
        file.write("[[sites]]\nname = 'mute'\n[[providers]]\nname = 'spare'\n")
        file.write("kind = 'simulated'\nmodels = ['x']\n")

    assert main(["check", str(good), "--bind", "0.0.0.0:80"]) == cli.OK

    notes = [
        text
        for text in capsys.readouterr().out.splitlines()
        if text.startswith("note: ")
    ]
    assert [note.split(":")[1].strip()[:14] for note in notes] == [
        "0.0.0.0",
        "provider main",
        "provider spare",
        "site mute",
        str(good)[:14],
    ]


def test_check_reports_every_problem_and_refuses(good: Path, capsys: Output) -> None:
    code = main(["check", str(good), "--bind", "x", "--set", "sites.acme.model=x"])

    assert code == cli.REFUSED
    assert capsys.readouterr().err.splitlines() == [
        (
            'stagedoor: command line: --bind: "x" names no port; write host:port, '
            "[v6 address]:port or unix:/path"
        ),
        (
            "stagedoor: command line: --set sites.acme.model: names no setting of "
            "this configuration; did you mean --set sites.acme.models?"
        ),
    ]


def test_check_of_a_file_that_is_not_there_is_wrong_usage(capsys: Output) -> None:
    """And the way on is said: whoever has none yet has just arrived."""
    assert main(["check", "nope.toml"]) == cli.USAGE
    told = capsys.readouterr().err
    assert "nope.toml: is not there" in told
    assert "stagedoor settings --format toml" in told


@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_set_without_a_value_is_wrong_usage(
    command: str, good: Path, capsys: Output
) -> None:
    """And not echoed, for it may be a key."""
    file = [str(good)] if command == "check" else ["--config", str(good)]

    assert main([command, *file, "--set", "sk-canary"]) == cli.USAGE
    assert "sk-canary" not in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["nope"], ["check"], ["serve", "--nope"]])
def test_wrong_usage_says_so(words: list[str], capsys: Output) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)

    assert caught.value.code == cli.USAGE
    assert "usage: stagedoor" in capsys.readouterr().err


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help_with_exit_codes(command: str, capsys: Output) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])

    assert caught.value.code == cli.OK
    assert "exit codes:" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["text", "markdown", "toml", "json"])
def test_settings_prints_the_reference(form: str, capsys: Output) -> None:
    assert main(["settings", "--format", form]) == cli.OK
    assert "first_content_s" in capsys.readouterr().out


def test_the_version_can_be_asked_for_either_way(capsys: Output) -> None:
    assert main(["--version"]) == main(["version"]) == cli.OK

    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert first.startswith("stagedoor 0.")


def test_help_imports_nothing_heavy() -> None:
    """What `stagedoor --help` does not import, it does not wait for."""
    code = (
        "import sys; from gateway.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'trio', 'httpx', 'hypercorn', 'attrs', 'msgspec', 'structlog',\n"
        "  'prometheus_client', 'cryptography', 'gateway.settings'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    assert done.stderr == "[]\n"


def test_check_does_not_import_the_gateway() -> None:
    """It runs in CI and in editors."""
    code = (
        "import sys; from gateway.cli import main\n"
        "main(['check', 'nope.toml'])\n"
        "print(sorted({'trio', 'httpx', 'hypercorn'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    assert done.stdout == "[]\n"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = f"{sys.executable} -m gateway.cli settings | head -1"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    assert done.stderr == ""


# --- serve and demo: the gateway itself is somebody else's.


class FakeGateway:
    """Stands for gateway.serve: says that it is ready, then ends as it is told."""

    def __init__(self) -> None:
        self.config: Config | None = None
        self.source: Source | None = None
        self.error: BaseException | None = None

    def run(
        self,
        config: Config,
        *,
        source: Source | None = None,
        on_ready: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        self.config, self.source = config, source
        if self.error is not None:
            raise self.error
        assert on_ready is not None
        on_ready(["http://127.0.0.1:4321"])


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    made = FakeGateway()
    module = ModuleType("gateway.serve")
    module.run = made.run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gateway.serve", module)
    return made


@pytest.mark.usefixtures("good")
def test_serve_takes_the_file_of_this_folder(fake: FakeGateway, capsys: Output) -> None:
    assert main(["serve", "--bind", "127.0.0.1:0"]) == cli.OK

    assert fake.config is not None
    assert fake.config.server.bind == Bind("127.0.0.1", 0)
    assert fake.source is not None
    assert fake.source.load() == fake.config
    assert capsys.readouterr().out == "stagedoor serves on http://127.0.0.1:4321\n"


def test_serve_takes_the_file_that_a_variable_names(
    fake: FakeGateway, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = good.rename(good.with_name("other.toml"))
    monkeypatch.setenv("STAGEDOOR_CONFIG", str(moved))

    assert main(["serve"]) == cli.OK
    assert fake.source is not None
    assert fake.source.path == moved


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(98, "Address already in use"), cli.UNREACHABLE),
        (
            ConfigError((Problem("", "server.state_dir", "/s is no folder"),)),
            cli.REFUSED,
        ),
        (KeyboardInterrupt(), cli.INTERRUPTED),
    ],
)
@pytest.mark.usefixtures("good")
def test_serve_says_why_it_could_not(
    fake: FakeGateway, error: BaseException, code: int
) -> None:
    fake.error = error

    assert main(["serve"]) == code


def test_serve_refuses_a_wrong_file(fake: FakeGateway, good: Path) -> None:
    good.write_text("[server]\nbind = 1")

    assert main(["serve"]) == cli.REFUSED
    assert fake.config is None


@pytest.mark.usefixtures("fake")
def test_demo_prints_an_address_a_key_and_a_curl_line(capsys: Output) -> None:
    assert main(["demo"]) == cli.OK

    text = capsys.readouterr().out
    assert "Stagedoor is at http://127.0.0.1:4321/v1" in text
    assert "-H 'Authorization: Bearer sk-demo-" in text
    assert '"demo" is simulated' in text


@pytest.mark.parametrize(
    ("typed", "on_path", "named"),
    [
        (".venv/bin/stagedoor", None, "`.venv/bin/stagedoor tree "),
        (".venv/bin/stagedoor", "/usr/bin/stagedoor", "`stagedoor tree "),
        ("/opt/python/pytest", None, "`stagedoor tree "),
    ],
)
def test_demo_names_its_own_command_as_it_can_be_typed(
    typed: str, on_path: str | None, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make run` installs into a folder that is on nobody's PATH."""
    monkeypatch.setattr("sys.argv", [typed, "demo"])
    monkeypatch.setattr("shutil.which", lambda _: on_path)
    config = demo_config({}, key="sk-demo-key-1")

    assert named in greeting(config, {}, "sk-demo-key-1", ["http://h"])


def test_demo_listens_where_it_is_told(fake: FakeGateway, capsys: Output) -> None:
    assert main(["demo", "--bind", "[::1]:0"]) == cli.OK
    assert fake.config is not None
    assert fake.config.server.bind == Bind("::1", 0)

    assert main(["demo", "--bind", "nowhere"]) == cli.USAGE
    assert "--bind names no port" in capsys.readouterr().err


def test_demo_makes_a_new_key_each_time(fake: FakeGateway) -> None:
    """Behind it may be an account that costs money."""
    keys: list[SiteKey] = []
    for _ in range(2):
        main(["demo"])
        assert fake.config is not None
        keys += fake.config.sites[0].keys

    assert keys[0] != keys[1]


def test_demo_takes_a_free_port_when_its_own_is_taken(
    fake: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        monkeypatch.setattr(
            "gateway.cli.demo.PREFERRED", Bind("127.0.0.1", port), raising=True
        )
        main(["demo"])

    assert fake.config is not None
    assert fake.config.server.bind == Bind("127.0.0.1", 0)


@pytest.mark.parametrize("account", ACCOUNTS, ids=lambda account: account.name)
def test_the_demo_routes_to_an_account_whose_key_is_there(account: Any) -> None:
    env = {account.key_env: "sk-provider-canary"}

    config = demo_config(env, key="sk-demo-key-1")

    (route,) = [model.route for model in config.models if model.name == "demo"]
    assert [str(candidate) for candidate in route] == [
        f"{account.name}/{account.model}"
    ]
    assert list(problems(config, repr, {})) == []
    assert "sk-provider-canary" not in repr(config)
    text = greeting(config, env, "sk-demo-key-1", ["http://h"])
    assert account.key_env in text
    assert "sk-provider-canary" not in text


def test_the_demo_falls_back_from_one_account_to_the_next() -> None:
    env = {account.key_env: "x" for account in ACCOUNTS}

    config = demo_config(env, key="sk-demo-key-1")

    (route,) = [model.route for model in config.models if model.name == "demo"]
    assert [one.provider for one in route] == [account.name for account in ACCOUNTS]


def test_the_demo_without_keys_is_simulated() -> None:
    config = demo_config({"OPENAI_API_KEY": ""}, key="sk-demo-key-1")

    assert [provider.kind for provider in config.providers] == ["simulated"]
    assert {model.name for model in config.models} == {"demo", "simulated"}
    assert list(problems(config, repr, {})) == []


# --- tree and models: a control socket that answers what it is told.


class FakeControl:
    """Answers every request on a Unix socket with one prepared answer."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.asked: list[str] = []
        self.answer = b""
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(folder / "control.sock"))
        self._server.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def answers(self, body: object, status: str = "200 OK") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\n\r\n"
        self.answer = head.encode() + data

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                self.asked.append(connection.recv(4096).decode().split("\r\n")[0])
                connection.sendall(self.answer)


@pytest.fixture
def control(tmp_path: Path) -> Iterator[FakeControl]:
    made = FakeControl(tmp_path / "state")
    yield made
    made.close()


TREE = {
    "id": "system",
    "state": "running",
    "incarnation": 1,
    "children": [
        {
            "id": "providers",
            "state": "running",
            "incarnation": 1,
            "children": [
                {
                    "id": "provider/main",
                    "kind": "permanent",
                    "state": "open",
                    "incarnation": 7,
                    "retry_in_s": 4.21,
                    "depth": 0,
                    "capacity": 64,
                    "peak": 12,
                    "shed": 3,
                    "handling": None,
                    "age_s": None,
                    "restarts": 6,
                    "in_flight": "0/64",
                    "failures": 0,
                    "last_crash": "Tripped",
                    "children": [],
                },
            ],
        },
        {
            "id": "vault",
            "state": "running",
            "incarnation": 1,
            "depth": 2,
            "capacity": 8,
            "handling": "Acquire",
            "age_s": 0.25,
            "leases": 4,
            "children": [],
        },
    ],
}


def test_a_tree_is_drawn_with_what_stands_out() -> None:
    assert list(render(TREE)) == [
        "system  running",
        "├── providers  running",
        (
            "│   └── provider/main  open epoch=7 retry_in=4.2s peak=12 shed=3 "
            "restarts=6 in_flight=0/64 last_crash=Tripped"
        ),
        "└── vault  running mailbox=2/8 leases=4 handling=Acquire for 0.2s",
    ]


def test_a_crowd_is_cut_short_unless_it_is_asked_for() -> None:
    crowd = {"id": "streams", "children": [{"id": f"s{n}"} for n in range(25)]}

    assert list(render(crowd, shown=20))[-1] == "└── … 5 more (--all shows them)"
    assert len(list(render(crowd, shown=None))) == 26


def test_a_name_cannot_move_the_cursor() -> None:
    assert "\x1b" not in line({"id": "a\x1b[2Jb", "state": "\x1b[0m", "x": "\r"})


def test_a_state_has_a_colour_on_a_terminal() -> None:
    assert line({"id": "a", "state": "open"}, coloured=True) == "a  \x1b[31mopen\x1b[0m"


def test_tree_asks_the_gateway_of_a_folder(
    control: FakeControl, capsys: Output
) -> None:
    control.answers(TREE)

    assert main(["tree", "--state-dir", str(control.folder)]) == cli.OK

    assert control.asked == ["GET /tree HTTP/1.1"]
    assert capsys.readouterr().out.startswith("system  running\n├── ")


def test_tree_can_be_watched(
    control: FakeControl, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until somebody has seen enough."""
    control.answers(TREE)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", pause)

    code = main(["tree", "--state-dir", str(control.folder), "--watch", "0"])

    assert code == cli.INTERRUPTED
    assert len(control.asked) == 2
    assert min(pauses) > 0
    assert capsys.readouterr().out.count("system  running\n") == 2


@pytest.mark.usefixtures("good")
def test_tree_finds_the_gateway_of_this_folders_file(
    control: FakeControl, capsys: Output
) -> None:
    """Its state_dir is where the control socket is."""
    control.answers(TREE)

    assert main(["tree", "--json"]) == cli.OK
    assert json.loads(capsys.readouterr().out) == TREE


def test_models_are_listed_with_their_candidates(
    control: FakeControl, capsys: Output
) -> None:
    control.answers(
        {
            "models": [
                {
                    "name": "fast",
                    "route": [
                        {"provider": "main", "model": "gpt-5-mini", "state": "open"},
                        "spare/gpt",
                    ],
                },
                {"name": "longer-name", "route": []},
            ]
        }
    )

    assert main(["models", "--state-dir", str(control.folder)]) == cli.OK
    assert capsys.readouterr().out == (
        "fast         main/gpt-5-mini (open), spare/gpt\nlonger-name\n"
    )
    assert list(listing([])) == []


@pytest.mark.parametrize("command", ["tree", "models"])
def test_no_gateway_is_said_so(command: str, capsys: Output) -> None:
    assert main([command, "--state-dir", "nowhere"]) == cli.UNREACHABLE
    assert capsys.readouterr().err == (
        "stagedoor: no gateway runs with nowhere/control.sock; start one, or name its "
        "folder with --state-dir or its file with --config\n"
    )


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        (b"{}", "503 Service Unavailable", "answered 503 to /tree"),
        (b"{", "200 OK", "is no JSON"),
    ],
)
def test_a_gateway_that_answers_nonsense_is_said_so(
    control: FakeControl, capsys: Output, answer: bytes, status: str, message: str
) -> None:
    control.answers(answer, status)

    assert main(["tree", "--state-dir", str(control.folder)]) == cli.UNREACHABLE
    assert message in capsys.readouterr().err


def test_a_gateway_that_hangs_up_is_said_so(
    control: FakeControl, capsys: Output
) -> None:
    assert main(["tree", "--state-dir", str(control.folder)]) == cli.UNREACHABLE
    assert "control.sock: " in capsys.readouterr().err


@pytest.mark.usefixtures("fake")
def test_tree_of_a_wrong_file_says_what_is_wrong(good: Path, capsys: Output) -> None:
    good.write_text("[server]\nbind = 1")

    assert main(["tree", "--config", str(good)]) == cli.REFUSED
    assert "server.bind" in capsys.readouterr().err


def test_a_file_that_cannot_be_used_is_not_called_an_address(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """Operators look at ports for an hour when the disk is what is wrong."""

    def run(*_args: object, **_more: object) -> None:
        raise NotADirectoryError(20, "Not a directory", "/state/records")

    monkeypatch.setattr("gateway.serve.run", run)

    assert serve(Config(), source=None, on_ready=lambda _: None) == cli.USAGE
    assert "cannot use /state/records: Not a directory" in capsys.readouterr().err
