"""What the prober can be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from actors.router.messages import Deployment
from runtime import ControlTell, Request

if TYPE_CHECKING:
    from actors.prober.actor import Prober


class Probed(Struct, frozen=True):
    """One deployment that is asked after `idle_s` without a call; `site` pays."""

    deployment: Deployment
    idle_s: float
    site: str


class Look(ControlTell["Prober"], frozen=True):
    """An alarm: look who has been idle for too long."""


class SetProbes(Request["Prober", None], frozen=True):
    """What a reload made of them."""

    probes: tuple[Probed, ...]
