"""`stagedoor doctor`: what a start would find on this machine, and what to do.

Starts nothing, writes nothing, prints no key; can run beside a gateway. With no file in
place it looks as `stagedoor demo` starts. Exit code 1 when something will not work.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Final

from gateway.cli import OK, REFUSED, complain
from gateway.cli.source import (
    add_config,
    config_path,
    environment,
    is_named,
    load_or_complain,
)
from gateway.settings.demo import demo_config
from gateway.settings.load import Source, exposed

if TYPE_CHECKING:
    from gateway.checkup import Finding

NO_KEY: Final = "sk-demo-not-served"  # A site has one; nobody is served here.


def arguments(parser: argparse.ArgumentParser) -> None:
    """The file, and the form of the report."""
    add_config(parser)
    parser.add_argument(
        "--json", action="store_true", help="print the findings as JSON"
    )


def run(args: argparse.Namespace) -> int:
    """Look, and tell."""
    import trio  # noqa: PLC0415 - slow to import

    from gateway import checkup, self_test  # noqa: PLC0415

    env = dict(environment())
    path = config_path(args, env)
    findings: list[Finding] = []
    if not is_named(args, env) and not path.exists():
        config = demo_config(env, key=NO_KEY)
        findings.append(
            checkup.Finding("ok", f"no {path} is here: this is what the demo starts as")
        )
    else:
        loaded = load_or_complain(Source(path, env))
        if isinstance(loaded, int):
            return loaded
        config = loaded
    if path.exists() and exposed(path):
        findings.append(
            checkup.Finding(
                "warn", f"{path} can be read by other users", f"chmod 600 {path}"
            )
        )
    told = self_test.running(config.server.control_socket)
    findings += self_test.here(config, env, told)
    findings += trio.run(self_test.elsewhere, config, env)
    failing = sum(one.level == "fail" for one in findings)
    if args.json:
        rows = [{"level": o.level, "what": o.what, "todo": o.todo} for o in findings]
        json.dump({"findings": rows}, sys.stdout, indent=1)
        print()
    else:
        print("\n".join(map(str, findings)))
    if failing:
        complain(f"{failing} of {len(findings)} checks failed")
    return REFUSED if failing else OK
