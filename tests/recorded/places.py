"""Where each recording comes from, and which clients it is played to.

Owns: the provider a gateway is configured with to meet a recording again, the dialects
that lead it to the recorded endpoint, and the reason for every recording that no client
can reach. Pure but for reading the recordings.
"""

from __future__ import annotations

import os
from itertools import groupby
from typing import Final
from urllib.parse import unquote, urlsplit

import attrs

from gateway.settings.kinds import GOOGLES
from tests.recordings_cases import Case
from tests.support_recordings import cases
from wire.anthropic import MESSAGES
from wire.dialect import ClientDialect
from wire.gemini import GeminiClient, Route
from wire.openai_chat import CHAT
from wire.openai_completions import COMPLETIONS
from wire.openai_responses import RESPONSES
from wire.registry import SPEECHES

# What the clients are given, and the dialect they speak.
CLIENTS: Final[dict[str, ClientDialect]] = {
    "chat": CHAT,
    "responses": RESPONSES,
    "messages": MESSAGES,
    "gemini": GeminiClient(Route("m", "generateContent")),
}

# Folders whose kind has another name; servers without a kind of their own are
# configured as what they say they are.
KINDS: Final = {
    "azure-openai": "azure",
    "compat-crusoe": "openai-compatible",
    "compat-gpustack": "openai-compatible",
    "gemini-openai-compat": "openai-compatible",
    "ollama-native": "ollama",
    "ollama-openai": "openai-compatible",
    "openai-chat": "openai",
    "openai-completions": "openai",
    "openai-embeddings": "openai",
    "openai-responses": "openai",
}

# The grammar of a body, by the dialect that the gateway reads it with.
FAMILIES: Final = {
    "openai_chat": "chat",
    "mistral": "chat",
    "openai_completions": "completions",
    "openai_responses": "responses",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "bedrock": "converse",
    "bedrock_invoke": "invoke",
    "cohere": "cohere",
    "ollama": "ollama",
}
CHAT_LIKE: Final = frozenset(FAMILIES.values())

LEFT_OUT: Final = {
    "invoke": "all but Claude and Nova are asked through Converse; what they say to "
    "InvokeModel is read in tests/wire",
    "generate": "Ollama is called by /api/chat; /api/generate is read in tests/wire",
    "native embeddings": "Ollama is called by /api/embed, which no recording holds",
    "count": "token counts are replayed in test_counts.py",
    "other": "files, batches and lists of models are no calls of a model",
    "realtime": "WebSocket sessions are no HTTP exchange",
    "responses-get": "a stored response is no call of a model",
    "deepseek responses": "DeepSeek documents chat alone; its /responses is not called",
}
"""Why a recording is not replayed through the gateway, by kind of reason."""


@attrs.frozen
class Place:
    """A provider as the gateway is configured for it."""

    kind: str
    model: str
    api_version: str = ""
    project: str = ""
    location: str = "global"


def kind_of(case: Case) -> str:
    """The kind of provider in the settings."""
    folder = case.provider
    return KINDS.get(folder, folder.removeprefix("compat-"))


def place_of(case: Case, client: str) -> Place:
    """The deployment a case was recorded from, for a client of this dialect.

    A chat recording of a provider that has OpenAI's Responses too is unreachable for a
    Responses client, who would be relayed there. It plays as some server of the
    neutral kind, which has chat alone.
    """
    kind = kind_of(case)
    if not _leads_to(kind, client, case.family):
        kind = "openai-compatible"
    url = urlsplit(case.url or "")
    version = url.query.partition("api-version=")[2].partition("&")[0]
    return Place(
        kind=kind,
        model=model_of(case),
        api_version=version if kind == "azure" else "",
        project="example-project" if kind in GOOGLES else "",
    )


def model_of(case: Case) -> str:
    """The model's name at the provider."""
    path = (case.url or "").partition("?")[0]
    for mark, end in (("/model/", "/"), ("/models/", ":")):
        found = unquote(path.partition(mark)[2].partition(end)[0])
        if found and "chat/completions" not in found:
            return found
    asked = case.request.get("model") if isinstance(case.request, dict) else None
    return asked or "recorded-model"


def clients_of(case: Case) -> list[str]:
    """The clients that a recording is played to; none where it cannot be reached."""
    if reason_left_out(case) is not None:
        return []
    if case.family == "embeddings":
        return ["embeddings"]
    if case.family == "completions":
        return ["completions"]
    if case.family == "responses" or case.provider == "openai-responses":
        return ["responses"]
    return [
        client
        for client in CLIENTS
        if _leads_to(kind_of(case), client, case.family) or case.family == "chat"
        if not (client == "gemini" and _is_array(case))
    ]


def reason_left_out(case: Case) -> str | None:
    """A key of LEFT_OUT, or None for a recording that is replayed."""
    if case.family == "invoke":
        model = model_of(case)
        return None if "claude" in model or "nova" in model else "invoke"
    if case.family in LEFT_OUT:
        return case.family
    if case.operation in LEFT_OUT:
        return case.operation
    if case.provider == "ollama-native" and case.family == "ollama":
        if b'"embedding"' in case.body[:20]:
            return "native embeddings"
        return None
    if case.provider == "deepseek" and case.family == "responses":
        return "deepseek responses"
    assert case.family in CHAT_LIKE | {"embeddings"}, case
    return None


def pairs(*, streamed: bool | None = None, ok: bool | None = None) -> list[Pair]:
    """Every recording with every client it is played to."""
    return [
        Pair(case, client)
        for case in cases(streamed=streamed, ok=ok)
        for client in clients_of(case)
    ]


@attrs.frozen
class Pair:
    """One recording, one client."""

    case: Case
    client: str

    def __str__(self) -> str:
        return f"{self.case.name}-{self.client}"


def _is_array(case: Case) -> bool:
    """A stream that was asked for without `alt=sse`; the gateway never does.

    The decoder reads it for the other dialects; to Google's client it would be relayed
    in a framing that it did not ask for.
    """
    return case.streamed and case.response_file == "response.json"


def is_native(pair: Pair) -> bool:
    """Whether the case is played by the very kind it was recorded from."""
    return place_of(pair.case, pair.client).kind == kind_of(pair.case)


def sampled(found: list[Pair]) -> list[Pair]:
    """Each recording with two of its clients, in turn; all with RECORDED_ALL=1."""
    if os.environ.get("RECORDED_ALL"):
        return found
    kept: list[Pair] = []
    for at, (_, group) in enumerate(groupby(found, lambda pair: pair.case.name)):
        of_case = list(group)
        first = at % len(of_case)
        second = (first + 1 + at // len(of_case) % 3) % len(of_case)
        kept += [of_case[n] for n in sorted({first, second})]
    return kept


def _leads_to(kind: str, client: str, family: str) -> bool:
    """Whether the gateway calls an endpoint of this grammar for such a client."""
    dialect = COMPLETIONS if client == "completions" else CLIENTS.get(client)
    if dialect is None:
        return True
    return FAMILIES[SPEECHES[kind].dialect_for(dialect.name).name] == family
