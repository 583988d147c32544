"""What each kind of provider is like where the operator says nothing.

A kind is listed here when the gateway can serve it, and not before: a configuration
that names another is refused at start rather than at the first request.
"""

from __future__ import annotations

from typing import Final, Literal

import attrs

OnAbort = Literal["cancel", "drain"]


@attrs.frozen
class Kind:
    """Defaults of a kind. `on_abort`: does cancelling a call stop its bill?"""

    base_url: str
    key_env: str
    on_abort: OnAbort
    doc: str


KINDS: Final[dict[str, Kind]] = {
    "openai": Kind(
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
        "cancel",  # Billing stops when the call is cancelled.
        "OpenAI and everything that speaks its chat completions",
    ),
    "simulated": Kind("", "", "cancel", "the built-in model, for trying things out"),
}
