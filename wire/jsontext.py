"""JSON helpers that every dialect shares: the one place that knows msgspec's errors.

Never quotes the JSON it could not read: that is a prompt, or a key.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from wire.dialect import ClientError

T = TypeVar("T")

JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that msgspec raises on bytes from outside: malformed or of another shape, not
UTF-8, nested deeper than the interpreter's stack."""

NULL = Raw(b"null")
"""The default of raw fields, so that absent and null are one: compare with `==`.

`Raw | None` would not do: msgspec takes it for None alone."""

DIGITS_MAX = 15  # A number of so many is exact in every JSON reader there is.

_any = msgspec.json.Decoder()
_fields = msgspec.json.Decoder(dict[str, Raw])
_encoder = msgspec.json.Encoder()

encode = _encoder.encode


def decode_any(data: bytes | Raw) -> Any:
    """Any JSON. Raises one of JSON_ERRORS."""
    return _any.decode(data)


def decode_object(data: bytes | Raw) -> dict[str, Any] | None:
    """A JSON object, or None for everything else; never raises."""
    try:
        value = _any.decode(data)
    except JSON_ERRORS:
        return None
    return value if isinstance(value, dict) else None


def decode_fields(data: bytes) -> dict[str, Raw]:
    """The top level of an object, its values as the bytes they are.

    Raises one of JSON_ERRORS.
    """
    return _fields.decode(data)


def given(raw: Raw) -> bytes:
    """The bytes of a raw field; b"" where it was null or absent."""
    return b"" if raw == NULL else bytes(raw)


def text(value: Any) -> str:
    """A string, or "" for any other JSON value: optional fields never fail a 200."""
    return value if isinstance(value, str) else ""


def text_or_none(value: Any) -> str | None:
    """A non-empty string or None."""
    return value if isinstance(value, str) and value else None


def whole(text: str) -> int | None:
    """The number that a header or a field spells in ASCII digits; None of all else.

    `str.isdigit` is true of "²" too, which `int` refuses; and of more digits than it
    reads.
    """
    fits = text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX
    return int(text) if fits else None


def count(value: Any) -> int:
    """A token count: 0 for absent, null, negative or nonsense."""
    if type(value) is int:
        return value if 0 <= value < 2**53 else 0
    if value is None:
        return 0  # Most of the details that some provider might send.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0
    return max(int(value), 0) if value == value and abs(value) < 2**53 else 0  # noqa: PLR0124 - NaN


def mapping(value: Any) -> Mapping[str, Any]:
    """A JSON object or an empty one."""
    return value if isinstance(value, dict) else {}


def listing(value: Any) -> list[Any]:
    """A JSON array or an empty one."""
    return value if isinstance(value, list) else []


_BACKSLASH = 92  # As a number: see wire/sse.py.
_ESCAPES = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


def mended(data: bytes) -> bytes:
    """JSON in which each half of a surrogate pair is a replacement character.

    Some servers cut an answer within a character outside the BMP and write its halves
    as escapes of two events; by itself a half is no text (RFC 8259, 8.2). The same
    object where there is none, and for whatever is no JSON.
    """
    if _BACKSLASH not in data or not (b"\\ud" in data or b"\\uD" in data):
        return data
    return _ESCAPES.sub(
        lambda found: b"\\ufffd" if found[1] is not None else found[0], data
    )


_AT = re.compile(r" - at `\$?\.?([^`]*)`$")
_QUOTED = re.compile(r"Invalid (?:enum )?value .*")


def client_error(error: Exception, *, prefix: str = "") -> ClientError:
    """What a client is told when its body is not what it must be.

    msgspec names the path, which becomes `param`; values are never repeated.
    """
    if isinstance(error, msgspec.ValidationError):
        said = str(error)
        at = _AT.search(said)
        path = at.group(1) if at else ""
        param = _join(prefix, path) or None
        what = _QUOTED.sub("Unsupported value", _AT.sub("", said))
        where = f" for '{param}'" if param else ""
        missing = re.match(r"Object missing required field `([^`]*)`", what)
        if missing:
            param = _join(param or "", missing.group(1))
            return ClientError(
                f"Missing required parameter: '{param}'.",
                param=param,
                code="missing_required_parameter",
            )
        code = "invalid_value" if what.startswith("Unsupported") else "invalid_type"
        return ClientError(
            f"Invalid type{where}: {what}."
            if code == "invalid_type"
            else f"{what}{where}.",
            param=param,
            code=code,
        )
    if isinstance(error, RecursionError):
        return ClientError("The body is nested too deeply.", code="invalid_json")
    return ClientError(
        "We could not parse the JSON body of your request. It must be one JSON object "
        "in UTF-8.",
        code="invalid_json",
    )


def _join(prefix: str, path: str) -> str:
    if not prefix or not path:
        return prefix or path
    return f"{prefix}{path}" if path.startswith("[") else f"{prefix}.{path}"


def decode_client(
    decoder: "msgspec.json.Decoder[T]", data: bytes | Raw, *, prefix: str = ""
) -> T:
    """Decode what a client sent. Raises ClientError with the path of the fault."""
    if not isinstance(data, Raw) and not data.isascii():
        # What a struct skips it does not check, and would raise when it is read later.
        try:
            data.decode()
        except UnicodeDecodeError as error:
            raise client_error(error) from None
    try:
        return decoder.decode(data)
    except JSON_ERRORS as error:
        raise client_error(error, prefix=prefix) from None
