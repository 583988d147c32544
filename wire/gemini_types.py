"""Google's schemas (a subset of OpenAPI 3.0) as JSON Schema. Pure.

Types come in capitals, null as a flag, counts as strings. Anything unknown stays.
"""

from typing import Any, Final

import msgspec

from wire.gemini_schema import camel
from wire.jsontext import JSON_ERRORS, whole

DEPTH_MAX: Final = 64
"""Deeper schemas are refused by every provider; this only bounds our recursion."""

_COUNTS: Final = frozenset(
    {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
)


def json_schema(raw: bytes) -> bytes:
    """The schema as other providers take it."""
    try:
        value = msgspec.json.decode(raw)
    except JSON_ERRORS:
        return raw
    return msgspec.json.encode(_schema(value, 0))


def _schema(value: Any, depth: int) -> Any:
    if not isinstance(value, dict) or depth > DEPTH_MAX:
        return value
    out: dict[str, Any] = {}
    for spelled, inner in value.items():
        name = camel(spelled)
        if name == "properties" and isinstance(inner, dict):
            out[name] = {key: _schema(sub, depth + 1) for key, sub in inner.items()}
        elif name in {"items", "additionalProperties"}:
            out[name] = _schema(inner, depth + 1)
        elif name in {"anyOf", "prefixItems"} and isinstance(inner, list):
            out[name] = [_schema(sub, depth + 1) for sub in inner]
        elif name == "type" and isinstance(inner, str):
            out[name] = inner.lower()
        elif name in _COUNTS and isinstance(inner, str):
            number = whole(inner)
            out[name] = inner if number is None else number
        elif name not in {"nullable", "propertyOrdering", "format"} or (
            name == "format" and inner != "enum"
        ):
            out[name] = inner
    if value.get("nullable") is True:
        _allow_null(out)
    return out


def _allow_null(schema: dict[str, Any]) -> None:
    kind = schema.get("type")
    if isinstance(kind, str) and kind != "null":
        schema["type"] = [kind, "null"]
    if "anyOf" in schema:
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    if "enum" in schema and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
