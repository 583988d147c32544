"""OpenAI's embeddings, `/v1/embeddings`, client and provider: `EMBEDDINGS`.

Same dialect on both sides: the body passes with its model changed and its usage read.
Else through `wire.embeddings`; a vector is converted between a JSON list and base64
only where the client asked for the other form.

Sans-io, stateless.
"""

import base64
import binascii
import math
from array import array
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from wire import checks
from wire.dialect import (
    ClientError,
    ErrorResponse,
    Head,
    Headers,
    Reading,
    Target,
    UpstreamRequest,
    malformed,
)
from wire.embeddings import EmbedRequest, EmbedResult, Vector
from wire.errors import classify
from wire.events import Fault, Usage
from wire.flavours import flavour
from wire.jsontext import (
    JSON_ERRORS,
    NULL,
    decode_client,
    decode_fields,
    decode_object,
    encode,
    given,
)
from wire.openai_errors import render_error
from wire.openai_upstream import upstream
from wire.usage import from_openai

SOURCE = "openai_embeddings"


INPUTS_MAX = 2048
"""OpenAI's own bound on the inputs of one call."""


class _Body(Struct):
    model: str
    input: str | list[str | int | list[int]]
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None
    input_type: str | None = None
    user: str | None = None


class _Top(Struct):
    model: str
    input: Raw
    user: str | None = None


class _Item(Struct):
    embedding: Raw
    index: int | None = None


class _Answer(Struct):
    data: list[_Item]
    model: str | None = None
    usage: Raw = NULL


_body = msgspec.json.Decoder(_Body)
_top = msgspec.json.Decoder(_Top)
_answer = msgspec.json.Decoder(_Answer)
_floats = msgspec.json.Decoder(list[float])
_KNOWN = frozenset(f.name for f in msgspec.structs.fields(_Body))


