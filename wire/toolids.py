"""Carries a provider's state in a tool call's id, through clients that drop fields.

Gemini signs its tool calls and refuses the next turn without the signature; no client
of another dialect sends unknown fields back, but all send ids back. So an encoder of
another dialect packs the state into the id, and its request parser unpacks it.

The packed id uses only letters, digits, "_" and "-", which every dialect's ids allow.
Pure.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as BadBase64

import msgspec

from wire.events import ProviderState

MARK = "__st1_"
"""What a packed id holds: its own id, this mark, the state. The digit is a version."""

MARK_BYTES = MARK.encode()

_decoder = msgspec.json.Decoder(tuple[str, str, str, str])


def pack(call_id: str, state: ProviderState | None) -> str:
    """An id that holds the state as well; the id itself when there is none."""
    if state is None:
        return call_id
    packed = msgspec.json.encode((state.source, state.kind, state.data, state.id))
    return call_id + MARK + urlsafe_b64encode(packed).rstrip(b"=").decode()


def unpack(call_id: str) -> tuple[str, ProviderState | None]:
    """The id and state of a packed id; an id that is not ours comes back as it is."""
    own, mark, packed = call_id.rpartition(MARK)
    if not mark:
        return call_id, None
    try:
        padded = packed + "=" * (-len(packed) % 4)
        source, kind, data, state_id = _decoder.decode(urlsafe_b64decode(padded))
    except (BadBase64, msgspec.DecodeError, ValueError):
        return call_id, None
    return own, ProviderState(source, kind, data, state_id)
