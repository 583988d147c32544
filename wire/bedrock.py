"""The dialect of Amazon Bedrock's Converse API, as a provider."""

from wire import bedrock_build as build
from wire.bedrock_read import ConverseReader
from wire.bedrock_stream import BedrockDecoder
from wire.bedrock_terms import SOURCE
from wire.counting import TokenCount
from wire.customtools import decoder_for
from wire.dialect import (
    Headers,
    StreamDecoder,
    Target,
    UpstreamRequest,
    malformed,
)
from wire.errors import classify
from wire.events import Event, Fault
from wire.jsontext import count, decode_object
from wire.request import ChatRequest


class Bedrock:
    """Converse, ConverseStream and CountTokens.

    Options of its target:

    - `auth`: "bearer" for a Bedrock API key; SigV4 otherwise.
    - `base_model`: the model behind an inference profile whose ARN does not name it.
    - `guardrail_id`, `guardrail_version`, `guardrail_trace`, `latency`.
    """

    name = SOURCE

    def build_request(self, request: ChatRequest, target: Target) -> UpstreamRequest:
        """See `ProviderDialect.build_request`."""
        return build.build_request(request, target)

    def stream_decoder(self, request: ChatRequest, target: Target) -> StreamDecoder:
        """See `ProviderDialect.stream_decoder`."""
        return decoder_for(request, BedrockDecoder(build.base_model(target)))

    def parse_response(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> list[Event]:
        """See `ProviderDialect.parse_response`."""
        if not 200 <= status < 300:
            return [self.classify_error(status, headers, body, target)]
        answer = decode_object(body)
        if answer is None:
            return [malformed(SOURCE, "an answer that is no JSON object")]
        return ConverseReader(build.base_model(target)).whole(answer)

    def classify_error(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> Fault:
        """See `ProviderDialect.classify_error`."""
        del target
        return classify(SOURCE, status, headers, body)

    def build_count(self, request: ChatRequest, target: Target) -> UpstreamRequest:
        """See `CountProvider.build_count`."""
        return build.build_count(request, target)

    def read_count(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> TokenCount | Fault:
        """See `CountProvider.read_count`."""
        if not 200 <= status < 300:
            return self.classify_error(status, headers, body, target)
        answer = decode_object(body)
        if answer is None or "inputTokens" not in answer:
            return malformed(SOURCE, "a count without inputTokens")
        return TokenCount(count(answer["inputTokens"]))
