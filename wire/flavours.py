"""How servers that "speak OpenAI" differ: one row of data each.

A new server is a row here, never a branch in a codec. Evidence for each quirk is
recorded traffic, the vendor's pages or a threaded bug report; guesses are left out,
since the neutral row ("openai-compatible") already works with an unknown server.

Pure data. `wire.openai_chat` reads it.
"""

from typing import Literal

from msgspec import Struct

from wire.dialect import AuthScheme
from wire.events import FinishReason

ReasoningField = Literal["reasoning_content", "reasoning"]
ReasoningStyle = Literal["effort", "object", "thinking", "enable_thinking", "none"]


class Flavour(Struct, frozen=True, kw_only=True):
    """One OpenAI-compatible server.

    Args:
        name: what a configuration calls it.
        base_url: where it lives, for a configuration that does not say.
        auth: how its key is sent.
        stream_options: it takes `stream_options.include_usage`. Where not, usage comes
            on its own accord (`usage_always`) or not at all.
        usage_always: a stream ends with usage whether asked or not.
        max_tokens: the field that bounds the answer.
        developer_role: it knows the role; where not, `system` is sent.
        json_schema: it takes response_format json_schema; where not, json_object.
        parallel_tool_calls: it takes the field.
        refused: fields that make it answer 400; left out when we build a request.
        renamed: fields it calls by another name.
        reasoning_in: the field earlier thoughts are sent back in; None: not at all.
        reasoning_style: how a wish for thinking is said.
        finish: finish reasons of its own, beside OpenAI's.
        top_k: it takes `top_k`.
        cache_control: it takes cache marks on parts.
        done_marker: its streams end with `[DONE]`; where not, with the connection.
        tool_choice_required: its word for "any tool"; Mistral says "any".
        int8_vectors: its base64 embeddings are signed bytes, not float32.
    """

    name: str
    base_url: str = ""
    auth: AuthScheme = "bearer"
    stream_options: bool = True
    usage_always: bool = False
    max_tokens: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    developer_role: bool = False
    json_schema: bool = True
    parallel_tool_calls: bool = True
    refused: frozenset[str] = frozenset()
    renamed: tuple[tuple[str, str], ...] = ()
    reasoning_in: ReasoningField | None = None
    reasoning_style: ReasoningStyle = "effort"
    finish: tuple[tuple[str, FinishReason | Literal["error"]], ...] = ()
    top_k: bool = False
    cache_control: bool = False
    done_marker: bool = True
    tool_choice_required: str = "required"
    int8_vectors: bool = False


_LEGACY = frozenset({"metadata", "store", "service_tier", "verbosity", "modalities"})
"""Fields of OpenAI's own that strict servers take for a mistake."""

