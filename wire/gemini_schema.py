"""The words of Gemini and Vertex, and the shapes of their answers.

Owns: enums (also as the integers Vertex sends), model policies by version, paths, and
lenient structs of a chunk. Google's JSON is protobuf's: field names come in camel case
or snake case, numbers may be strings. Decides nothing about a request. Pure.
"""

import re
from collections.abc import Mapping
from typing import Final, Literal
from urllib.parse import quote, unquote

from msgspec import Raw, Struct

from wire.events import FinishReason

SOURCE: Final = "gemini"
"""Both services: state of one is state of the other."""

SKIP_SIGNATURE: Final = "skip_thought_signature_validator"
"""Google's own placeholder for a call whose thought signature is not ours to give: a
conversation that began at another provider."""

Method = Literal["generateContent", "streamGenerateContent", "countTokens"]
METHODS: Final[tuple[Method, ...]] = (
    "generateContent",
    "streamGenerateContent",
    "countTokens",
)

FINISH: Final[dict[str, FinishReason]] = {
    "STOP": "stop",
    "FINISH_REASON_UNSPECIFIED": "stop",
    "OTHER": "stop",
    "CONTINUATION": "length",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "ESCALATION": "content_filter",
    "PUP_LIMITED_DISABLED": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "IMAGE_OTHER": "stop",
    "NO_IMAGE": "stop",
}
"""How a candidate ended well; an unknown word is taken for "stop"."""

FAILED: Final = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
    }
)
"""Ends that are errors: a client must not take them for an answer."""

FINISH_WORDS: Final[dict[FinishReason, str]] = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
}

_COMMON_INTS: Final = {
    0: "FINISH_REASON_UNSPECIFIED",
    1: "STOP",
    2: "MAX_TOKENS",
    3: "SAFETY",
    4: "RECITATION",
    5: "OTHER",
}
_VERTEX_INTS: Final = {
    **_COMMON_INTS,
    6: "BLOCKLIST",
    7: "PROHIBITED_CONTENT",
    8: "SPII",
    9: "MALFORMED_FUNCTION_CALL",
    10: "MODEL_ARMOR",
    11: "IMAGE_SAFETY",
    12: "IMAGE_PROHIBITED_CONTENT",
    13: "IMAGE_RECITATION",
    14: "IMAGE_OTHER",
    15: "UNEXPECTED_TOOL_CALL",
    16: "NO_IMAGE",
}
_GEMINI_INTS: Final = {
    **_COMMON_INTS,
    6: "LANGUAGE",
    7: "BLOCKLIST",
    8: "PROHIBITED_CONTENT",
    9: "SPII",
    10: "MALFORMED_FUNCTION_CALL",
    11: "IMAGE_SAFETY",
    12: "UNEXPECTED_TOOL_CALL",
    13: "TOO_MANY_TOOL_CALLS",
}


def finish_word(raw: str | int, *, vertex: bool) -> str:
    """The word for a finish reason, which may come as its number in either proto."""
    if isinstance(raw, str):
        return raw
    return (_VERTEX_INTS if vertex else _GEMINI_INTS).get(raw, f"FINISH_REASON_{raw}")


def camel(name: str) -> str:
    """A field's name in camel case: system_instruction is systemInstruction."""
    if "_" not in name.strip("_"):
        return name
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


Version = tuple[int, int]

_VERSION = re.compile(r"gemini-(\d{1,2})(?:\.(\d{1,2}))?(?!\d)")


def version(model: str) -> Version:
    """gemini-2.5-flash is (2, 5); a name without one is taken for a new model."""
    found = _VERSION.search(model)
    return (int(found.group(1)), int(found.group(2) or 0)) if found else (99, 0)


def thinks_by_level(model: str) -> bool:
    """Gemini 3 has levels, 2.5 a budget."""
    return version(model) >= (3, 0)


def thinks(model: str) -> bool:
    """Before 2.5 there was nothing to set."""
    return version(model) >= (2, 5)


def wants_signatures(model: str) -> bool:
    """From 3 on a replayed call without its signature is a 400."""
    return version(model) >= (3, 0)


BUDGETS: Final[dict[str, int]] = {
    "minimal": 512,
    "low": 1024,
    "medium": 8192,
    "high": 24_576,
    "xhigh": 24_576,
    "max": 24_576,
}
"""Thinking tokens for an effort on 2.5, as Google's OpenAI endpoint maps them."""

PRO_BUDGET_MIN: Final = 128
"""2.5 Pro cannot stop thinking."""

LEVELS: Final[dict[str, str]] = {
    "none": "minimal",
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}


