"""The built-in model's vectors: shaped as OpenAI's, the same each time."""

from __future__ import annotations

import base64
import math
from array import array
from typing import Any

import httpx
import pytest

from actors.provider.simulated import DIMENSIONS, SimulatedModel

URL = "http://simulated.invalid/v1/embeddings"


async def embedded(**body: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=SimulatedModel()) as client:
        return await client.post(URL, json={"model": "simulated", **body})


async def test_a_text_has_one_vector_of_length_one_and_another_has_another() -> None:
    told = (await embedded(input=["Hello", "World", "Hello"])).json()
    first, other, again = (row["embedding"] for row in told["data"])

    assert [row["index"] for row in told["data"]] == [0, 1, 2]
    assert len(first) == DIMENSIONS
    assert math.hypot(*first) == pytest.approx(1, abs=1e-5)
    assert first == again != other
    assert told["usage"]["prompt_tokens"] == 6


async def test_base64_holds_the_same_numbers_as_little_endian_floats() -> None:
    """As OpenAI's own client asks for them, and unpacks them."""
    plain = (await embedded(input="Hello", dimensions=8)).json()
    packed = (
        await embedded(input="Hello", dimensions=8, encoding_format="base64")
    ).json()

    numbers = array("f", base64.b64decode(packed["data"][0]["embedding"]))
    assert numbers.tolist() == plain["data"][0]["embedding"]


@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1, 2, 3]]])
async def test_a_list_of_tokens_is_one_input(tokens: list[Any]) -> None:
    assert len((await embedded(input=tokens)).json()["data"]) == 1


@pytest.mark.parametrize("body", [{}, {"input": 7}, {"input": "x", "dimensions": 0}])
async def test_what_it_cannot_read_is_a_400(body: dict[str, Any]) -> None:
    assert (await embedded(**body)).status_code == 400