class OpenAIEmbeddings:
    """Client, provider and relay of OpenAI embeddings."""

    name = SOURCE

    def read_head(self, body: bytes, headers: Headers) -> Head:
        """Look at the top level only. Raises ClientError."""
        del headers
        top = decode_client(_top, body)
        checks.model(top.model)
        return Head(
            model=top.model,
            max_output_tokens=0,
            prompt_bytes=len(given(top.input)),
            user=top.user,
        )

    def parse_request(self, body: bytes, headers: Headers) -> EmbedRequest:
        """Parse and check everything. Raises ClientError."""
        del headers
        read = decode_client(_body, body)
        checks.model(read.model)
        fields = decode_fields(body)
        return EmbedRequest(
            model=read.model,
            inputs=_inputs(read.input),
            source=SOURCE,
            dimensions=(
                None
                if read.dimensions is None
                else checks.integer(read.dimensions, "dimensions", 1, 2**20)
            ),
            encoding=read.encoding_format or "float",
            input_type=read.input_type,
            user=read.user,
            extra={
                name: bytes(raw)
                for name, raw in fields.items()
                if name not in _KNOWN and raw != NULL
            },
        )

    def render_response(
        self, result: EmbedResult, request: EmbedRequest, model: str
    ) -> bytes:
        """The body of a 200, each vector in the form that the client asked for."""
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": Raw(_in_form(vector, request.encoding)),
            }
            for index, vector in enumerate(result.vectors)
        ]
        usage = result.usage or Usage()
        counts = {"prompt_tokens": usage.prompt, "total_tokens": usage.prompt}
        answer = {"object": "list", "data": data, "model": model, "usage": counts}
        return encode(answer)

    def render_error(self, fault: Fault) -> ErrorResponse:
        """An error in the client's dialect."""
        return render_error(fault)

    def build_embed(self, request: EmbedRequest, target: Target) -> UpstreamRequest:
        """See `EmbedProvider`."""
        fields: dict[str, Any] = {
            "dimensions": request.dimensions,
            "encoding_format": (
                request.encoding if request.encoding != "float" else None
            ),
            "input_type": request.input_type,
            "user": request.user,
        }
        if request.source == SOURCE:
            fields |= {name: Raw(raw) for name, raw in request.extra.items()}
        row = flavour(target.flavour)
        if row.int8_vectors:
            del fields["encoding_format"]
        body = {"model": target.model, "input": request.inputs} | {
            name: value
            for name, value in fields.items()
            if value is not None and name not in row.refused | row.lacks
        }
        return upstream(row.embeddings_path, encode(body), row, target, {})

    def parse_embed(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> EmbedResult | Fault:
        """See `EmbedProvider`."""
        source = target.flavour or self.name
        if not 200 <= status < 300:
            return classify(source, status, headers, body)
        try:
            answer = _answer.decode(body)
        except JSON_ERRORS:
            if "error" in (decode_object(body) or {}):
                return classify(source, 502, headers, body)
            return malformed(source, "the answer holds no embeddings")
        int8 = flavour(target.flavour).int8_vectors
        vectors = [_vector(item.embedding, int8=int8) for item in answer.data]
        if None in vectors:
            return malformed(source, "an embedding is neither numbers nor base64")
        order = sorted(
            enumerate(answer.data),
            key=lambda item: item[0] if item[1].index is None else item[1].index,
        )
        counts = decode_object(answer.usage)
        return EmbedResult(
            model=answer.model or target.model,
            vectors=tuple(v for at, _ in order if (v := vectors[at]) is not None),
            usage=from_openai(counts) if counts else None,
        )

    def classify_error(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> Fault:
        """A non-2xx answer."""
        return classify(target.flavour or self.name, status, headers, body)

    def forward_request(
        self, body: bytes, headers: Headers, head: Head, target: Target
    ) -> UpstreamRequest:
        """The client's body with the target's model; the rest keeps its bytes."""
        del head
        row = flavour(target.flavour)
        fields: dict[str, Any] = dict(decode_fields(body))
        fields["model"] = target.model
        for name in row.refused & fields.keys():
            del fields[name]
        return upstream(row.embeddings_path, encode(fields), row, target, headers)

    def relay_response(
        self, status: int, headers: Headers, body: bytes, *, model: str | None = None
    ) -> Reading:
        """The answer as it came, its usage read, its model renamed when asked."""
        if not 200 <= status < 300:
            return Reading(fault=classify(self.name, status, headers, body))
        try:
            answer = _answer.decode(body)
        except JSON_ERRORS:
            fault = self.parse_embed(status, headers, body, Target(model=""))
            assert isinstance(fault, Fault)
            return Reading(fault=fault)
        counts = decode_object(answer.usage)
        if model is not None and answer.model != model:
            fields = decode_fields(body)
            fields["model"] = Raw(encode(model))
            body = encode(fields)
        usage = from_openai(counts) if counts else None
        return Reading(out=body, content=True, usage=usage, done=True, events=1)


def _inputs(
    read: str | list[str | int | list[int]],
) -> tuple[str | tuple[int, ...], ...]:
    """One text, one token list, or many of either."""
    if isinstance(read, str):
        return (read,)
    if not read:
        raise checks.empty("input")
    numbers = [item for item in read if isinstance(item, int)]
    if len(numbers) == len(read):
        return (tuple(numbers),)
    checks.integer(len(read), "input", 1, INPUTS_MAX)
    inputs: list[str | tuple[int, ...]] = []
    for position, item in enumerate(read):
        if isinstance(item, int):
            raise ClientError(
                f"Invalid 'input[{position}]': texts and tokens cannot be mixed.",
                param=f"input[{position}]",
                code="invalid_type",
            )
        inputs.append(item if isinstance(item, str) else tuple(item))
    return tuple(inputs)


def _vector(raw: Raw, *, int8: bool) -> Vector | None:
    """The vector, once it is known to be one: converting it later must not fail."""
    data = bytes(raw).strip()
    try:
        if data.startswith(b'"'):
            data = data.strip(b'"')
            if int8:
                return Vector(int8_to_floats(data))
            packed = base64.b64decode(data, validate=True)
            return Vector(data, "base64") if len(packed) % 4 == 0 else None
        _floats.decode(data)
    except (binascii.Error, ValueError, *JSON_ERRORS):
        return None
    return Vector(data)


def _in_form(vector: Vector, encoding: str) -> bytes:
    """The vector as JSON in the form asked for."""
    if encoding == "base64":
        data = vector.data
        if vector.encoding == "float":
            data = to_base64(data)
        return b'"' + data + b'"'
    return vector.data if vector.encoding == "float" else to_floats(vector.data)


def to_base64(numbers: bytes) -> bytes:
    """A JSON list of numbers as base64 of little-endian float32."""
    packed = array("f", _floats.decode(numbers))
    if array("H", [1]).tobytes() == b"\0\1":  # pragma: no cover - a big-endian machine
        packed.byteswap()
    return base64.b64encode(packed.tobytes())


def to_floats(packed: bytes) -> bytes:
    """Base64 of little-endian float32 as a JSON list of numbers."""
    numbers = array("f")
    numbers.frombytes(base64.b64decode(packed, validate=True))
    if array("H", [1]).tobytes() == b"\0\1":  # pragma: no cover - a big-endian machine
        numbers.byteswap()
    return b"[" + b",".join(map(_number, numbers)) + b"]"


def _number(value: float) -> bytes:
    """A float32 as JSON: nine digits name it exactly, more would be noise."""
    if not math.isfinite(value):
        return b"null"  # JSON has no word for it, and 0 would be a lie.
    return b"-0.0" if f"{value:.9g}" == "-0" else f"{value:.9g}".encode()


def int8_to_floats(packed: bytes) -> bytes:
    """Base64 of signed bytes (Perplexity's vectors) as a JSON list of numbers."""
    numbers = array("b", base64.b64decode(packed, validate=True))
    return encode(numbers.tolist())


EMBEDDINGS = OpenAIEmbeddings()
