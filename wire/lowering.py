"""What providers with fewer words than OpenAI are told in one and the same way. Pure.

Each is a step of `ProviderDialect.build_request`; what a provider does say in its own
way is in its own file.
"""

import base64
from typing import Any, Final

from msgspec import Raw

from wire import customtools
from wire.dialect import ClientError
from wire.request import ChatRequest, File, Tool

JSON = dict[str, Any]

EMPTY_SCHEMA: Final[JSON] = {"type": "object", "properties": {}}


def offered(request: ChatRequest, *, forced_alone: bool = False) -> list[Tool]:
    """The client's own tools, without those that its choice rules out.

    `forced_alone`: a tool that must be called is the only one left, for a provider that
    cannot be told which.
    """
    choice = request.tool_choice
    allowed = choice.allowed if choice is not None else ()
    if choice is not None and choice.mode == "tool" and forced_alone:
        allowed = (choice.name,)
    return [
        tool
        for tool in request.tools
        if tool.kind != "server" and (not allowed or tool.name in allowed)
    ]


def parameters(tool: Tool) -> JSON | Raw:
    """The JSON schema of a tool's arguments, where one has to be given."""
    if tool.kind == "custom":
        return customtools.SCHEMA
    if tool.parameters:
        return Raw(tool.parameters)
    return EMPTY_SCHEMA


def file_text(part: File, where: str, who: str) -> str:
    """A file's text. Raises ClientError: it has none, or is no text."""
    said = part.text
    if not said and part.media_type.startswith("text/"):
        said = decoded(part.data, where)
    if not said:
        raise ClientError(f"{who} takes text files only.", param=where)
    return said


def decoded(data: str, where: str) -> str:
    """Base64 of UTF-8 text, read. Raises ClientError."""
    try:
        return base64.b64decode(data, validate=True).decode()
    except ValueError:  # Not ASCII, not base64, not UTF-8: all are one.
        raise ClientError(
            "The file is not base64 of UTF-8 text.", param=where
        ) from None
