"""What becomes of each field of a request at each kind of target: the one table.

Three things can: it is told in the target's own words (mapped), it is left out
(dropped), or the request is refused with a 400 that names it (`param`). The rule:

- refused, where leaving it out would give another answer than the one asked for: more
  choices, log probabilities, sound, a picture that nobody can open;
- dropped, where it only tunes how the same answer comes about, or where the provider
  does it anyway: seeds, penalties, cache marks, tiers, names for the abuse desk.

Dialects decide by themselves, each in its builder; tests hold every one of them to this
table, field by field, and docs/dialects-fields.md is this table written out. Same
dialect on both sides: nothing applies, bytes pass.

    python -m wire.field_policies > docs/dialects-fields.md
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct, field

Verdict = Literal["mapped", "dropped", "refused"]

TARGETS: Final[Mapping[str, str]] = {
    "openai": "OpenAI and Azure, chat",
    "openai-reasoning": "the same, o- and gpt-5 models",
    "openai-compatible": "any other server with OpenAI's chat",
    "responses": "OpenAI's Responses",
    "anthropic": "Anthropic",
    "gemini": "Gemini and Vertex",
    "bedrock": "Bedrock's Converse",
    "cohere": "Cohere v2",
    "mistral": "Mistral",
    "ollama": "Ollama's own API",
}
"""Columns. Flavours of OpenAI's chat may refuse more: `wire.flavours` lists it."""

ALL: Final = frozenset(TARGETS)


class FieldPolicy(Struct, frozen=True):
    """One row: what is not mapped, and where.

    Args:
        name: of `wire.request.ChatRequest`, the vocabulary of all dialects.
        told: what clients call it.
        dropped: targets that are not told.
        refused: targets that answer 400, and the beginning of its `param`.
        why: of what is dropped or refused, or how it is mapped where that surprises.
    """

    name: str
    told: str
    dropped: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict[str, str])
    why: str = ""

    def verdict(self, target: str) -> Verdict:
        """What becomes of it there."""
        if target in self.refused:
            return "refused"
        return "dropped" if target in self.dropped else "mapped"


def _row(
    name: str,
    told: str,
    *,
    dropped: str = "",
    refused: Mapping[str, str] | None = None,
    why: str = "",
) -> FieldPolicy:
    gone = frozenset(dropped.split())
    given = dict(refused or {})
    assert gone <= ALL
    assert given.keys() <= ALL
    assert not gone & given.keys()
    return FieldPolicy(name, told, gone, given, why)


def _at(param: str, targets: str) -> dict[str, str]:
    return dict.fromkeys(targets.split(), param)


_PART: Final = "messages"  # Anthropic writes `messages.0.content.1`, so do these.

