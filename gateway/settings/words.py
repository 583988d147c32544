"""The words that settings of sites, providers and models are written in.

Owns: which names, patterns and choices are taken. Never: I/O.
"""

from __future__ import annotations

from typing import Final, Literal

from gateway.settings import values
from gateway.settings.kinds import KINDS, OnAbort

CountTokens = Literal["estimate", "exact"]

NAME: Final = values.text(
    "name of letters, digits and . _ -, at most 63", r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
)
NAME_OR_NONE: Final = values.text(
    "name of letters, digits and . _ -, at most 63",
    r"([A-Za-z0-9][A-Za-z0-9._-]{0,62})?",
)
MODEL_NAME: Final = values.text(
    "model name of letters, digits and . _ : / @ -, at most 128",
    r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}",
)
UPSTREAM_NAME: Final = values.text("model name without spaces", r"[\x21-\x7e]{1,200}")
PATTERN: Final = values.text(
    "model name or pattern with * and ?", r"[A-Za-z0-9._:/@*?-]{1,128}"
)
VARIABLE: Final = values.text(
    "name of an environment variable", r"[A-Za-z_][A-Za-z0-9_]{0,127}", hidden=True
)
VARIABLE_OR_NONE: Final = values.text(
    "name of an environment variable", r"([A-Za-z_][A-Za-z0-9_]{0,127})?", hidden=True
)
PLACE: Final = values.text("region or location", r"[a-z0-9-]{0,32}")
# OpenAI's projects are proj_…, AWS's users may hold any of these.
PERSON: Final = values.choice("user", "ip")
ACCOUNT: Final = values.text("project or user", r"([A-Za-z0-9_+=,.@-]{1,128})?")
PROJECT: Final = values.text(
    "name of letters, digits and . : -", r"[A-Za-z0-9.:-]{0,64}"
)
TOKENS: Final = values.integer(1, 100_000_000)
# Kept beside actors/router/tokens/families.py by a test: settings import no actors.
TOKENIZER: Final = values.choice(
    "", "o200k", "o200k-5", "cl100k", "harmony", "claude", "claude-4.7", "gemini",
    "llama3", "llama4", "mistral", "deepseek", "qwen", "glm", "kimi", "grok",
    "grok-4.3", "gemma", "command", "nova", "embedding", "unknown",
)  # fmt: skip
KIND: Final = values.choice(*KINDS)
FederationExchange = Literal["", "token-exchange", "jwt-bearer", "aws"]
FEDERATION: Final[values.Reader[FederationExchange]] = values.choice(
    "", "token-exchange", "jwt-bearer", "aws"
)
FORM_FIELD: Final = values.text(
    "NAME=VALUE", r"[A-Za-z0-9_.-]{1,64}=[\x20-\x7e]{0,512}"
)
ON_ABORT: Final[values.Reader[OnAbort]] = values.choice("cancel", "drain")
Resume = Literal["off", "cancel", "detach"]
RESUME: Final[values.Reader[Resume]] = values.choice("off", "cancel", "detach")
COUNT_TOKENS: Final[values.Reader[CountTokens]] = values.choice("estimate", "exact")

VAULT_PREFIX: Final = "vault:"
VAULT_KEY: Final = values.text(
    "vault:NAME, with letters, digits and . _ -",
    r"(vault:[A-Za-z0-9][A-Za-z0-9._-]{0,62})?",
    hidden=True,  # Whoever pastes the key itself here is not to find it in a log.
)
