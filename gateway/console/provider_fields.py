"""Which settings of providers the Console edits, and how it asks. Pure.

What is not here is left as it is: a form changes only its own fields. A key is none of
them: it is sealed by the page (static/vault.js) and comes beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.console import forms
from gateway.console.forms import Field, Section
from gateway.settings.kinds import KINDS, base_url

WHAT: Final = Section(
    "what",
    "What it is",
    "",
    (
        Field("kind", "Speaks", "choice", choices=("", *KINDS)),
        Field("base_url", "Address",
              hint="Empty: the kind's own, for those that have one."),
        Field("models", "Models", "lines", hint="By its own names, one a line."),
        Field("data_region", "Processes prompts in",
              hint="As sites name their regions; empty: unknown."),
    ),
)  # fmt: skip
KEY: Final = Section(
    "key",
    "Its key",
    "",
    (
        Field("key", "or a key that is there", hint="As vault:NAME."),
        Field("key_env", "or an environment variable", hint="Empty: the kind's own, "
              "at its own address."),
        Field("rotation_key", "The key that makes new ones", hint="As vault:NAME; the "
              "provider's key is then rotated by itself."),
        Field("rotation_account", "New keys belong to", hint="OpenAI's project, AWS's "
              "user."),
    ),
)  # fmt: skip
CLOUD: Final = Section(
    "cloud",
    "For clouds",
    "AWS, Google and Azure want to know where.",
    (
        Field("region", "AWS region", hint="us-east-1 where nothing is said."),
        Field("location", "Google location", hint="global where nothing is said."),
        Field("project", "Google project"),
        Field("api_version", "API version"),
        Field("access_key_id_env", "Variable with the AWS key id"),
        Field("session_token_env", "Variable with the AWS session token"),
    ),
)  # fmt: skip
HOW_MUCH: Final = Section(
    "room",
    "How much at once",
    "",
    (
        Field("in_flight_max", "Calls at once", "whole", hint="64 if not said."),
        Field("queue_max", "Calls that wait", "whole", hint="64 if not said."),
        Field("connections_max", "Connections", "whole", hint="As calls at once."),
        Field("on_abort", "When the client leaves", "choice",
              choices=("", "cancel", "drain"),
              hint="Empty: what stops this kind's bill."),
    ),
)  # fmt: skip
HEALTH: Final = Section(
    "health",
    "Health and deadlines",
    "When it is taken out of use, and how long each stage of a call may take.",
    (
        Field("breaker.failures_max", "Out after failures in a row", "whole",
              hint="5 if not said."),
        Field("breaker.backoff_first_s", "First wait", "seconds", unit="seconds"),
        Field("breaker.backoff_cap_s", "Longest wait", "seconds", unit="seconds"),
        Field("breaker.slow_call_s", "Failed if slower than", "seconds",
              unit="seconds", hint="Until the first content."),
        Field("deadlines.connect_s", "Connection", "seconds", unit="seconds"),
        Field("deadlines.headers_s", "Head of the answer", "seconds", unit="seconds"),
        Field("deadlines.first_content_s", "First content", "seconds",
              unit="seconds"),
        Field("deadlines.idle_s", "Between two pieces", "seconds", unit="seconds"),
        Field("deadlines.total_s", "The whole call", "seconds", unit="seconds"),
        Field("probe_idle_s", "Ask it when idle for", "seconds", unit="seconds",
              hint="A small question to each routed model; empty: never."),
        Field("probe_site", "Site that pays for it"),
    ),
)  # fmt: skip
SECTIONS: Final = (WHAT, KEY, CLOUD, HOW_MUCH, HEALTH)
FOLDED: Final = frozenset({CLOUD.key, HOW_MUCH.key, HEALTH.key})
FIELDS: Final = tuple(field for section in SECTIONS for field in section.fields)

# Prices are a table by model; each is a row of these, its fields called `NAME-ROW`.
PRICE: Final = (
    Field("price_model", "Model"),
    Field("input_usd_per_mtok", "Input", "money", unit="$ a Mtok"),
    Field("output_usd_per_mtok", "Output", "money", unit="$ a Mtok"),
    Field("cached_input_usd_per_mtok", "Cached input", "money", unit="$ a Mtok"),
    Field("cache_write_usd_per_mtok", "Cache write", "money", unit="$ a Mtok"),
)
PRICES_SPARE: Final = 2  # Empty rows to write a price into.
VAULT: Final = "vault:"


def settings_of(form: Mapping[str, list[str]], old: Mapping[str, Any]) -> Any:
    """What the form changes of the old settings, as a merge patch."""
    patch = forms.patch_of(FIELDS, form)
    prices = _typed_prices(form)
    # A row that was emptied is a price that goes; what a row has no field for stays.
    gone: Mapping[str, Any] = old.get("prices") or {}
    changed: dict[str, Any] = {name: None for name in gone if name not in prices}
    for name, price in prices.items():
        known = gone.get(name)
        changed[name] = price if known else forms.without_nothing(price)
    patch["prices"] = changed or None
    return patch


def prices_shown(
    settings: Mapping[str, Any],
    form: Mapping[str, list[str]] | None,
    problems: Mapping[str, str],
) -> list[list[forms.Shown]]:
    """Rows of the prices' form, with some to spare."""
    prices: Mapping[str, Any] = (
        settings.get("prices") or {} if form is None else _as_typed(form)
    )
    rows = [{"price_model": name, **price} for name, price in prices.items()]
    rows += [{} for _ in range(PRICES_SPARE)]
    made: list[list[forms.Shown]] = []
    for row in rows:
        start = f"prices.{row.get('price_model', '')}"
        own = {
            "price_model" if path == start else path[len(start) + 1 :]: told
            for path, told in problems.items()
            if path == start or path.startswith(f"{start}.")
        }
        made.append(forms.shown(PRICE, row, problems=own))
    return made


def host_of(settings: Mapping[str, Any]) -> str:
    """Where a provider with these settings is called: its key may go there alone."""
    kind = str(settings.get("kind", ""))
    address = str(settings.get("base_url") or "")
    if not address and kind in KINDS:
        address = base_url(
            kind,
            region=str(settings.get("region") or "us-east-1"),
            location=str(settings.get("location") or "global"),
        )
    return urlsplit(address).hostname or ""


def _typed_prices(form: Mapping[str, list[str]]) -> dict[str, Any]:
    """Prices by model; a row without a model is none."""
    found: dict[str, Any] = {}
    for row in forms.rows_of("price_model", form):
        typed = {field.path: form.get(f"{field.path}-{row}", [""]) for field in PRICE}
        price = forms.patch_of(PRICE, typed)
        name = price.pop("price_model")
        if name:
            found[name] = price
    return found


def _as_typed(form: Mapping[str, list[str]]) -> dict[str, Any]:
    """The same as text, to be shown again."""
    found: dict[str, Any] = {}
    for row in forms.rows_of("price_model", form):
        name = form.get(f"price_model-{row}", [""])[-1].strip()
        if name:
            found[name] = {
                field.path: form.get(f"{field.path}-{row}", [""])[-1].strip()
                for field in PRICE[1:]
            }
    return found
