"""No answer of the admin API holds a secret: all operations are asked.

Marked are: a site's key of the file and one that was made, what a client said, a
provider's key, an admin token, a webhook's secret, and something secret-looking in a
field where it does not belong. Each secret may be in the one answer that makes it.
"""

from __future__ import annotations

from typing import Any

import trio
from trio.testing import MockClock

from tests.gateway.admin.support_admin import Desk, desk
from tests.gateway.admin.test_idor import BODIES, query_of, things
from tests.gateway.gateways import KEY
from tests.support_canary import traces

SAID = "canary-said-by-a-client-5150"
PROVIDERS_KEY = "sk-upstream-canary-42"  # As support_admin has it.
MISPLACED = "sk-stagedoor-misplaced-canary-0007"


async def secrets_of(at: Desk, named: dict[str, str]) -> dict[str, bytes]:
    """Every secret that there is by now, by what it is."""
    key = await at.made(f"/sites/{named['site']}/keys", {"terms": {}})
    token = await at.made("/tokens", {"name": "canary", "role": "viewer"})
    hook = await at.made("/webhooks", {"url": "https://canary.example/x"})
    await trio.sleep(1)
    await at.called(
        key["secret"], messages=[{"role": "user", "content": SAID}], user=MISPLACED
    )
    found = {
        "file key": KEY,
        "made key": key["secret"],
        "token": token["secret"],
        "webhook": hook["secret"],
        "provider's key": PROVIDERS_KEY,
        "prompt": SAID,
        "misplaced": MISPLACED,
    }
    return {name: value.encode() for name, value in found.items()}


def ill(body: Any) -> Any:
    """The same body with a secret in every place that takes words."""
    if isinstance(body, dict):
        return {name: ill(value) for name, value in body.items()}
    if isinstance(body, list):
        return [ill(one) for one in body]
    return MISPLACED if isinstance(body, str) else [MISPLACED]


async def test_no_answer_of_any_operation_holds_a_secret(
    autojump_clock: MockClock,
) -> None:
    async with desk() as at:
        named = await things(at)
        secrets = await secrets_of(at, named)
        document = (await at.ask("GET", "/admin/openapi.json", who=None)).json()
        tried, answered = 0, 0
        # What changes something comes last: until then all of it is there to be shown.
        asked = sorted(
            (
                (method.upper(), whole.removeprefix("/admin/v1"), one)
                for whole, item in document["paths"].items()
                for method, one in item.items()
            ),
            key=lambda found: (found[0] != "GET", found[0] == "DELETE", found[1]),
        )
        for method, pattern, one in asked:
            path = pattern
            for name, value in named.items():
                path = path.replace(f"{{{name}}}", value)
            bodies: list[Any] = [None]
            if "requestBody" in one:
                schema = one["requestBody"]["content"]["application/json"]["schema"]
                body = BODIES[schema["$ref"].rpartition("/")[2]]
                # The first are refusals of what is wrong, the last is done.
                bodies = [ill(body), MISPLACED, f'{{"x": "{MISPLACED}'.encode(), body]
            for given in bodies:
                for query in {"", query_of(one["parameters"], named)}:
                    reply = await at.ask(
                        method, f"{path}?{query}", given, headers={"if-match": "*"}
                    )
                    tried += 1
                    answered += reply.status < 400
                    told = reply.body + repr(reply.headers).encode()
                    # A name or a reason is told again; not what fits nowhere.
                    hidden = dict(secrets)
                    if isinstance(given, dict):
                        del hidden["misplaced"]
                    assert not traces(told, hidden), f"{method} {path} {given}"
        assert tried > 150
        assert answered > 50
