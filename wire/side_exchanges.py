"""The question beside chat: embeddings, as `Exchange`s and as a client dialect.

Sans-io. Raises ClientError where the question cannot be put to this provider.
"""

from wire.completion import Completion
from wire.dialect import (
    ClientError,
    ErrorResponse,
    Head,
    Headers,
    Reader,
    Reading,
    Reply,
    StreamEncoder,
    Target,
    UpstreamRequest,
)
from wire.embeddings import EmbedProvider, EmbedRequest
from wire.events import Fault
from wire.exchange import Exchange
from wire.flavours import flavour
from wire.openai_embeddings import EMBEDDINGS, OpenAIEmbeddings
from wire.request import ChatRequest


class _Whole:
    """An exchange whose answer never streams."""

    upstream: UpstreamRequest

    def reader(self) -> Reader:
        """See `Exchange`."""
        raise AssertionError("this answer comes whole")


class EmbedRelayed(_Whole):
    """OpenAI's embeddings on both sides: the vectors pass as they are."""

    def __init__(
        self, body: bytes, headers: Headers, head: Head, target: Target, model: str
    ) -> None:
        self.upstream = EMBEDDINGS.forward_request(body, headers, head, target)
        self._target = target
        # The client is answered with the name it asked for, also behind an alias.
        self._model = None if model == target.model else model

    def unary(self, status: int, headers: Headers, body: bytes) -> Reading:
        """See `Exchange`."""
        if not 200 <= status < 300:
            return Reading(
                fault=EMBEDDINGS.classify_error(status, headers, body, self._target)
            )
        return EMBEDDINGS.relay_response(status, headers, body, model=self._model)


class EmbedTranslated(_Whole):
    """Another provider's embeddings, in OpenAI's shape."""

    def __init__(
        self,
        provider: EmbedProvider,
        request: EmbedRequest,
        target: Target,
        model: str,
    ) -> None:
        self.upstream = provider.build_embed(request, target)
        self._provider = provider
        self._request = request
        self._target = target
        self._model = model

    def unary(self, status: int, headers: Headers, body: bytes) -> Reading:
        """See `Exchange`."""
        result = self._provider.parse_embed(status, headers, body, self._target)
        if isinstance(result, Fault):
            return Reading(fault=result)
        out = EMBEDDINGS.render_response(result, self._request, self._model)
        return Reading(out=out, content=True, usage=result.usage, done=True, events=1)


class EmbedClient:
    """`ClientDialect` of OpenAI's embeddings, for who serves it like any other.

    An answer is never streamed and never translated from chat: what is asked only then
    is a bug of the asker.
    """

    name = EMBEDDINGS.name
    heartbeat = b""
    reads_sse = False
    stream_headers: tuple[tuple[str, str], ...] = ()

    def read_head(self, body: bytes, headers: Headers) -> Head:
        """See `ClientDialect`."""
        return EMBEDDINGS.read_head(body, headers)

    def parse_request(self, body: bytes, headers: Headers) -> ChatRequest:
        """Embeddings are no chat."""
        del body, headers
        raise AssertionError("embeddings are no chat")

    def stream_encoder(self, request: ChatRequest, reply: Reply) -> StreamEncoder:
        """Embeddings do not stream."""
        del request, reply
        raise AssertionError("embeddings do not stream")

    def render_response(
        self, completion: Completion, request: ChatRequest, reply: Reply
    ) -> bytes:
        """Embeddings are no chat."""
        del completion, request, reply
        raise AssertionError("embeddings are no chat")

    def render_error(self, fault: Fault) -> ErrorResponse:
        """See `ClientDialect`."""
        return EMBEDDINGS.render_error(fault)

    def error_event(self, fault: Fault) -> bytes:
        """None: embeddings do not stream, so no stream of theirs ends with one."""
        del fault
        return b""


EMBED_CLIENT = EmbedClient()


def open_embed(
    embedder: EmbedProvider | None,
    *,
    body: bytes,
    headers: Headers,
    head: Head,
    target: Target,
    model: str,
) -> Exchange:
    """Embeddings: relayed between OpenAI's shapes, else translated."""
    if embedder is None:
        raise ClientError(
            f"The provider of {model!r} has no embeddings; ask for another model.",
            param="model",
            code="unsupported_operation",
        )
    # Signed bytes that a client would decode as float32 cannot pass as they are.
    alike = not flavour(target.flavour).int8_vectors
    if isinstance(embedder, OpenAIEmbeddings) and alike:
        return EmbedRelayed(body, headers, head, target, model)
    request = EMBEDDINGS.parse_request(body, headers)
    return EmbedTranslated(embedder, request, target, model)
