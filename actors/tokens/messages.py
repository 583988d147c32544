"""What the keeper of access tokens can be told.

Nothing hands out a token: the vault reads it where it reads keys, under the name that
`token_name` gives an account, and lends it like any other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from runtime import Request

if TYPE_CHECKING:
    from actors.tokens.actor import Tokens


def token_name(file: Path) -> str:
    """The name under which the vault finds this account's token.

    No environment variable can be called that: it has a colon.
    """
    return f"google:{file}"


class SetAccounts(Request["Tokens", None], frozen=True):
    """After a reload: whose tokens to have, and over which transport to ask."""

    accounts: dict[Path, httpx.AsyncBaseTransport]
