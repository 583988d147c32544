"""The vocabulary of embeddings, and what a dialect that offers them implements.

Vectors are big and we only carry them: an `EmbedResult` keeps each as JSON text or as
base64 of little-endian float32, whichever the provider sent, and the encoder converts
only where the client asked for the other. Pure.
"""

from typing import Literal, Protocol

from msgspec import Struct, field

from wire.dialect import ClientError, Headers, Target, UpstreamRequest
from wire.events import Fault, Usage

Encoding = Literal["float", "base64"]


class EmbedRequest(Struct, frozen=True):
    """Texts (or token lists) to embed."""

    model: str
    inputs: tuple[str | tuple[int, ...], ...]
    source: str
    dimensions: int | None = None
    encoding: Encoding = "float"
    input_type: str | None = None  # "search_query", "search_document", …
    user: str | None = None
    extra: dict[str, bytes] = field(default_factory=dict[str, bytes])

    def __repr__(self) -> str:
        """Sizes only: the texts are the client's."""
        return f"<EmbedRequest {self.model!r} inputs={len(self.inputs)}>"

    def texts(self, who: str) -> list[str]:
        """The inputs, for a provider that takes texts only. Raises ClientError."""
        texts = [text for text in self.inputs if isinstance(text, str)]
        if len(texts) != len(self.inputs):
            raise ClientError(f"{who} embeds texts, not token lists.", param="input")
        return texts


class Vector(Struct, frozen=True):
    """One embedding: a JSON list of numbers, or base64 of float32."""

    data: bytes
    encoding: Encoding = "float"


class EmbedResult(Struct, frozen=True):
    """The vectors, in the order of the inputs."""

    model: str
    vectors: tuple[Vector, ...]
    usage: Usage | None = None

    def __repr__(self) -> str:
        """Counts only; a vector is long and says much about its text."""
        return f"<EmbedResult {self.model!r} vectors={len(self.vectors)}>"


class EmbedProvider(Protocol):
    """A provider dialect that embeds."""

    def build_embed(self, request: EmbedRequest, target: Target) -> UpstreamRequest:
        """The provider's request. Raises ClientError for what it cannot express."""
        ...

    def parse_embed(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> EmbedResult | Fault:
        """The provider's answer; never raises on bytes from outside."""
        ...
