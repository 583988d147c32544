"""Let Wapiti, a scanner of others, attack the Console of a gateway that is thrown away.

    python -m tests.console.scan --wapiti PATH [--seconds 60]

It is logged in as an owner of everything, so that it reaches every form and every
address; what it may not do is log out or change that login. Exits 1 when it finds
something of any level, or when the gateway broke: a status of 5xx to any attack, a
crash in its log. Nothing but the gateway on 127.0.0.1 is asked.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import httpx

from tests.console.support_console import OWNER, PASSWORD, Stage, staged

# Those that need no host but this one, and make sense for pages that are ours.
MODULES: Final = (
    "csp", "cookieflags", "http_headers", "methods", "htaccess", "csrf", "crlf",
    "redirect", "xss", "permanentxss", "file", "exec", "sql", "timesql", "ldap",
    "upload", "backup",
)  # fmt: skip
# A live view never ends; a logout, another password would end the scan's own login;
# entries of the audit log are hundreds of pages that are alike, one for each attack.
LEFT_OUT: Final = (
    "/console/live*", "/console/logout*", "/console/settings/me/*",
    "/console/audit/1/*", "/console/audit?request=*", "/console/requests/*",
)  # fmt: skip
# Pages that links lead to by forms only, or whose address holds a name.
STARTS: Final = (
    "", "/sites", "/sites/bakery-blog", "/sites/shop/settings", "/sites/shop/keys",
    "/providers", "/providers/+new", "/providers/oven/settings", "/models",
    "/requests?site=a&model=b&key=c&code=d&feature=e", "/vault", "/vault/add",
    "/vault/shred?tenant=default&environment=default",
    "/audit?act=a&actor=b&name=c&tenant=d&request=e", "/actors", "/playground",
    "/settings", "/settings/people", "/settings/tokens", "/settings/webhooks",
    "/settings/configuration", "/tenants", "/caps",
    "/login?next=/console", "/confirm?next=/console", "/welcome",
)  # fmt: skip
# Of pages that are alike, a few are enough.
PAGES_MAX: Final = ("--max-links-per-page", "30", "--max-files-per-dir", "12")
OVERTIME_S: Final = 120  # For what it does after its own limits: reports.


def filled(stage: Stage) -> None:
    """Something of each kind, so that every page has its forms."""
    oven = {"kind": "openai-compatible", "base_url": "http://127.0.0.1:9/v1"}
    stage.admin(
        "POST", "/providers", {"name": "oven", "settings": {**oven, "models": ["m"]}}
    )
    stage.admin("POST", "/sites", {"name": "shop", "settings": {}})
    stage.admin("POST", "/sites/shop/keys", {"terms": {}})
    stage.admin("POST", "/caps", {"name": "all", "settings": {"spend_usd_max": 9}})
    stage.call()


def owner(stage: Stage) -> str:
    """The cookie of somebody who may everything."""
    secret = stage.link.partition("#")[2]
    entered = httpx.post(
        f"{stage.console}/welcome",
        data={"link": secret, "name": OWNER, "password": PASSWORD, "again": PASSWORD},
        headers={"origin": stage.url},
    )
    assert entered.status_code == 303, entered.text
    return entered.headers["set-cookie"].partition(";")[0]


def scan(
    wapiti: Path, stage: Stage, cookie: str, seconds: int, folder: Path
) -> tuple[int, list[str]]:
    """How many pages it attacked, and what it holds against them.

    A module at a time: each has its own limit and its own report, and one that fails
    takes nothing of the others along.
    """
    starts = [part for path in STARTS for part in ("-s", stage.console + path)]
    [person] = stage.admin("GET", "/people")["items"]
    own = f"/console/settings/people/{person['id']}*"
    spared = [part for path in (*LEFT_OUT, own) for part in ("-x", stage.url + path)]
    pages, lines = 0, list[str]()
    for module in ("", *MODULES):
        report = folder / f"report-{module}.json"
        limits = ["--max-attack-time", str(seconds), "--skip-crawl"]
        crawls = ["--max-scan-time", str(seconds), "-d", "2", *PAGES_MAX]
        done = subprocess.run(
            [
                str(wapiti), "-u", f"{stage.console}/", "--scope", "folder",
                *starts, *spared, "-m", module, "-C", cookie,
                "-H", "sec-fetch-site: same-origin", "-H", f"origin: {stage.url}",
                *(limits if module else crawls), "--no-bugreport",
                "--store-session", str(folder), "--tasks", "6", "-v", "0",
                "-f", "json", "-o", str(report),
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            check=False, timeout=seconds + OVERTIME_S,
        )  # fmt: skip
        if done.returncode or not report.exists():
            print(f"  {module or 'looking for pages'}: ended with {done.returncode}")
            continue
        found: dict[str, Any] = json.loads(report.read_text())
        pages = pages or found["infos"]["crawled_pages_nbr"]
        held = told(found)
        print(f"  {module or 'looking for pages'}: {len(held)} found", flush=True)
        lines += held
    return pages, list(dict.fromkeys(lines))


# What it says of every form of this kind, and why that is none: a kind, a path.
KNOWN: Final = {
    # A login has no session yet that a token could be of. Both forms are taken from
    # our own pages alone (Sec-Fetch-Site, Origin; gateway/console/guard.py).
    ("Cross Site Request Forgery", "/console/login"),
    ("Cross Site Request Forgery", "/console/welcome"),
    # Another answer to the same words: tries at logins are limited by then.
    ("LDAP Injection", "/console/login"),
}


def told(found: dict[str, Any]) -> list[str]:
    """Each thing that it holds against us, on a line."""
    return [
        f"{kind}: {one['method']} {one['path']} {one['info']}"
        for group in ("vulnerabilities", "anomalies")
        for kind, ones in found[group].items()
        for one in ones
        if (kind, one["path"]) not in KNOWN
    ]


def main() -> None:
    """Scan; exits with 1 when something is found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--wapiti", type=Path, required=True, help="the scanner")
    parser.add_argument("--seconds", type=int, default=60)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with staged(folder) as stage:
            filled(stage)
            cookie = owner(stage)
            pages, lines = scan(args.wapiti, stage, cookie, args.seconds, folder)
            alive = httpx.get(stage.console, headers={"cookie": cookie}).status_code
        log = (folder / "log").read_text(errors="replace")
        lines += [line for line in log.splitlines() if '"console.crashed"' in line]
        if alive != 200:
            lines.append(f"the scan's own login is worth {alive} now")
    print(f"{pages} pages, {len(MODULES)} kinds of attack: {len(lines)} found")
    for line in lines:
        print(f"  {line}")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