class Route(Struct, frozen=True):
    """What a Gemini client says in its path: the model, the method, the framing."""

    model: str
    method: Method
    sse: bool = True

    @property
    def stream(self) -> bool:
        """Whether the answer comes in chunks."""
        return self.method == "streamGenerateContent"


def parse_path(path: str, query: str = "") -> Route | None:
    """Read a path of either service; the colon may be escaped. None if it is neither.

    Without `alt=sse` Google streams a JSON array.
    """
    head, colon, method = unquote(path).rpartition(":")
    _, models, model = head.rpartition("/models/")
    if not (colon and models and model) or method not in METHODS:
        return None
    sse = "alt=sse" in query.split("&")
    return Route(model, method, sse=sse)


def upstream_path(
    model: str, method: Method, options: Mapping[str, str], *, vertex: bool
) -> str:
    """The path at the provider. Vertex without a project is its express mode."""
    name = f"models/{quote(model.removeprefix('models/'), safe='')}"
    tail = f":{method}"
    if method == "streamGenerateContent":
        tail += "?alt=sse"  # Always: an array is for clients that asked for one.
    if not vertex:
        return f"/{options.get('api_version', 'v1beta')}/{name}{tail}"
    base = f"/{options.get('api_version', 'v1beta1')}"
    if "project" in options:
        project = quote(options["project"], safe="")
        location = quote(options.get("location", "global"), safe="")
        base += f"/projects/{project}/locations/{location}"
    if model.startswith("endpoints/"):  # A tuned model of one's own.
        endpoint = quote(model.removeprefix("endpoints/"), safe="")
        return f"{base}/endpoints/{endpoint}{tail}"
    return f"{base}/publishers/google/{name}{tail}"


class FunctionCall(Struct):
    """A call of the client's tool. Gemini may leave out `args` and `id`."""

    name: str = ""
    args: Raw = Raw(b"")
    id: str | None = None


class Blob(Struct):
    """Inline media."""

    mimeType: str = ""  # noqa: N815 - Google's spelling
    data: str = ""


class AnswerPart(Struct):
    """A part of an answer. At most one of the kinds is set."""

    text: str | None = None
    thought: bool | None = None
    thoughtSignature: str | None = None  # noqa: N815
    functionCall: FunctionCall | None = None  # noqa: N815
    inlineData: Blob | None = None  # noqa: N815
    executableCode: Raw = Raw(b"")  # noqa: N815
    codeExecutionResult: Raw = Raw(b"")  # noqa: N815
    toolCall: Raw = Raw(b"")  # noqa: N815
    toolResponse: Raw = Raw(b"")  # noqa: N815


class Content(Struct):
    """`content` of a candidate; `parts` is absent in a filtered one."""

    parts: list[AnswerPart] | None = None


class Candidate(Struct):
    """One choice, or a piece of it."""

    content: Content | None = None
    finishReason: str | int | None = None  # noqa: N815
    finishMessage: str | None = None  # noqa: N815
    index: int = 0
    groundingMetadata: Raw = Raw(b"")  # noqa: N815
    citationMetadata: Raw = Raw(b"")  # noqa: N815
    logprobsResult: Raw = Raw(b"")  # noqa: N815
    safetyRatings: Raw = Raw(b"")  # noqa: N815


class Modality(Struct):
    """Tokens of one kind."""

    modality: str = ""
    tokenCount: int = 0  # noqa: N815


class Counts(Struct):
    """`usageMetadata`: running totals; Vertex sends it without counts at first."""

    promptTokenCount: int | None = None  # noqa: N815
    candidatesTokenCount: int | None = None  # noqa: N815
    thoughtsTokenCount: int | None = None  # noqa: N815
    toolUsePromptTokenCount: int | None = None  # noqa: N815
    cachedContentTokenCount: int | None = None  # noqa: N815
    totalTokenCount: int | None = None  # noqa: N815
    promptTokensDetails: list[Modality] | None = None  # noqa: N815
    candidatesTokensDetails: list[Modality] | None = None  # noqa: N815
    serviceTier: str | None = None  # noqa: N815


class Feedback(Struct):
    """`promptFeedback`: set when the prompt itself was blocked."""

    blockReason: str | None = None  # noqa: N815
    blockReasonMessage: str | None = None  # noqa: N815


class Chunk(Struct):
    """A GenerateContentResponse, whole or a piece."""

    candidates: list[Candidate] | None = None
    usageMetadata: Counts | None = None  # noqa: N815
    promptFeedback: Feedback | None = None  # noqa: N815
    modelVersion: str | None = None  # noqa: N815
    responseId: str | None = None  # noqa: N815
    error: Raw = Raw(b"")


class Counted(Struct):
    """The answer of countTokens."""

    totalTokens: int  # noqa: N815
    cachedContentTokenCount: int | None = None  # noqa: N815
