"""Where a cap's spending stands in its window, and where it is heading. Pure.

The plan of a calendar window is to spend evenly; the forecast is that it goes on as it
went so far. A window that has no end (rolling, total) has neither.
"""

from __future__ import annotations

from math import inf
from typing import Final, NamedTuple

from actors.ledger.messages import Cap
from actors.ledger.windows import calendar

# Earlier, one expensive request would forecast a fortune.
FORECAST_FROM: Final = 0.02


class Outlook(NamedTuple):
    """Times are Unix seconds, None where the window has no such end."""

    began_s: float | None
    resets_at_s: float | None
    plan_nanousd: int | None
    forecast_nanousd: int | None
    runs_out_s: float | None  # Within its window; None where it lasts.


NONE: Final = Outlook(None, None, None, None, None)


def outlook(cap: Cap, used_nanousd: int, now_s: float) -> Outlook:
    """How `used_nanousd` of a cap stands at `now_s`."""
    if cap.rolling or cap.window == "total":
        return NONE
    began_s, until_s = calendar(cap.window, cap.zone, now_s)
    if until_s == inf:
        return NONE
    done = min(1.0, max(0.0, (now_s - began_s) / (until_s - began_s)))
    plan = int(cap.nanousd_max * done)
    if done < FORECAST_FROM:
        return Outlook(began_s, until_s, plan, None, None)
    forecast = max(0, int(used_nanousd / done))
    runs_out_s = None
    if used_nanousd > 0 and forecast > cap.nanousd_max:
        share = cap.nanousd_max / forecast
        runs_out_s = max(now_s, began_s + share * (until_s - began_s))
    return Outlook(began_s, until_s, plan, forecast, runs_out_s)
