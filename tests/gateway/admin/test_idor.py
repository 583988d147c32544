"""Nobody reaches another tenant's things: every operation is tried, from the document.

A credential of tenant t1, of the highest role there is, is given the names of all that
belongs to t2, in paths, queries and bodies. What is asked for is what the document has:
so a new operation is tried as soon as it is there.
"""

from __future__ import annotations

from typing import Any

import trio
from trio.testing import MockClock

from gateway.admin.principal import Principal
from tests.gateway.admin.support_admin import Desk, a_site, desk

INTRUDER = Principal("token:t1", "owner", frozenset({"t1"}))
MARK = "zweitens"  # In everything of t2 that has a name: no answer may hold it.

# A body for each schema that takes one: as well-formed as can be, and about t2.
BODIES: dict[str, Any] = {
    "CapReset": {"reason": "mine"},
    "Adjustment": {"nanousd": -1, "reason": "mine"},
    "Wanted": {"name": "mine", "settings": {"tenant": "t2"}},
    "Settings": {"settings": {"tenant": "t2"}},
    "Patch": {"settings": {"suspended": True}},
    "KeyWanted": {"terms": {}},
    "KeyChange": {"terms": {"label": "mine now"}},
    "Rotate": {"overlap_s": 0},
    "Import": {"sites": [{"name": f"{MARK}-shop", "settings": {}}], "prune": True},
    "PreviewWanted": {"settings": {"models": ["*"]}},
    "PersonWanted": {"name": "mallory@example.com", "role": "owner"},
    "PersonChange": {"role": "owner", "tenants": ["t2"]},
    "Pause": {"reason": "mine"},
    "SecretWanted": {"provider": "main", "tenant": "t2", "delivery": "AAAA"},
    "SecretNamed": {"provider": "main", "tenant": "t2"},
    "SecretEnd": {"provider": "main", "tenant": "t2"},
    "TenantNamed": {"tenant": "t2", "environment": "prod"},
    "ShredWanted": {"tenant": "t2", "environment": "prod", "confirm": "t2/prod"},
    "Try": {"site": f"{MARK}-shop"},
    "TokenWanted": {"name": "x", "role": "owner", "tenants": ["t2"]},
    "WebhookWanted": {"url": "https://h.example/x", "tenants": ["t2"]},
}


async def things(at: Desk) -> dict[str, str]:
    """Something of each kind that is t2's, by the name of its parameter."""
    site = f"{MARK}-shop"
    await a_site(at, "blog", "t1")
    await a_site(at, site, "t2")
    key = await at.made(f"/sites/{site}/keys", {"terms": {"label": MARK}})
    await trio.sleep(1)
    request_id = await at.called(key["secret"])
    token = await at.made(
        "/tokens", {"name": MARK, "role": "viewer", "tenants": ["t2"]}
    )
    hook = await at.made(
        "/webhooks",
        {"url": f"https://{MARK}.example/x", "label": MARK, "tenants": ["t2"]},
    )
    webhook = hook["webhook"]["id"]
    sent = (await at.ask("POST", f"/webhooks/{webhook}/test")).json()
    return {
        "tenant": "t2",
        "site": site,
        "environment": "prod",
        "key": key["key"]["id"],
        "model": "fast",
        "provider": "main",
        "cap": "month",
        "token": token["token"]["id"],
        "webhook": webhook,
        "delivery": sent["delivery"],
        "request": request_id,
        "person": "p_0123456789abcdef",
        "log": "1",
        "seq": "0",
        "code": "not-found",
    }


def query_of(parameters: list[Any], named: dict[str, str]) -> str:
    """Every parameter that can name something, naming what is t2's."""
    given = {
        one["name"]: named[one["name"]]
        for one in parameters
        if one["in"] == "query" and one["name"] in named
    }
    if any(one["name"] == "model" and one.get("required") for one in parameters):
        given["model"] = "fast"
    return "&".join(f"{name}={value}" for name, value in given.items())


async def test_no_operation_shows_or_changes_what_is_another_tenants(
    autojump_clock: MockClock,
) -> None:
    async with desk() as at:
        named = await things(at)
        document = (await at.ask("GET", "/admin/openapi.json", who=None)).json()
        before = await snapshot(at)
        tried = 0
        for whole, item in document["paths"].items():
            for method, one in item.items():
                if one.get("security") == []:
                    continue
                path = whole.removeprefix("/admin/v1")
                for name, value in named.items():
                    path = path.replace(f"{{{name}}}", value)
                body: Any = None
                if "requestBody" in one:
                    schema = one["requestBody"]["content"]["application/json"]["schema"]
                    body = BODIES[schema["$ref"].rpartition("/")[2]]
                for query in {"", query_of(one["parameters"], named)}:
                    reply = await at.ask(
                        method.upper(),
                        f"{path}?{query}",
                        body,
                        who=INTRUDER,
                        headers={"if-match": "*"},
                    )
                    what = f"{method} {path}?{query}: {reply.status}"
                    tried += 1
                    asked = any(value in path for value in named.values())
                    told = reply.body.decode()
                    if asked or body is not None:
                        assert reply.status in {400, 403, 404, 422}, what
                    if reply.status >= 400:
                        # What was asked for may be named again; nothing else.
                        told = told.replace(named["site"], "").replace("t2", "")
                    assert MARK not in told, what
                    assert '"t2"' not in told, what
        assert tried > 60
        assert await snapshot(at) == before


async def snapshot(at: Desk) -> list[bytes]:
    """All that t2 has, as its operator sees it."""
    paths = (
        "/tenants/t2", f"/sites/{MARK}-shop", f"/sites/{MARK}-shop/keys", "/tokens",
        "/webhooks", "/caps", "/providers",
    )  # fmt: skip
    return [(await at.ask("GET", path)).body for path in paths]


async def test_a_tenants_own_things_are_there(autojump_clock: MockClock) -> None:
    """So that the test above is no test of a broken login."""
    async with desk() as at:
        await things(at)
        for path in ("/tenants/t1", "/sites/blog", "/sites/blog/keys", "/tokens",
                     "/webhooks", "/alerts", "/records", "/usage"):  # fmt: skip
            assert (await at.ask("GET", path, who=INTRUDER)).status == 200, path
        made = await at.ask("POST", "/sites/blog/keys", {}, who=INTRUDER)
        assert made.status == 201
