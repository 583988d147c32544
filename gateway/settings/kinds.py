"""What each kind of provider is like where the operator says nothing.

A kind is listed here when the gateway can serve it, and not before: a configuration
that names another is refused at start rather than at the first request.
"""

from __future__ import annotations

from typing import Final, Literal

import attrs

OnAbort = Literal["cancel", "drain"]


@attrs.frozen
class Kind:
    """Defaults of a kind.

    Args:
        base_url: where it is; `{region}` and `{location}` are filled in from the
            provider's settings. Empty: every account has its own, name it.
        key_env: the variable its own tools read the key from.
        on_abort: does cancelling a call stop its bill? (`drain` where it does not, as
            published by OpenRouter; unlisted ones are settled at counted tokens.)
        doc: for the reference.
    """

    base_url: str
    key_env: str
    on_abort: OnAbort
    doc: str


KINDS: Final[dict[str, Kind]] = {
    "openai": Kind(
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
        "cancel",
        "OpenAI; at another base_url, any server that speaks its dialect",
    ),
    "openai-compatible": Kind(
        "", "", "cancel", "a server that speaks OpenAI's dialect, at its base_url"
    ),
    "azure": Kind(
        "", "AZURE_OPENAI_API_KEY", "cancel", "Azure OpenAI, at its base_url"
    ),
    "anthropic": Kind(
        "https://api.anthropic.com", "ANTHROPIC_API_KEY", "cancel", "Anthropic"
    ),
    "gemini": Kind(
        "https://generativelanguage.googleapis.com",
        "GEMINI_API_KEY",
        "drain",
        "Google AI Studio",
    ),
    "vertex": Kind(
        "https://{location}aiplatform.googleapis.com",
        "GOOGLE_ACCESS_TOKEN",
        "drain",
        "Google Vertex AI, with project and location",
    ),
    "vertex-anthropic": Kind(
        "https://{location}aiplatform.googleapis.com",
        "GOOGLE_ACCESS_TOKEN",
        "drain",
        "Claude on Google Vertex AI, with project and location",
    ),
    "bedrock": Kind(
        "https://bedrock-runtime.{region}.amazonaws.com",
        "AWS_SECRET_ACCESS_KEY",
        "drain",
        "AWS Bedrock, with region; signed, or with a bearer key",
    ),
    "bedrock-invoke": Kind(
        "https://bedrock-runtime.{region}.amazonaws.com",
        "AWS_SECRET_ACCESS_KEY",
        "drain",
        "the same by InvokeModel: all that Anthropic's API has, for Claude, and Nova; "
        "other models by Converse",
    ),
    "bedrock-mantle": Kind(
        "https://bedrock-mantle.{region}.api.aws/v1",
        "AWS_BEARER_TOKEN_BEDROCK",
        "drain",
        "Bedrock's OpenAI-shaped endpoint, with region",
    ),
    "cohere": Kind("https://api.cohere.com", "COHERE_API_KEY", "cancel", "Cohere v2"),
    "mistral": Kind(
        "https://api.mistral.ai/v1", "MISTRAL_API_KEY", "cancel", "Mistral"
    ),
    "groq": Kind("https://api.groq.com/openai/v1", "GROQ_API_KEY", "drain", "Groq"),
    "deepseek": Kind(
        "https://api.deepseek.com", "DEEPSEEK_API_KEY", "cancel", "DeepSeek"
    ),
    "openrouter": Kind(
        "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", "cancel", "OpenRouter"
    ),
    "xai": Kind("https://api.x.ai/v1", "XAI_API_KEY", "cancel", "xAI"),
    "together": Kind(
        "https://api.together.xyz/v1", "TOGETHER_API_KEY", "cancel", "Together"
    ),
    "fireworks": Kind(
        "https://api.fireworks.ai/inference/v1",
        "FIREWORKS_API_KEY",
        "cancel",
        "Fireworks",
    ),
    "cerebras": Kind(
        "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY", "cancel", "Cerebras"
    ),
    "perplexity": Kind(
        "https://api.perplexity.ai", "PERPLEXITY_API_KEY", "cancel", "Perplexity"
    ),
    "moonshot": Kind(
        "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY", "cancel", "Moonshot"
    ),
    "zai": Kind("https://api.z.ai/api/paas/v4", "ZAI_API_KEY", "cancel", "Z.AI"),
    "huggingface": Kind(
        "https://router.huggingface.co/v1",
        "HF_TOKEN",
        "cancel",
        "Hugging Face's router",
    ),
    "ollama": Kind(
        "http://127.0.0.1:11434", "", "cancel", "Ollama by its own API (NDJSON)"
    ),
    "vllm": Kind("", "", "cancel", "vLLM, at its base_url"),
    "sglang": Kind("", "", "cancel", "SGLang, at its base_url"),
    "llamacpp": Kind("", "", "cancel", "llama.cpp's server, at its base_url"),
    "lmstudio": Kind("http://127.0.0.1:1234/v1", "", "cancel", "LM Studio"),
    "simulated": Kind("", "", "cancel", "the built-in model, for trying things out"),
}


SIGNED: Final = frozenset({"bedrock", "bedrock-invoke"})
"""Kinds that AWS keys sign for."""


GOOGLES: Final = frozenset({"vertex", "vertex-anthropic"})
"""Kinds that are called in a Google project, with an access token."""

MULTI_REGIONS: Final = frozenset({"us", "eu"})
"""Of Claude on Vertex: their endpoints have another form of name."""


def base_url(kind: str, *, region: str, location: str) -> str:
    """Where a kind is, for an account's region or location."""
    if kind == "vertex-anthropic" and location in MULTI_REGIONS:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    # Vertex's global endpoint has no location in its name.
    place = "" if location in ("", "global") else f"{location}-"
    return KINDS[kind].base_url.format(region=region, location=place)
