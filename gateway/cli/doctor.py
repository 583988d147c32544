"""`stagedoor doctor`: what a start would find on this machine, and what to do.

Starts nothing, writes nothing, prints no key; can run beside a gateway. Exit code 1
when something will not work.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from gateway.cli import OK, REFUSED, complain
from gateway.cli.source import add_config, config_path, environment, load_or_complain
from gateway.settings.load import Source, exposed

if TYPE_CHECKING:
    from gateway.checkup import Finding


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
    config = load_or_complain(Source(path, env))
    if isinstance(config, int):
        return config
    findings: list[Finding] = []
    if exposed(path):
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
