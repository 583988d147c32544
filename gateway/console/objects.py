"""Settings of sites, tenants, models and caps as the Console asks for them. Pure.

What is not here is left as it is: a form changes only its own fields.
"""

from __future__ import annotations

from typing import Final

from gateway.console.forms import Field, Section

LIMITS: Final = Section(
    "limits",
    "Limits",
    "What is empty has no limit of its own.",
    (
        Field("spend_usd_max", "Spend at most", "money", unit="US dollars",
              hint="A hard cap: a request that might exceed it is refused."),
        Field("spend_window", "in a", "choice",
              choices=("month", "day", "week", "total")),
        Field("spend_time_zone", "of the time zone", hint="As Europe/Berlin; UTC "
              "where nothing is said."),
        Field("pacing", "Let price weigh more when spending is ahead of an even pace",
              "yes", default=True),
        Field("requests_per_minute_max", "Requests a minute", "whole"),
        Field("tokens_per_minute_max", "Tokens a minute", "whole"),
        Field("in_flight_max", "At once", "whole", unit="requests"),
        Field("output_tokens_max", "Longest answer", "whole", unit="tokens"),
        Field("each_key.requests_per_minute_max", "Each key: requests a minute",
              "whole"),
        Field("each_key.tokens_per_minute_max", "Each key: tokens a minute", "whole"),
        Field("each_key.in_flight_max", "Each key: at once", "whole",
              unit="requests"),
    ),
)  # fmt: skip
ACCESS: Final = Section(
    "access",
    "Models and browsers",
    "One a line; * and ? stand for anything.",
    (
        Field("models", "Models it may ask for", "lines", hint="Empty: all."),
        Field("models_denied", "and may not", "lines",
              hint="Goes before the list above, and holds for aliases too."),
        Field("allowed_origins", "Web pages that may call", "lines",
              hint="As https://www.example.org, or https://*.example.org. Empty: no "
              "browser may."),
        Field("resume", "A stream that broke off", "choice",
              choices=("off", "cancel", "detach"),
              hint="off: is over. cancel: can be picked up while a reader is left. "
              "detach: goes on without any, within its hold."),
        Field("buffered", "Answer streams as one body, for a proxy that buffers",
              "yes"),
        Field("tenant", "Tenant", hint="Whose it is; empty is the gateway's own."),
        Field("environment", "Environment"),
    ),
    previews=True,
)  # fmt: skip
ROUTING: Final = Section(
    "routing",
    "How candidates are chosen",
    "For models that leave it open. Only the ratio of the weights matters.",
    (
        Field("routing.prefer", "Prefer", "choice",
              choices=("ordered", "balanced", "cheapest", "fastest")),
        Field("routing.latency_slo_s", "Quick enough within", "seconds",
              unit="seconds", hint="What is quicker scores no better."),
        Field("routing.request_usd_max", "One request at most", "money",
              unit="US dollars"),
        Field("routing.weights.latency", "Weight of latency", "whole"),
        Field("routing.weights.errors", "Weight of errors", "whole"),
        Field("routing.weights.window", "Weight of room in the window", "whole"),
        Field("routing.weights.price", "Weight of price", "whole"),
        Field("routing.regions", "Prompts may be processed in", "lines",
              hint="Regions of providers, one a line. Empty: anywhere."),
    ),
    previews=True,
)  # fmt: skip
# A button by itself, not a form to fill in.
STATE: Final = Section("state", "", "", (Field("suspended", "Suspended", "yes"),))
SITE: Final = (LIMITS, ROUTING, ACCESS)

# A ladder is a list of steps; each is a row of these.
RUNG: Final = (
    Field("name", "Name"),
    Field("from_percent", "From", "whole", unit="%"),
    Field("prefer_cheap", "Price decides", "yes"),
    Field("output_tokens_max", "Longest answer", "whole", unit="tokens"),
    Field("output_usd_per_mtok_max", "Output at most", "money", unit="$ a Mtok"),
    Field("model", "Model instead"),
    Field("refuse", "Refuse", "yes"),
)
RUNGS_SPARE: Final = 2  # Empty rows to write a step into.

TENANT: Final = (
    Field("title", "Title", hint="What people call it."),
    Field("environments", "Environments", "lines",
          hint="One a line, as prod and staging: each has keys of its own in the "
          "vault. Empty: sites may name any."),
    Field("suspended", "Suspended: all its sites are refused", "yes"),
)  # fmt: skip
MODEL: Final = (
    Field("route", "Route", "lines",
          hint="Candidates as PROVIDER/MODEL, one a line, the preferred one first."),
    Field("aliases", "Other names", "lines", hint="That clients may ask for it by."),
    Field("routing.prefer", "Prefer", "choice",
          choices=("", "ordered", "balanced", "cheapest", "fastest"),
          hint="Empty: as the site says."),
    Field("canary", "Try first", "lines",
          hint="Shares for candidates outside the route, as: 5% PROVIDER/MODEL."),
    Field("mirror", "Ask as well", "lines",
          hint="As: 5% PROVIDER/MODEL. Nobody reads that answer; it is measured and "
          "paid."),
    Field("fallbacks", "Models when all fail", "lines"),
    Field("context_fallbacks", "Models for longer prompts", "lines"),
    Field("content_fallbacks", "Models for refused content", "lines"),
    Field("routing.latency_slo_s", "Quick enough within", "seconds", unit="seconds"),
    Field("routing.request_usd_max", "One request at most", "money",
          unit="US dollars"),
    Field("routing.regions", "Prompts may be processed in", "lines",
          hint="Regions of providers. Empty: anywhere."),
    Field("hedge", "Start a second candidate when the first is late", "yes"),
)  # fmt: skip
CAP: Final = (
    Field("spend_usd_max", "At most", "money", unit="US dollars"),
    Field("window", "in a", "choice", choices=("month", "day", "week", "total")),
    Field("kind", "When it is reached", "choice",
          choices=("hard", "degrade", "soft"),
          hint="hard refuses, degrade puts the site's ladder in force, soft tells."),
    Field("per", "One sum for", "choice",
          choices=("site", "all", "key", "model", "provider")),
    Field("rolling", "The last 24 hours, 7 or 30 days, instead of the calendar's",
          "yes"),
    Field("time_zone", "Time zone", hint="UTC where nothing is said."),
    Field("sites", "Sites", "lines", hint="Patterns, one a line. Empty: all."),
    Field("keys", "Keys", "lines"),
    Field("models", "Models", "lines"),
    Field("providers", "Providers", "lines"),
)  # fmt: skip
