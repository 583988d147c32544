"""A real WordPress site on a real web server, in front of a real gateway.

`KIT` is what setup.sh brought; `site()` makes a fresh site of it and serves it;
`gateway()` serves a gateway in front of the scripted provider. All listen on loopback
ports of the system's choice, and end with their block.

`python -m tests.wordpress.lab nginx` serves one of each until it is stopped, for trying
things out by hand.
"""

from __future__ import annotations

import getpass
import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import attrs

from tests.wordpress.upstream import MODELS, Upstream, upstream
from tools.wp_plugin import build

ROOT: Final = Path(__file__).resolve().parents[2]
PLUGIN: Final = ROOT / "wp-plugin" / "stagedoor"
TEMPLATES: Final = Path(__file__).parent / "servers"
KIT: Final = Path(
    os.environ.get("STAGEDOOR_WORDPRESS_DIR")
    or Path.home() / ".cache" / "stagedoor-wordpress"
)
WAIT_S: Final = 20.0
SITE_KEY: Final = "sk-wordpress-made-up-0001"
UPSTREAM_KEY: Final = "sk-upstream-made-up"
ADMIN: Final = ("admin", "password")

Server = Literal["nginx", "apache"]


def missing() -> list[str]:
    """What setup.sh could not install."""
    commands = [
        "php",
        "nginx",
        "apache2",
        "chromium",
        "phpunit",
        "phpcs",
        "node",
        "mariadbd",
    ]
    lacks = [
        name for name in commands if shutil.which(name) is None and not _sbin(name)
    ]
    if _fpm() is None:
        lacks.append("php-fpm")
    folders = ("7.1", "6.5", "studio", "node/node_modules/@php-wasm/cli")
    return lacks + [f"{KIT / name}" for name in folders if not (KIT / name).exists()]


def _sbin(name: str) -> str | None:
    path = Path("/usr/sbin") / name
    return str(path) if path.exists() else None


def _fpm() -> str | None:
    found = sorted(Path("/usr/sbin").glob("php-fpm*"))
    return str(found[-1]) if found else None


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def until(what: str, check: Any, wait_s: float = WAIT_S) -> None:
    """Wait until something is so."""
    end = time.monotonic() + wait_s
    while not check():
        assert time.monotonic() < end, f"not within {wait_s} s: {what}"
        time.sleep(0.05)


