"""Python's garbage collector, set for a gateway.

Owns: when cycles are looked for. By default that is after 700 new objects, which two
requests make, and every look at the oldest walks the encodings, the catalogue and the
modules: a tenth of a request's time, and pauses that grow with the configuration.
Never: turns it off. Exceptions and cancelled tasks leave cycles, and they must go.
"""

from __future__ import annotations

import gc
from typing import Final

# Some 50 requests, or 3 MB of what only a collection can free; 0.3 ms for each look.
YOUNG_MAX: Final = 10_000
MIDDLE_EVERY: Final = 5  # Looks at the young for each at those since the last: 20 ms.
OLD_EVERY: Final = 200  # Of those, for each at all that came after the start.


def settle() -> None:
    """Call once all is started: what is there by now stays, and is not looked at again.

    What a reload replaces still goes as its last reference does.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, MIDDLE_EVERY, OLD_EVERY)