POLICIES: Final[Sequence[FieldPolicy]] = (
    _row("system", "system messages, instructions, systemInstruction"),
    _row(
        "developer",
        "developer messages",
        why="As system messages where there is no such role.",
    ),
    _row("tools", "functions, with their JSON schema"),
    _row(
        "tools.strict",
        "strict",
        dropped="gemini ollama",
        why="Arguments may then stray from the schema.",
    ),
    _row(
        "tools.custom",
        "custom tools (free text)",
        why="As functions of one string where there are none; told back as custom.",
    ),
    _row(
        "tools.server",
        "tools that a provider runs itself (web search and such)",
        dropped=" ".join(TARGETS),
        why="Only its own provider has it; the model answers without.",
    ),
    _row(
        "tool_choice.none",
        "tool_choice none",
        why="The tools are left out where there is no word for it.",
    ),
    _row(
        "tool_choice.required",
        "tool_choice required, any, ANY",
        dropped="ollama",
        why="Ollama has no choice: the model may answer in words.",
    ),
    _row(
        "tool_choice.tool",
        "tool_choice with a name",
        dropped="ollama",
        why="As above; Cohere is shown that tool alone and must call one.",
    ),
    _row(
        "tool_choice.allowed",
        "allowed_tools, allowedFunctionNames",
        why="The other tools are left out where there is no word for it.",
    ),
    _row(
        "parallel_tool_calls",
        "parallel_tool_calls false, disable_parallel_tool_use",
        dropped="gemini bedrock cohere ollama",
        why="Several calls may come in one turn.",
    ),
    _row("response_format.json_object", "JSON mode"),
    _row("response_format.json_schema", "structured output"),
    _row(
        "stop",
        "stop, stop_sequences, stopSequences",
        dropped="responses",
        why="The Responses API has none.",
    ),
    _row(
        "temperature",
        "temperature",
        dropped="openai-reasoning responses",
        why="Refused by reasoning models. Clamped to each target's own range.",
    ),
    _row(
        "top_p",
        "top_p, topP",
        dropped="openai-reasoning responses",
        why="Refused by reasoning models.",
    ),
    _row(
        "top_k",
        "top_k, topK",
        dropped="openai openai-reasoning responses mistral",
        why="Not offered there; servers of one's own take it where their flavour says.",
    ),
    _row(
        "presence_penalty",
        "presence_penalty, presencePenalty",
        dropped="openai-reasoning responses anthropic bedrock",
        why="Not offered there.",
    ),
    _row(
        "frequency_penalty",
        "frequency_penalty, frequencyPenalty",
        dropped="openai-reasoning responses anthropic bedrock",
        why="Not offered there.",
    ),
    _row("max_output_tokens", "max_tokens, max_completion_tokens, maxOutputTokens"),
    _row(
        "reasoning.effort",
        "reasoning_effort, output_config.effort, thinkingLevel",
        why="As a budget of tokens where that is the target's word; left out where "
        "the model does not think, or the bound on the answer leaves no room.",
    ),
    _row(
        "reasoning.budget_tokens",
        "thinking.budget_tokens, thinkingBudget",
        why="As the nearest effort where that is the target's word.",
    ),
    _row(
        "reasoning.summary",
        "reasoning.summary detailed or concise",
        dropped="openai openai-reasoning openai-compatible gemini bedrock cohere "
        "mistral ollama",
        why="Thoughts come as the provider tells them.",
    ),
    _row(
        "reasoning.omitted",
        "thoughts not to be shown",
        dropped="openai openai-reasoning openai-compatible bedrock cohere mistral "
        "ollama",
        why="They come, where the provider tells them at all.",
    ),
    _row(
        "seed",
        "seed, random_seed",
        dropped="responses anthropic bedrock",
        why="Best effort where it exists; answers vary without.",
    ),
    _row(
        "logprobs",
        "logprobs, responseLogprobs",
        dropped="openai-reasoning",
        refused=_at("logprobs", "anthropic bedrock mistral"),
        why="The answer would lack what was asked for; reasoning models of OpenAI "
        "take the request without.",
    ),
    _row(
        "top_logprobs",
        "top_logprobs, logprobs (a number)",
        dropped="openai-reasoning responses",
        refused={
            **_at("logprobs", "anthropic bedrock mistral"),
            "cohere": "top_logprobs",
        },
        why="As logprobs.",
    ),
    _row(
        "n",
        "n, candidateCount above 1",
        refused=_at("n", "responses anthropic bedrock cohere ollama"),
        why="One answer where several were asked for is not an answer.",
    ),
    _row(
        "user",
        "user, metadata.user_id",
        dropped="gemini cohere mistral ollama",
        why="No place for it.",
    ),
    _row(
        "metadata",
        "metadata",
        dropped="openai-compatible anthropic gemini cohere mistral ollama",
        why="Labels for the provider's own dashboards.",
    ),
    _row(
        "service_tier",
        "service_tier, serviceTier",
        dropped="openai-compatible cohere mistral ollama",
        why="No tiers there.",
    ),
    _row(
        "verbosity",
        "verbosity",
        dropped="openai-compatible anthropic gemini bedrock cohere mistral ollama",
        why="No word for it.",
    ),
    _row(
        "modalities.audio",
        "modalities with audio, responseModalities AUDIO",
        dropped="openai-compatible responses",
        refused=_at("modalities", "anthropic bedrock cohere mistral ollama"),
        why="A client that wants sound gets none from text models.",
    ),
    _row(
        "cache_key",
        "prompt_cache_key",
        dropped="openai-compatible anthropic gemini bedrock cohere ollama",
        why="A hint to the provider's own cache.",
    ),
    _row(
        "cache",
        "cache_control, cachePoint",
        dropped="openai openai-reasoning openai-compatible responses gemini cohere "
        "mistral ollama",
        why="Cached by themselves there, or not at all.",
    ),
    _row(
        "name",
        "name of a message",
        dropped="responses anthropic gemini bedrock cohere ollama",
        why="No place for it.",
    ),
    _row("image.data", "pictures as base64"),
    _row(
        "image.url",
        "pictures by address",
        refused=_at(_PART, "bedrock ollama"),
        why="The provider opens no address, and the gateway fetches none for it.",
    ),
    _row(
        "image.file_id",
        "pictures by a file's id",
        refused={
            **_at(_PART, "anthropic bedrock cohere ollama"),
            "gemini": "contents",
        },
        why="An id is known where the file was stored, and nowhere else.",
    ),
    _row(
        "file.data",
        "documents as base64",
        refused=_at(_PART, "cohere ollama"),
        why="No documents there.",
    ),
    _row(
        "file.url",
        "documents by address",
        refused=_at(_PART, "bedrock cohere ollama"),
        why="As pictures by address.",
    ),
    _row("file.text", "documents of plain text", why="As text where there are none."),
    _row(
        "file.file_id",
        "documents by a file's id",
        refused={
            **_at(_PART, "anthropic bedrock cohere ollama"),
            "gemini": "contents",
        },
        why="As pictures by a file's id.",
    ),
    _row(
        "audio",
        "sound in a message",
        refused=_at(_PART, "anthropic cohere ollama"),
        why="These models do not hear.",
    ),
    _row(
        "extra",
        "any other field of the client's dialect",
        dropped=" ".join(TARGETS),
        why="Without a word in the common vocabulary it has none elsewhere. Between "
        "the same dialects every field passes.",
    ),
)

_SIGNS: Final[Mapping[Verdict, str]] = {
    "mapped": "yes",
    "dropped": "no",
    "refused": "**400**",
}

_INTRO: Final = """\
# Fields across dialects

What becomes of a field when client and provider speak different dialects. Between the
same dialects bytes pass and nothing here applies.

- **yes**: told in the provider's own words.
- **no**: left out; the answer is the one asked for, tuned differently.
- **400**: refused, with the field in `param`: without it the answer would be another
  one than was asked for. Another candidate of the route is not tried.

This page is written by `python -m wire.field_policies`; tests hold every dialect to it.
"""


def render() -> str:
    """The table for the docs."""
    lines = [_INTRO]
    lines += ["| Field | " + " | ".join(TARGETS) + " |"]
    lines += ["|---|" + "---|" * len(TARGETS)]
    for row in POLICIES:
        signs = " | ".join(_SIGNS[row.verdict(target)] for target in TARGETS)
        lines.append(f"| {row.told} | {signs} |")
    lines += ["", "## Targets", ""]
    lines += [f"- `{name}`: {told}" for name, told in TARGETS.items()]
    lines += ["", "## Why", ""]
    lines += [f"- {row.told}: {row.why}" for row in POLICIES if row.why]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
