"""What a browser may do with the Console's pages, and which requests are its own. Pure.

Owns: the headers of every answer, and the check of where a request comes from. Pages
hold no script and no style of their own, so the policy needs no exception.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = (
    ("content-security-policy", CSP),
    ("x-frame-options", "DENY"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=(), payment=()"),
)
PRIVATE: Final = (("cache-control", "no-store"),)
# The address of a file names its content, so it is never another.
FOR_EVER: Final = (("cache-control", "public, max-age=31536000, immutable"),)


def is_own(headers: Mapping[str, str]) -> bool:
    """Whether a page of ours sent this, as far as the browser tells.

    Sec-Fetch-Site and Origin are set by browsers and by no page (Fetch standard). One
    of them has to be there: a form without either comes from no browser of today.
    """
    site = headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        return False
    origin = headers.get("origin")
    if origin is None:
        return site is not None
    try:
        place = urlsplit(origin).netloc
    except ValueError:
        return False  # No browser sends one that is no address.
    return place.lower() == headers.get("host", "").lower()
