"""What a prompt consists of, as far as tokens are concerned. Pure.

`Content` is the one form that both ways lead to: from a parsed `ChatRequest` here, from
a raw body in bodies.py. Never shown: its texts are a prompt.
"""

from __future__ import annotations

from msgspec import Struct, field

from actors.router.tokens import images
from actors.router.tokens.images import Picture
from wire.request import (
    Audio,
    ChatRequest,
    File,
    Image,
    OpaquePart,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolResult,
    ToolUse,
)

BASE64_NUM, BASE64_DEN = 3, 4


class Content(Struct):
    """Everything in one request that becomes prompt tokens.

    Args:
        texts: of messages and tool results, each apart.
        tools: tool schemas and response schemas, as JSON.
        messages: how many there are, each with its markers.
        files: documents whose pages nobody has counted; `file_bytes`, their size.
        audio_bytes: the same of sound.
        opaque_bytes: of what only the provider understands.
        servers: tools that the provider runs itself: it adds prompts of its own, and
            reads their results before it answers.
    """

    texts: list[str] = field(default_factory=list[str])
    tools: list[str] = field(default_factory=list[str])
    messages: int = 0
    names: int = 0
    tool_calls: int = 0
    pictures: list[Picture] = field(default_factory=list[Picture])
    files: int = 0
    file_bytes: int = 0
    audio_bytes: int = 0
    opaque_bytes: int = 0
    servers: int = 0

    def __repr__(self) -> str:
        """Sizes only."""
        return (
            f"<Content {self.messages} messages {self.chars} chars "
            f"{len(self.pictures)} pictures>"
        )

    @property
    def chars(self) -> int:
        """How much there is to encode."""
        return sum(map(len, self.texts)) + sum(map(len, self.tools))


def of_request(request: ChatRequest) -> Content:
    """The content of a parsed request."""
    content = Content(messages=len(request.messages))
    for message in request.messages:
        if message.name:
            content.names += 1
            content.texts.append(message.name)
        for part in message.parts:
            _add(content, part)
    for tool in request.tools:
        if tool.kind == "server":
            content.servers += 1
            content.opaque_bytes += len(tool.data)
            continue
        content.tools.append(f"{tool.name} {tool.description or ''}")
        if tool.parameters:
            content.tools.append(tool.parameters.decode("utf-8", "replace"))
    form = request.response_format
    if form is not None and form.schema:
        content.tools.append(form.schema.decode("utf-8", "replace"))
    return content


def _add(content: Content, part: Part) -> None:
    match part:
        case Text() | Refusal():
            content.texts.append(part.text)
        case Reasoning():
            # What goes back with its proof is billed as it was; text is at hand.
            content.texts.append(part.text)
            if part.state is not None and not part.text:
                content.opaque_bytes += len(part.state.data)
        case Image():
            content.pictures.append(
                images.of_base64(part.data, part.detail)
                if part.data
                else Picture(detail=part.detail or "")
            )
        case File():
            content.texts.append(part.text)
            content.files += not part.text
            content.file_bytes += len(part.data) * BASE64_NUM // BASE64_DEN
        case Audio():
            content.audio_bytes += len(part.data) * BASE64_NUM // BASE64_DEN
        case ToolUse():
            content.tool_calls += 1
            content.texts.append(part.name)
            content.texts.append(part.arguments)
        case ToolResult():
            for inner in part.parts:
                _add(content, inner)
        case OpaquePart():
            content.opaque_bytes += len(part.data)
