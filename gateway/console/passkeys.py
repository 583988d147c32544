"""Passkeys (WebAuthn Level 3), over the `webauthn` package. Pure but for its checks.

Owns: what a browser is asked, and whether its answer is good. A challenge is made from
a secret that only this browser has (its session, or a cookie of five minutes), so no
state waits for an answer that never comes, and any worker can check it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from actors.people import Passkey, Person

RP_NAME: Final = "Stagedoor"
SLOT_MS: Final = 5 * 60 * 1000  # A challenge is good in its own slot and the next.
ANSWER_CHARS_MAX: Final = 16_384


class BadPasskey(ValueError):
    """The browser's answer proves nothing."""


@attrs.frozen
class Place:
    """Where the browser thinks it is: a passkey is of one host."""

    host: str
    origin: str


def place_of(headers: Mapping[str, str], scheme: str) -> Place:
    """From a request whose origin was checked."""
    host = headers.get("host", "")
    origin = headers.get("origin") or f"{scheme}://{host}"
    return Place(urlsplit(f"//{host}").hostname or "", origin)


def challenge(secret: bytes, purpose: str, slot: int) -> bytes:
    """What the authenticator signs."""
    return hmac.new(
        secret, f"passkey {purpose} {slot}".encode(), hashlib.sha256
    ).digest()


def registration(
    person: Person, known: Iterable[Passkey], place: Place, secret: bytes, now_ms: int
) -> str:
    """The options of a new passkey, as JSON for the browser."""
    options = generate_registration_options(
        rp_id=place.host,
        rp_name=RP_NAME,
        user_id=person.id.encode(),
        user_name=person.name,
        challenge=challenge(secret, "new", now_ms // SLOT_MS),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=k.id) for k in known],
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.PREFERRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
    )
    return options_to_json(options)


def register(
    answer: str,
    person: Person,
    name: str,
    *,
    place: Place,
    secret: bytes,
    now_ms: int,
) -> Passkey:
    """A new passkey. Raises BadPasskey."""
    given = _parsed(answer)
    for slot in _slots(now_ms):
        try:
            verified = verify_registration_response(
                credential=given,
                expected_challenge=challenge(secret, "new", slot),
                expected_rp_id=place.host,
                expected_origin=place.origin,
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, KeyError, TypeError):
            continue
        return Passkey(
            verified.credential_id,
            person.id,
            name,
            verified.credential_public_key,
            verified.sign_count,
            now_ms,
        )
    raise BadPasskey("the browser's answer could not be verified; try again")


def question(known: Iterable[Passkey], place: Place, secret: bytes, now_ms: int) -> str:
    """The options of a login; without `known` the browser offers what it has."""
    options = generate_authentication_options(
        rp_id=place.host,
        challenge=challenge(secret, "login", now_ms // SLOT_MS),
        allow_credentials=[PublicKeyCredentialDescriptor(id=k.id) for k in known],
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json(options)


def credential_of(answer: str) -> bytes:
    """Which passkey an answer is of. Raises BadPasskey."""
    try:
        return base64url_to_bytes(str(_parsed(answer)["rawId"]))
    except (KeyError, ValueError):
        raise BadPasskey("the browser's answer cannot be read") from None


def verify(
    answer: str, passkey: Passkey, place: Place, secret: bytes, now_ms: int
) -> int:
    """The authenticator's counter, of a good answer. Raises BadPasskey."""
    given = _parsed(answer)
    for slot in _slots(now_ms):
        try:
            verified = verify_authentication_response(
                credential=given,
                expected_challenge=challenge(secret, "login", slot),
                expected_rp_id=place.host,
                expected_origin=place.origin,
                credential_public_key=passkey.public_key,
                credential_current_sign_count=passkey.sign_count,
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, KeyError, TypeError):
            continue
        return verified.new_sign_count
    raise BadPasskey("the passkey could not be verified")


def _slots(now_ms: int) -> tuple[int, int]:
    slot = now_ms // SLOT_MS
    return slot, slot - 1


def _parsed(answer: str) -> dict[str, Any]:
    if len(answer) > ANSWER_CHARS_MAX:
        raise BadPasskey("the browser's answer is too long")
    try:
        found = json.loads(answer)
    except ValueError:
        raise BadPasskey("the browser's answer cannot be read") from None
    if not isinstance(found, dict):
        raise BadPasskey("the browser's answer cannot be read")
    return found