_ROWS = (
    Flavour(
        name="openai",
        base_url="https://api.openai.com/v1",
        max_tokens="max_completion_tokens",
        developer_role=True,
        refused=frozenset({"top_k"}),
    ),
    Flavour(
        name="azure",
        auth="api-key",
        max_tokens="max_completion_tokens",
        developer_role=True,
        refused=frozenset({"top_k"}),
    ),
    Flavour(
        name="openai-compatible",
        refused=_LEGACY,
        top_k=True,
    ),
    Flavour(
        name="groq",
        base_url="https://api.groq.com/openai/v1",
        usage_always=True,
        max_tokens="max_completion_tokens",
        reasoning_in="reasoning",
        refused=frozenset({"logprobs", "top_logprobs", "logit_bias", "modalities"}),
        done_marker=False,  # Not after an error.
    ),
    Flavour(
        name="deepseek",
        base_url="https://api.deepseek.com",
        reasoning_in="reasoning_content",
        reasoning_style="thinking",
        json_schema=False,
        parallel_tool_calls=False,
        refused=_LEGACY | {"seed", "n"},
        finish=(("insufficient_system_resource", "error"),),
    ),
    Flavour(
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        usage_always=True,
        reasoning_in="reasoning",
        reasoning_style="object",
        developer_role=True,
        top_k=True,
        cache_control=True,
        refused=frozenset({"store"}),
    ),
    Flavour(
        name="xai",
        base_url="https://api.x.ai/v1",
        usage_always=True,
        reasoning_in="reasoning_content",
        refused=_LEGACY,
    ),
    Flavour(
        name="together",
        base_url="https://api.together.xyz/v1",
        reasoning_in="reasoning",
        finish=(("eos", "stop"),),
        refused=_LEGACY,
        top_k=True,
    ),
    Flavour(
        name="fireworks",
        base_url="https://api.fireworks.ai/inference/v1",
        usage_always=True,
        reasoning_in="reasoning_content",
        refused=_LEGACY | {"seed"},
        top_k=True,
    ),
    Flavour(
        name="cerebras",
        base_url="https://api.cerebras.ai/v1",
        max_tokens="max_completion_tokens",
        reasoning_in="reasoning",
        refused=_LEGACY | {"presence_penalty", "frequency_penalty", "logit_bias"},
        done_marker=False,
    ),
    Flavour(
        name="perplexity",
        int8_vectors=True,
        base_url="https://api.perplexity.ai",
        stream_options=False,
        usage_always=True,
        parallel_tool_calls=False,
        refused=_LEGACY | {"stop", "seed", "n", "tools", "tool_choice", "logprobs"},
        top_k=True,
        done_marker=False,
    ),
    Flavour(
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        stream_options=False,  # Refused with 422; usage comes anyway.
        usage_always=True,
        refused=_LEGACY | {"user", "logprobs", "top_logprobs", "logit_bias"},
        renamed=(("seed", "random_seed"),),
        finish=(("model_length", "length"), ("error", "error")),
        tool_choice_required="any",
    ),
    Flavour(
        name="vllm",
        refused=_LEGACY,
        reasoning_in="reasoning_content",
        finish=(("abort", "error"),),
        top_k=True,
    ),
    Flavour(
        name="sglang",
        refused=_LEGACY,
        reasoning_in="reasoning_content",
        finish=(("abort", "error"), ("matched_stop", "stop")),
        top_k=True,
    ),
    Flavour(name="llamacpp", refused=_LEGACY, top_k=True),
    Flavour(
        name="lmstudio",
        base_url="http://127.0.0.1:1234/v1",
        auth="none",
        refused=_LEGACY,
        top_k=True,
    ),
    Flavour(
        name="ollama",
        base_url="http://127.0.0.1:11434/v1",
        auth="none",
        reasoning_in="reasoning",
        parallel_tool_calls=False,
        refused=_LEGACY | {"n", "logit_bias", "user"},
    ),
    Flavour(
        name="huggingface",
        base_url="https://router.huggingface.co/v1",
        reasoning_in="reasoning_content",
        finish=(("eos_token", "stop"), ("stop_sequence", "stop")),
        refused=_LEGACY,
        done_marker=False,  # Depends on which provider is behind the router.
    ),
    Flavour(
        name="gpustack",
        refused=_LEGACY,
        reasoning_in="reasoning_content",
        top_k=True,
        done_marker=False,
    ),
    Flavour(
        name="crusoe",
        refused=_LEGACY,
        reasoning_in="reasoning",
        top_k=True,
    ),
    Flavour(
        name="moonshot",
        base_url="https://api.moonshot.ai/v1",
        usage_always=True,
        reasoning_in="reasoning_content",
        reasoning_style="thinking",
        refused=_LEGACY | {"parallel_tool_calls"},
        parallel_tool_calls=False,
    ),
    Flavour(
        name="zai",
        base_url="https://api.z.ai/api/paas/v4",
        usage_always=True,
        reasoning_in="reasoning_content",
        reasoning_style="thinking",
        parallel_tool_calls=False,
        refused=_LEGACY
        | {"n", "seed", "presence_penalty", "frequency_penalty", "logprobs"},
        finish=(("sensitive", "content_filter"), ("network_error", "error")),
    ),
    Flavour(
        name="qwen",
        base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        reasoning_in="reasoning_content",
        reasoning_style="enable_thinking",
        refused=_LEGACY,
        top_k=True,
    ),
    Flavour(
        name="gemini-openai",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        refused=_LEGACY | {"seed", "logprobs", "logit_bias", "user"},
        parallel_tool_calls=False,
    ),
    Flavour(
        name="bedrock-mantle",
        reasoning_in="reasoning",
        refused=frozenset({"top_k"}),
    ),
)

FLAVOURS: dict[str, Flavour] = {row.name: row for row in _ROWS}

NEUTRAL = FLAVOURS["openai-compatible"]


def flavour(name: str) -> Flavour:
    """The row of this name; the neutral one for a server nobody described."""
    return FLAVOURS.get(name, NEUTRAL)


ANY = Flavour(
    name="openai-compatible",
    finish=tuple(pair for row in _ROWS for pair in row.finish),
)
"""Every server's finish words at once, where it does not matter which it was."""
