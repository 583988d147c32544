"""What another deployment is asked as well, once the client has its answer. Pure.

A mirror is the request again, whole, as a request of its own: it goes on from nothing
that a provider stores, and asks for nothing to be stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from actors.router.messages import Candidate, Plan
from actors.stream.messages import Aside, Inquiry, OpenAside

if TYPE_CHECKING:
    from actors.stream.attempt import Attempt

FEATURE = "mirror"  # The use under which its spend is shown.
STORING = "openai_responses"  # The dialect whose answers are stored unless told not to.


def mirrored(
    inquiry: Inquiry, plan: Plan, to: Candidate, served: Attempt
) -> OpenAside | None:
    """The mirror of a request that `served` has answered; None: there is none.

    Not of a count, which nobody bills or waits for; not where the same deployment has
    just answered; and not of an answer that nobody can be asked for again.
    """
    if inquiry.operation == "count" or inquiry.only is not None:
        return None
    if to.deployment == served.candidate.deployment or inquiry.stored_at:
        return None
    copy = replace(
        inquiry,
        request_id=f"{inquiry.request_id}-mirror",
        body=_unstored(inquiry),
        aside=Aside("mirror", of=inquiry.request_id),
        feature=FEATURE,
        trace=None if inquiry.trace is None else inquiry.trace.aside(),
    )
    one = replace(plan, candidates=(to,), gated=(), mirror=None, hedge=False)
    return OpenAside(copy, one)


def _unstored(inquiry: Inquiry) -> bytes:
    if inquiry.dialect.name != STORING:
        return inquiry.body
    fields = msgspec.json.decode(inquiry.body, type=dict[str, msgspec.Raw])
    kept: dict[str, Any] = {**fields, "store": False}
    kept.pop("background", None)  # It wants storing.
    return msgspec.json.encode(kept)
