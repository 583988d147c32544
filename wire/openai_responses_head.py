"""The top level of a Responses request: what router, ledger and relay need of it.

Items stay bytes; nothing below the top level is parsed. Pure.
"""

import msgspec

from wire import checks
from wire.dialect import Head, Need
from wire.jsontext import decode_client, given
from wire.openai_chat_head import PREFIX_BYTES_MAX, media_sizes
from wire.openai_responses_body import InTop

_top = msgspec.json.Decoder(InTop)


def read_head(body: bytes) -> Head:
    """Look at the top level. Raises ClientError."""
    top = decode_client(_top, body)
    checks.model(top.model)
    bound = top.max_output_tokens
    if bound is not None:
        checks.integer(bound, "max_output_tokens", 1, checks.TOKENS_MAX)
    tools, schema = given(top.tools), given(top.text)
    prompt, instructions = given(top.input), given(top.instructions)
    needs: set[Need] = set()
    if len(tools) > 2:
        needs.add("tools")
    if b'"json_schema"' in schema:
        needs.add("json_schema")
    if top.reasoning is not None and top.reasoning.effort not in {None, "none"}:
        needs.add("reasoning")
    for word, need in _MEDIA_NEEDS:
        if word in prompt:
            needs.add(need)
    return Head(
        model=top.model,
        stream=bool(top.stream),
        include_usage=True,
        max_output_tokens=bound,
        prompt_bytes=len(prompt) + len(instructions) + len(tools) + len(schema),
        media_bytes=media_sizes(prompt) if needs & {"images", "files"} else 0,
        prefix=b"".join((tools, instructions, prompt))[:PREFIX_BYTES_MAX],
        needs=frozenset(needs),
        user=top.user,
        service_tier=top.service_tier,
        previous_response_id=top.previous_response_id,
    )


_MEDIA_NEEDS: tuple[tuple[bytes, Need], ...] = (
    (b'"input_image"', "images"),
    (b'"input_file"', "files"),
    (b'"input_audio"', "audio"),
)
