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


OPENAIS_OWN = frozenset(
    {"metadata", "store", "service_tier", "verbosity", "modalities"}
)
"""Fields that only OpenAI's own servers are sure to know."""


class Flavour(Struct, frozen=True, kw_only=True):
    """One OpenAI-compatible server.

    Args:
        name: what a configuration calls it.
        base_url: where it lives, for a configuration that does not say.
        auth: how its key is sent.
        stream_options: it takes `stream_options.include_usage`. Where not, usage comes
            on its own accord.
        max_tokens: the field that bounds the answer.
        developer_role: it knows the role; where not, `system` is sent.
        json_schema: it takes response_format json_schema; where not, json_object.
        parallel_tool_calls: it takes the field.
        refused: fields that make it answer 400: they never reach it.
        lacks: fields it has no use for; left out of requests we build, passed on in
            those that a client wrote for it.
        renamed: fields it calls by another name.
        reasoning_in: the field earlier thoughts are sent back in; None: not at all.
        reasoning_style: how a wish for thinking is said.
        finish: finish reasons of its own, beside OpenAI's.
        top_k: it takes `top_k`.
        cache_control: it takes cache marks on parts.
        tool_choice_required: its word for "any tool"; Mistral says "any".
        int8_vectors: its base64 embeddings are signed bytes, not float32, and it has
            no other format to ask for.
        embeddings_path: where its embeddings are.
    """

    name: str
    base_url: str = ""
    auth: AuthScheme = "bearer"
    stream_options: bool = True
    max_tokens: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    developer_role: bool = False
    json_schema: bool = True
    parallel_tool_calls: bool = True
    refused: frozenset[str] = frozenset()
    lacks: frozenset[str] = OPENAIS_OWN
    renamed: tuple[tuple[str, str], ...] = ()
    reasoning_in: ReasoningField | None = None
    reasoning_style: ReasoningStyle = "effort"
    finish: tuple[tuple[str, FinishReason | Literal["error"]], ...] = ()
    top_k: bool = False
    cache_control: bool = False
    tool_choice_required: str = "required"
    int8_vectors: bool = False
    embeddings_path: str = "/embeddings"


_ROWS = (
    Flavour(
        name="openai",
        base_url="https://api.openai.com/v1",
        max_tokens="max_completion_tokens",
        developer_role=True,
        refused=frozenset({"top_k"}),
        lacks=frozenset(),
    ),
    Flavour(
        name="azure",
        auth="api-key",
        max_tokens="max_completion_tokens",
        developer_role=True,
        refused=frozenset({"top_k"}),
        lacks=frozenset(),
    ),
    Flavour(
        name="openai-compatible",
        top_k=True,
    ),
    Flavour(
        name="groq",
        base_url="https://api.groq.com/openai/v1",
        max_tokens="max_completion_tokens",
        reasoning_in="reasoning",
        refused=frozenset({"logprobs", "top_logprobs", "logit_bias"}),
        lacks=OPENAIS_OWN - {"service_tier"},
    ),
    Flavour(
        name="deepseek",
        base_url="https://api.deepseek.com",
        reasoning_in="reasoning_content",
        reasoning_style="thinking",
        json_schema=False,
        parallel_tool_calls=False,
        finish=(("insufficient_system_resource", "error"),),
    ),
    Flavour(
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        reasoning_in="reasoning",
        reasoning_style="object",
        developer_role=True,
        top_k=True,
        cache_control=True,
        lacks=frozenset({"store"}),
    ),
    Flavour(
        name="xai",
        base_url="https://api.x.ai/v1",
        reasoning_in="reasoning_content",
    ),
    Flavour(
        name="together",
        base_url="https://api.together.xyz/v1",
        reasoning_in="reasoning",
        finish=(("eos", "stop"),),
        top_k=True,
    ),
    Flavour(
        name="fireworks",
        base_url="https://api.fireworks.ai/inference/v1",
        reasoning_in="reasoning_content",
        top_k=True,
    ),
    Flavour(
        name="cerebras",
        base_url="https://api.cerebras.ai/v1",
        max_tokens="max_completion_tokens",
        reasoning_in="reasoning",
        refused=frozenset({"presence_penalty", "frequency_penalty", "logit_bias"}),
    ),
    Flavour(
        name="perplexity",
        int8_vectors=True,
        embeddings_path="/v1/embeddings",  # Beside /chat/completions without a version.
        base_url="https://api.perplexity.ai",
        stream_options=False,
        parallel_tool_calls=False,
        top_k=True,
    ),
    Flavour(
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        stream_options=False,  # Refused with 422; usage comes anyway.
        # It answers 422 to every field it does not know.
        refused=OPENAIS_OWN | {"user", "logprobs", "top_logprobs", "logit_bias"},
        renamed=(("seed", "random_seed"),),
        finish=(("model_length", "length"), ("error", "error")),
        tool_choice_required="any",
    ),
    Flavour(
        name="vllm",
        reasoning_in="reasoning_content",
        finish=(("abort", "error"),),
        top_k=True,
    ),
    Flavour(
        name="sglang",
        reasoning_in="reasoning_content",
        finish=(("abort", "error"), ("matched_stop", "stop")),
        top_k=True,
    ),
    Flavour(name="llamacpp", top_k=True),
    Flavour(
        name="lmstudio",
        base_url="http://127.0.0.1:1234/v1",
        auth="none",
        top_k=True,
    ),
    Flavour(
        name="ollama",
        base_url="http://127.0.0.1:11434/v1",
        auth="none",
        reasoning_in="reasoning",
        parallel_tool_calls=False,
    ),
    Flavour(
        name="huggingface",
        base_url="https://router.huggingface.co/v1",
        reasoning_in="reasoning_content",
        finish=(("eos_token", "stop"), ("stop_sequence", "stop")),
    ),
    Flavour(
        name="gpustack",
        reasoning_in="reasoning_content",
        top_k=True,
    ),
    Flavour(
        name="crusoe",
        reasoning_in="reasoning",
        top_k=True,
    ),
    Flavour(
        name="moonshot",
        base_url="https://api.moonshot.ai/v1",
        reasoning_in="reasoning_content",
        reasoning_style="thinking",
        parallel_tool_calls=False,
    ),
    Flavour(
        name="zai",
        base_url="https://api.z.ai/api/paas/v4",
        reasoning_in="reasoning_content",
        reasoning_style="thinking",
        parallel_tool_calls=False,
        finish=(("sensitive", "content_filter"), ("network_error", "error")),
    ),
    Flavour(
        name="qwen",
        base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        reasoning_in="reasoning_content",
        reasoning_style="enable_thinking",
        top_k=True,
    ),
    Flavour(
        name="gemini-openai",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
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
