"""Every dialect by name, and what each kind of provider speaks. Pure data.

No dialect knows another; this file knows all. A kind has one primary dialect, which any
client's request can be translated into, and perhaps others that are relayed as they are
when the client speaks the same.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from wire.anthropic import MESSAGES
from wire.bedrock import Bedrock
from wire.bedrock_embed import BedrockEmbed
from wire.bedrock_invoke import BedrockInvoke
from wire.cohere import Cohere
from wire.dialect import ProviderDialect
from wire.embeddings import EmbedProvider
from wire.flavours import FLAVOURS
from wire.gemini import PROVIDER as GEMINI
from wire.mistral import Mistral
from wire.ollama import Ollama
from wire.openai_chat import CHAT
from wire.openai_completions import COMPLETIONS
from wire.openai_embeddings import EMBEDDINGS
from wire.openai_responses import RESPONSES


class Speech(Struct, frozen=True):
    """How one kind of provider is spoken to.

    Args:
        primary: the dialect for clients of another one.
        natives: dialects that are relayed, by the client dialect's name.
        embedder: who builds embedding calls; None where it has none.
        flavour: the row of `wire.flavours`, where the primary is OpenAI's.
    """

    primary: ProviderDialect
    natives: Mapping[str, ProviderDialect]
    embedder: EmbedProvider | None = None
    flavour: str = ""

    def dialect_for(self, client: str) -> ProviderDialect:
        """The client's own dialect where it is native here, else the primary."""
        return self.natives.get(client, self.primary)


_OPENAI_ALL: Final = (CHAT, COMPLETIONS, RESPONSES)
_OPENAI_TEXT: Final = (CHAT, COMPLETIONS)

# What OpenAI-compatible servers offer beside chat. Where nothing is known, chat alone:
# a translated answer is better than a 404.
_BESIDE_CHAT: Final[Mapping[str, tuple[ProviderDialect, ...]]] = {
    "openai": _OPENAI_ALL,
    "azure": _OPENAI_ALL,
    "bedrock-mantle": _OPENAI_ALL,
    "openrouter": _OPENAI_ALL,
    "xai": (CHAT, RESPONSES),
    "vllm": _OPENAI_ALL,
    "llamacpp": _OPENAI_ALL,
    "lmstudio": _OPENAI_ALL,
    "sglang": _OPENAI_TEXT,
    "together": _OPENAI_TEXT,
    "fireworks": _OPENAI_TEXT,
    "ollama": _OPENAI_TEXT,
}


def _openai(flavour: str) -> Speech:
    natives = _BESIDE_CHAT.get(flavour, (CHAT,))
    return Speech(CHAT, {d.name: d for d in natives}, EMBEDDINGS, flavour)


def _single(
    dialect: ProviderDialect, embedder: EmbedProvider | None = None, flavour: str = ""
) -> Speech:
    return Speech(dialect, {dialect.name: dialect}, embedder, flavour)


_COHERE: Final = Cohere()
_MISTRAL: Final = Mistral()
_OLLAMA: Final = Ollama()

# Kinds whose own dialect is not OpenAI's. "ollama" is its native API; its /v1 is the
# kind "openai" at its address.
_OWN: Final[Mapping[str, Speech]] = {
    "anthropic": _single(MESSAGES),
    "gemini": _single(GEMINI),
    "vertex": _single(GEMINI, flavour="vertex"),
    "vertex-anthropic": _single(MESSAGES, flavour="vertex"),
    "bedrock": _single(Bedrock(), BedrockEmbed()),
    "bedrock-invoke": _single(BedrockInvoke(), BedrockEmbed()),
    "cohere": _single(_COHERE, _COHERE),
    "mistral": _single(_MISTRAL, _MISTRAL),
    "ollama": _single(_OLLAMA, _OLLAMA),
}

SPEECHES: Final[Mapping[str, Speech]] = {
    **{name: _openai(name) for name in FLAVOURS},
    **_OWN,
}
"""By kind, as configurations name them."""