def answers(url: str) -> bool:
    """Whether something serves there."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=5)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def running(
    command: list[str], log: Path, env: Mapping[str, str] | None = None
) -> Generator[subprocess.Popen[bytes], None, None]:
    """A process of ours, ended with its block and never by name."""
    with log.open("ab") as sink:
        process = subprocess.Popen(
            command,
            stdout=sink,
            stderr=sink,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


# -- the gateway ---------------------------------------------------------------------


@attrs.define
class Gateway:
    """A running gateway, and the provider behind it."""

    port: int
    folder: Path
    upstream: Upstream
    log: Path

    @property
    def url(self) -> str:
        """As the plugin is told it."""
        return f"http://127.0.0.1:{self.port}"

    def write(self, origins: list[str], extra_site: str = "") -> None:
        """Write its configuration; a running one takes it over by itself."""
        self.config.write_text(
            CONFIG.format(
                port=self.port,
                state=self.folder / "state",
                key=SITE_KEY,
                upstream=self.upstream.port,
                models=json.dumps(MODELS),
                origins=json.dumps(origins),
                extra_site=extra_site,
            )
            + "".join(MODEL.format(name=name) for name in MODELS)
        )

    @property
    def config(self) -> Path:
        """Its file."""
        return self.folder / "stagedoor.toml"


CONFIG: Final = """
[server]
bind = "127.0.0.1:{port}"
state_dir = "{state}"
[server.deadlines]
drain_s = 1.0
[[sites]]
name = "wordpress"
keys = ["{key}"]
allowed_origins = {origins}
{extra_site}
[[providers]]
name = "scripted"
kind = "openai"
base_url = "http://127.0.0.1:{upstream}/v1"
key_env = "WORDPRESS_UPSTREAM_KEY"
models = {models}
[providers.breaker]
failures_max = 1000  # The scripts' failures are the test's, not the provider's.
"""

MODEL: Final = """
[providers.prices.{name}]
input_usd_per_mtok = 1
output_usd_per_mtok = 10
[[models]]
name = "{name}"
route = ["scripted/{name}"]
"""


@contextmanager
def gateway(
    folder: Path, origins: list[str], extra_site: str = ""
) -> Generator[Gateway, None, None]:
    """Serve one."""
    folder.mkdir(parents=True, exist_ok=True)
    with upstream() as provider:
        there = Gateway(free_port(), folder, provider, folder / "gateway.log")
        there.write(origins, extra_site)
        command = [sys.executable, "-m", "gateway.cli", "serve", "--config"]
        env = {
            "WORDPRESS_UPSTREAM_KEY": UPSTREAM_KEY,
            "PYTHONPATH": str(ROOT),
        }
        with running([*command, str(there.config)], there.log, env) as process:
            until(
                "the gateway serves",
                lambda: process.poll() is not None or answers(f"{there.url}/healthz"),
            )
            assert process.poll() is None, there.log.read_text()
            yield there


# -- the site ------------------------------------------------------------------------


@attrs.define
class Site:
    """A running site."""

    folder: Path
    port: int
    version: str
    server: Server

    @property
    def url(self) -> str:
        """Its address, and its origin."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def path(self) -> Path:
        """Its files."""
        return self.folder / "site"

    @property
    def log(self) -> Path:
        """What PHP complained about."""
        return self.folder / "debug.log"

    @property
    def database(self) -> Path:
        """Its SQLite file."""
        return self.path / "wp-content" / "database" / ".ht.sqlite"

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the database itself."""
        with closing(sqlite3.connect(self.database, timeout=10)) as database:
            rows = database.execute(statement, values).fetchall()
            database.commit()
            return rows

    def keep(self) -> None:
        """Remember the database as it is now."""
        self._copy(self.database, self.folder / "kept.sqlite")

    def restore(self) -> None:
        """Make it again as `keep` found it."""
        self._copy(self.folder / "kept.sqlite", self.database)
        self.log.unlink(missing_ok=True)

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        with (
            closing(sqlite3.connect(source, timeout=10)) as one,
            closing(sqlite3.connect(target, timeout=10)) as other,
        ):
            one.backup(other)

    def complaints(self) -> list[str]:
        """The lines of it that are the plugin's."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if "stagedoor" in line.lower()]

    def wp(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """wp-cli's answer."""
        done = subprocess.run(
            [*WP, f"--path={self.path}", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            input=stdin,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip() if check else done.stdout + done.stderr

    def php(self, code: str) -> str:
        """What PHP prints, with WordPress loaded."""
        return self.wp("eval", code)

    def settings(self, **values: Any) -> None:
        """Change the plugin's settings."""
        given = json.dumps(values).replace("\\", "\\\\").replace("'", "\\'")
        self.php(
            "update_option( 'stagedoor_settings', array_merge("
            "(array) get_option( 'stagedoor_settings', array() ),"
            f"json_decode( '{given}', true ) ), false );"
        )

    def page(self, title: str, content: str) -> str:
        """Publish a page; its address."""
        page_id = self.wp(
            "post",
            "create",
            "--post_type=page",
            "--post_status=publish",
            f"--post_title={title}",
            f"--post_content={content}",
            "--porcelain",
        )
        return self.wp(
            "post", "list", f"--post__in={page_id}", "--post_type=page", "--field=url"
        )


WP: Final = [
    "php",
    "-d",
    "memory_limit=512M",
    "-d",
    "error_reporting=E_ALL & ~E_DEPRECATED",
    str(KIT / "studio/wp-cli/wp-cli.phar"),
    "--allow-root",
]


@contextmanager
def mariadb(folder: Path) -> Generator[Path, None, None]:
    """A database server of our own; its socket."""
    data, sock = folder / "mariadb", folder / "mariadb.sock"
    user = [f"--user={getpass.getuser()}"]
    subprocess.run(
        [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *user,
        ],
        check=True,
        capture_output=True,
    )
    command = [
        "/usr/sbin/mariadbd",
        "--no-defaults",
        f"--datadir={data}",
        f"--socket={sock}",
        "--skip-networking",
        *user,
    ]
    with running(command, folder / "mariadb.log"):
        until("MariaDB listens", sock.exists)
        yield sock


def lay_out(folder: Path, version: str, port: int, sock: Path | None = None) -> Site:
    """Files and a fresh database, installed; not served yet. SQLite, without a socket."""
    site = Site(folder, port, version, "nginx")
    # Links cost nothing; what the tests change is written anew, never in place.
    source = str(KIT / version)
    if subprocess.run(["cp", "-al", source, str(site.path)], check=False).returncode:
        shutil.rmtree(site.path, ignore_errors=True)
        shutil.copytree(source, site.path)  # Another file system.
    for sub in ("plugins", "mu-plugins", "database", "db.php"):
        target = site.path / "wp-content" / sub
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
    dropin = site.path / "wp-content/plugins/sqlite-database-integration"
    shutil.copytree(KIT / "studio/sqlite-database-integration", dropin)
    db = (dropin / "db.copy").read_text()
    db = db.replace("{SQLITE_IMPLEMENTATION_FOLDER_PATH}", str(dropin))
    db = db.replace("{SQLITE_PLUGIN}", "sqlite-database-integration/load.php")
    if sock is None:
        (site.path / "wp-content/db.php").write_text(db)
    extra = f"""
define( 'WP_HOME', '{site.url}' ); define( 'WP_SITEURL', '{site.url}' );
define( 'WP_DEBUG', true ); define( 'WP_DEBUG_LOG', '{site.log}' );
define( 'WP_DEBUG_DISPLAY', false ); define( 'SCRIPT_DEBUG', false );
define( 'WP_HTTP_BLOCK_EXTERNAL', true );
define( 'WP_ACCESSIBLE_HOSTS', '127.0.0.1,localhost' );
define( 'AUTOMATIC_UPDATER_DISABLED', true ); define( 'DISABLE_WP_CRON', true );
define( 'FS_METHOD', 'direct' );
"""
    site.wp(
        "config",
        "create",
        "--dbname=wp",
        "--dbuser=root",
        "--dbpass=",
        f"--dbhost=localhost:{sock}",
        "--skip-check",
        "--extra-php",
        stdin=extra,
    )
    if sock is not None:
        subprocess.run(
            [
                "mariadb",
                f"--socket={sock}",
                "--user=root",
                "-e",
                "CREATE DATABASE IF NOT EXISTS wp",
            ],
            check=True,
        )
    site.wp(
        "core",
        "install",
        f"--url={site.url}",
        "--title=The Lab",
        f"--admin_user={ADMIN[0]}",
        f"--admin_password={ADMIN[1]}",
        "--admin_email=admin@example.com",
        "--skip-email",
    )
    site.wp("rewrite", "structure", "/%postname%/")
    # No screen between the login and the dashboard that asks whether it is still valid.
    site.wp("option", "update", "admin_email_lifespan", str(2**31 - 1))
    return site


def fill(template: str, target: Path, values: Mapping[str, object]) -> Path:
    """A server's configuration of its template."""
    text = (TEMPLATES / template).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    target.write_text(text)
    return target


@contextmanager
def site(
    version: str = "7.1",
    server: Server = "nginx",
    *,
    workers: int = 5,
    install_plugin: bool = True,
    nginx_extra: str = "",
) -> Generator[Site, None, None]:
    """Lay one out and serve it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wplab-")))
        folder.chmod(0o755)
        there = lay_out(folder, version, free_port())
        there.server = server
        if install_plugin:
            there.wp("plugin", "install", str(build(folder)), "--activate")
        stack.enter_context(served(there, workers, nginx_extra))
        yield there


@contextmanager
def served(
    there: Site, workers: int = 5, nginx_extra: str = ""
) -> Generator[None, None, None]:
    """PHP-FPM, and a web server in front of it."""
    folder = there.folder
    run = folder / there.server
    run.mkdir(exist_ok=True)
    run.chmod(0o755)
    (run / "tmp").mkdir(exist_ok=True)
    (run / "tmp").chmod(0o777)
    is_root = os.geteuid() == 0
    values = {
        "RUN": run,
        "SITE": there.path,
        "PORT": there.port,
        "WORKERS": workers,
        # PHP and wp-cli are the same user, or one could not write the other's database.
        "USER": "user = root\ngroup = root" if is_root else "",
        "NGINX_USER": "user root;" if is_root else "",
        "APACHE_USER": "User www-data\nGroup www-data" if is_root else "",
        "NGINX_EXTRA": nginx_extra,
    }
    fpm = fill("fpm.conf", run / "fpm.conf", values)
    command = _fpm()
    assert command is not None
    with ExitStack() as stack:
        start = [command, "-F", "-y", str(fpm), *(["-R"] if is_root else [])]
        stack.enter_context(running(start, run / "fpm.out"))
        until("PHP-FPM listens", (run / "fpm.sock").exists)
        if there.server == "nginx":
            conf = fill("nginx.conf", run / "nginx.conf", values)
            start = [shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(conf)]
        else:
            conf = fill("apache.conf", run / "apache.conf", values)
            start = [
                shutil.which("apache2") or "/usr/sbin/apache2",
                "-f",
                str(conf),
                "-DFOREGROUND",
            ]
        stack.enter_context(running(start, run / "server.out"))
        until(f"{there.server} serves", lambda: answers(f"{there.url}/wp-login.php"))
        yield


def connect(there: Site, to: Gateway, **settings: Any) -> None:
    """Tell the plugin where the gateway is, as `wp option` can."""
    there.wp("option", "update", "connectors_ai_stagedoor_api_key", SITE_KEY)
    there.settings(base_url=to.url, model="model-a", **settings)


def main() -> None:
    """Serve one of each, until stopped; what it started ends with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server: Server = "apache" if "apache" in sys.argv else "nginx"
    version = "6.5" if "6.5" in sys.argv else "7.1"
    with (
        tempfile.TemporaryDirectory() as folder,
        site(version, server) as there,
        gateway(Path(folder), [there.url]) as behind,
    ):
        connect(there, behind)
        page = there.page("Chat", "<!-- wp:stagedoor/chat /-->")
        print(
            f"{page}\n{there.url}/wp-admin/ {ADMIN}\ngateway {behind.url}", flush=True
        )
        print(f"files {there.folder}", flush=True)
        signal.pause()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
