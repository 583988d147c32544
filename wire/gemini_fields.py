"""Reading Google's JSON: names in camel or snake case, numbers perhaps as strings.

Owns: typed looks into one object at a time, and errors that name the path as Google
does ("contents[0].parts[1]"). What is inside a client's schema or arguments is never
renamed: it stays raw. Never quotes a value. Pure.
"""

from typing import Any

import msgspec
from msgspec import Raw

from wire.dialect import ClientError
from wire.gemini_schema import camel
from wire.jsontext import JSON_ERRORS

_fields = msgspec.json.Decoder(dict[str, Raw])
_list = msgspec.json.Decoder(list[Raw])
_any = msgspec.json.Decoder()


def bad(where: str, why: str) -> ClientError:
    """Google's way to say which field is wrong."""
    place = f" at '{where}'" if where else ""
    return ClientError(
        f"Invalid JSON payload received. Invalid value{place}: {why}.",
        param=where or None,
    )


class Fields:
    """One JSON object of a client. What was not asked for stays in `rest`."""

    def __init__(self, raw: bytes | Raw, where: str = "") -> None:
        try:
            found = _fields.decode(raw)
        except JSON_ERRORS as error:
            if not where and not isinstance(error, msgspec.ValidationError):
                raise ClientError("The request body is not valid JSON.") from None
            raise bad(where, "expected an object") from None
        self.where = where
        self.rest = {camel(name): value for name, value in found.items()}
        if len(self.rest) != len(found):
            raise bad(where, "a field is given in both spellings")

    def __repr__(self) -> str:
        return f"<Fields {self.where or 'top'} {sorted(self.rest)}>"

    def path(self, name: str) -> str:
        """The path of a field."""
        return f"{self.where}.{name}" if self.where else name

    def raw(self, name: str) -> bytes:
        """A field as the bytes it is; b"" for absent and null."""
        value = self.rest.pop(name, None)
        text = b"" if value is None else bytes(value)
        return b"" if text == b"null" else text

    def _value(self, name: str) -> Any:
        text = self.raw(name)
        if not text:
            return None
        try:
            return _any.decode(text)
        except JSON_ERRORS:
            raise bad(self.path(name), "cannot be read") from None

    def text(self, name: str) -> str | None:
        """A string, or None."""
        value = self._value(name)
        if value is not None and not isinstance(value, str):
            raise bad(self.path(name), "expected a string")
        return value

    def flag(self, name: str) -> bool | None:
        """A boolean, or None."""
        value = self._value(name)
        if value is not None and not isinstance(value, bool):
            raise bad(self.path(name), "expected a boolean")
        return value

    def number(self, name: str) -> float | None:
        """A number, or None."""
        value = self._value(name)
        if value is None:
            return None
        if isinstance(value, str):
            try:
                return float(value)
            except ValueError:
                raise bad(self.path(name), "expected a number") from None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise bad(self.path(name), "expected a number")
        return float(value)

    def whole(self, name: str) -> int | None:
        """A whole number, or None."""
        value = self.number(name)
        if value is None:
            return None
        if not value.is_integer():
            raise bad(self.path(name), "expected a whole number")
        return int(value)

    def inner(self, name: str) -> "Fields | None":
        """An object inside, or None."""
        text = self.raw(name)
        return Fields(text, self.path(name)) if text else None

    def items(self, name: str) -> list[bytes]:
        """A list's items; one item alone counts as a list, as in protobuf's JSON."""
        text = self.raw(name)
        if not text:
            return []
        if not text.startswith(b"["):
            return [text]
        try:
            return [bytes(item) for item in _list.decode(text)]
        except JSON_ERRORS:
            raise bad(self.path(name), "expected a list") from None

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        out: list[str] = []
        for at, item in enumerate(self.items(name)):
            if not item.startswith(b'"'):
                raise bad(f"{self.path(name)}[{at}]", "expected a string")
            out.append(_any.decode(item))
        return tuple(out)
