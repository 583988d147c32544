"""The admin API over HTTP: from a request to `AdminApi.handle` and back.

Owns: reading no more than a body may hold, who sent it, and HEAD.
"""

from __future__ import annotations

from typing import Final

from gateway.admin.api import (
    BASE,
    BODY_BYTES_MAX,
    AdminApi,
    AdminReply,
    AdminRequest,
    refusal,
)
from gateway.admin.login import Login
from gateway.admin.principal import OPERATOR, Principal
from gateway.admin.problems import Problem
from gateway.http.replies import reply
from gateway.http.request import Request, TooLarge
from gateway.logs import new_request_id
from runtime import AskError, DomainError

PREFIX: Final = "/admin/"
# What has no version: the document, and what its problems mean.
UNVERSIONED: Final = ("/admin/openapi.json", "/admin/problems/")


class AdminHttp:
    """The handler of everything below `/admin/`.

    Args:
        login: finds out who sent it; None on the control socket, where whoever can
            connect is the gateway's own user.
    """

    def __init__(self, api: AdminApi, login: Login | None) -> None:
        self._api = api
        self._login = login

    def __repr__(self) -> str:
        return f"<AdminHttp {self._api!r}>"

    async def answer(self, request: Request) -> None:
        """One request."""
        request_id = new_request_id()
        answered = await self._answer(request, request_id)
        headers = [*answered.headers, ("x-request-id", request_id)]
        if answered.stream is not None and request.method != "HEAD":
            await _send_stream(request, answered, headers)
            return
        await reply(request.send, answered.status, answered.body, headers)

    async def _answer(self, request: Request, request_id: str) -> AdminReply:
        try:
            principal = await self._principal(request)
            body = await request.read()
        except TooLarge as large:
            return refusal(Problem("too-large", str(large)), request_id)
        except Problem as problem:
            return refusal(problem, request_id)
        except (AskError, DomainError) as error:
            return refusal(Problem("unavailable", str(error)), request_id)
        if len(body) > BODY_BYTES_MAX:
            return refusal(Problem("too-large"), request_id)
        path, query = request.target
        return await self._api.handle(
            AdminRequest(request.method, below(path), query, request.headers, body),
            principal,
            request_id,
        )

    async def _principal(self, request: Request) -> Principal | None:
        if self._login is None:
            return OPERATOR
        client = request.scope.get("client")
        address = str(client[0]) if client else ""
        return await self._login.principal(request.headers, address)


def below(path: str) -> str:
    """A path as operations name it: without the version that they all have."""
    if path.startswith(f"{BASE}/"):
        return path[len(BASE) :]
    return path if path.startswith(UNVERSIONED) else "/-/"  # Which is nowhere.


async def _send_stream(
    request: Request, answered: AdminReply, headers: list[tuple[str, str]]
) -> None:
    """An answer that is made as it is sent: a slow reader slows down its making."""
    assert answered.stream is not None
    fields = [(k.encode("ascii"), v.encode("latin-1")) for k, v in headers]
    await request.send(
        {
            "type": "http.response.start",
            "status": answered.status,
            "headers": fields,
        }
    )
    async for piece in answered.stream:
        await request.send(
            {"type": "http.response.body", "body": piece, "more_body": True}
        )
    await request.send({"type": "http.response.body", "body": b"", "more_body": False})
