"""Other providers' reasoning state through Anthropic clients, and their ids.

An Anthropic client sends back `signature` and redacted `data` untouched. Encrypted
reasoning of another provider therefore survives inside them, marked so that it is never
mistaken for Anthropic's own. Pure.
"""

import base64
import binascii
import re
from typing import Final

import msgspec

from wire.anthropic_schema import SOURCE
from wire.callids import fit_id
from wire.events import ProviderState

MARK: Final = "stagedoor1."
"""Anthropic's signatures are base64, which has no dot: no clash is possible."""

_ID = re.compile(r"[a-zA-Z0-9_-]+")


def carry(state: ProviderState) -> str:
    """Write any provider's state as a signature."""
    if state.source == SOURCE:
        return state.data
    packed = base64.urlsafe_b64encode(msgspec.json.encode(state))
    return MARK + packed.decode()


def uncarry(signature: str, kind: str = "signature") -> ProviderState | None:
    """Read a signature a client sent back; None where there was none.

    A damaged one of ours counts as none: the thought is lost, the turn is not.
    """
    if not signature:
        return None
    if not signature.startswith(MARK):
        return ProviderState(SOURCE, kind, signature)
    try:
        packed = base64.urlsafe_b64decode(signature.removeprefix(MARK))
        return msgspec.json.decode(packed, type=ProviderState)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return None


def tool_id(any_id: str) -> str:
    """Anthropic allows letters, digits, `_` and `-`; others put dots and colons in."""
    return fit_id(any_id, _ID, 24, "toolu_")
