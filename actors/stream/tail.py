"""What comes of a body after the end of its answer: nothing that anybody waits for.

Where the grammar says that an answer is complete (`[DONE]`, `message_stop`), it is. Its
body mostly ends in the same packet, and its connection then serves the next request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import httpx
import trio

TAIL_S: Final = 0.5  # For the body to end as well: a round trip, which saves a dial.


async def see_out(body: AsyncIterator[bytes]) -> None:
    """Read to the end, if that is near; a break there is no break of the answer."""
    if getattr(body, "over", False):
        return
    with trio.move_on_after(TAIL_S), suppress(httpx.TransportError):
        async for _ in body:
            pass
