"""OpenAI embeddings: recorded answers, both forms of a vector, both directions."""

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import recordings_reader
from tests.recordings_cases import Case
from tests.support_recordings import cases, names
from tests.wire.test_openai_chat_stream import flavour_of
from wire.dialect import ClientError, Target
from wire.embeddings import EmbedResult, Vector
from wire.events import Fault, Usage
from wire.openai_embeddings import EMBEDDINGS, to_base64, to_floats

RECORDED = [
    c
    for c in cases(operation="embeddings", ok=True)
    if b'"object"' in c.body and b'"list"' in c.body
]
TARGET = Target(model="up", flavour="openai")


@pytest.mark.parametrize("case", RECORDED, ids=names(RECORDED))
def test_recorded_answer_is_read_and_relayed(case: Case) -> None:
    expected = recordings_reader.read(case)
    result = EMBEDDINGS.parse_embed(200, {}, case.body, target_of(case))
    assert isinstance(result, EmbedResult)
    assert len(result.vectors) == expected.vectors
    reading = EMBEDDINGS.relay_response(200, {}, case.body)
    assert reading.out == case.body
    if expected.usage is not None:
        assert reading.usage is not None
        assert reading.usage == result.usage
        assert reading.usage.prompt == expected.usage.prompt


@pytest.mark.parametrize("case", RECORDED, ids=names(RECORDED))
@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_recorded_answer_is_rendered_in_the_form_asked_for(
    case: Case, encoding: str
) -> None:
    result = EMBEDDINGS.parse_embed(200, {}, case.body, target_of(case))
    assert isinstance(result, EmbedResult)
    asked = {"model": "m", "input": "x", "encoding_format": encoding}
    request = EMBEDDINGS.parse_request(json.dumps(asked).encode(), {})
    answer = json.loads(EMBEDDINGS.render_response(result, request, "m"))
    theirs = [item["embedding"] for item in json.loads(case.body)["data"]]
    for mine, original in zip(answer["data"], theirs, strict=True):
        numbers = numbers_of(mine["embedding"])
        int8 = flavour_of(case).int8_vectors
        assert isinstance(mine["embedding"], list) == (encoding == "float")
        assert numbers == pytest.approx(numbers_of(original, int8), rel=1e-6)


def target_of(case: Case) -> Target:
    return Target(model="up", flavour=flavour_of(case).name)


def numbers_of(embedding: Any, int8: bool = False) -> list[float]:
    if isinstance(embedding, list):
        return embedding
    packed = base64.b64decode(embedding)
    if int8:
        return list(struct.unpack(f"<{len(packed)}b", packed))
    return list(struct.unpack(f"<{len(packed) // 4}f", packed))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_float32_survives_both_forms(numbers: list[float]) -> None:
    packed = base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers))
    assert to_base64(to_floats(packed)) == packed


@pytest.mark.parametrize(
    ("given_input", "inputs"),
    [
        ("a", ("a",)),
        (["a", "b"], ("a", "b")),
        ([1, 2], ((1, 2),)),
        ([[1], [2, 3]], ((1,), (2, 3))),
    ],
)
def test_every_shape_of_input_is_understood(
    given_input: Any, inputs: tuple[Any, ...]
) -> None:
    body = json.dumps({"model": "m", "input": given_input, "x": 1}).encode()
    request = EMBEDDINGS.parse_request(body, {})
    assert request.inputs == inputs
    sent = json.loads(EMBEDDINGS.build_embed(request, TARGET).body)
    assert sent["model"] == "up"
    assert sent["x"] == 1
    forwarded = EMBEDDINGS.forward_request(
        body, {}, EMBEDDINGS.read_head(body, {}), TARGET
    )
    assert json.loads(forwarded.body) == {"model": "up", "input": given_input, "x": 1}
    assert forwarded.path == "/embeddings"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "m"}, "input"),
        ({"model": "m", "input": []}, "input"),
        ({"model": "m", "input": [1, "a"]}, "input[0]"),
        ({"model": "m", "input": ["a"] * 3000}, "input"),
        ({"model": "m", "input": "a", "dimensions": 0}, "dimensions"),
        ({"model": "m", "input": "a", "encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_a_faulty_request_names_the_field(body: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        EMBEDDINGS.parse_request(json.dumps(body).encode(), {})
    assert caught.value.param == param


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"data":[{"embedding":"%%"}]}',
        b'{"data":[{"embedding":[1,"x"]}]}',
        b'{"data":[{"embedding":"QUE="}]}',
    ],
)
def test_an_answer_without_vectors_is_a_fault(body: bytes) -> None:
    assert isinstance(EMBEDDINGS.parse_embed(200, {}, body, TARGET), Fault)


def test_vectors_come_in_the_order_of_their_indexes() -> None:
    body = b'{"data":[{"index":1,"embedding":[1]},{"index":0,"embedding":[0]}]}'
    result = EMBEDDINGS.parse_embed(200, {}, body, TARGET)
    assert isinstance(result, EmbedResult)
    assert result.vectors == (Vector(b"[0]"), Vector(b"[1]"))


def test_model_is_renamed_and_usage_read_on_the_way() -> None:
    body = b'{"data":[],"model":"up","usage":{"prompt_tokens":4,"total_tokens":4}}'
    reading = EMBEDDINGS.relay_response(200, {}, body, model="mine")
    assert json.loads(reading.out)["model"] == "mine"
    assert reading.usage == Usage(prompt=4, total_reported=4)
