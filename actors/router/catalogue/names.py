"""The ways in which one model is written, nearest first. Pure.

gpt-4o-2024-11-20        a snapshot: its own entry, else that of the model
models/gemini-2.5-pro    Google's resource names
openai/gpt-4o            a provider in front, as other gateways write it
us.anthropic.claude-…    Bedrock's inference profiles, and ARNs
ft:gpt-4o-mini:org::id   fine-tuned: another price, so only its own entry
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

BEDROCK_PLACES: Final = ("us-gov", "us", "eu", "apac", "jp", "au", "ca", "global")
"""Prefixes of Bedrock's inference profiles."""

_DATE: Final = re.compile(
    r"(?:[-@](?:20\d\d-\d\d-\d\d|20\d{6})|@default|-latest|@latest)(?=$|-v\d)"
)
_VERSION: Final = re.compile(r"(?:-v\d+)?(?::\d+)?$")  # Bedrock's -v1:0.
_PLACE: Final = re.compile(rf"^(?:{'|'.join(BEDROCK_PLACES)})\.")
_RESOURCE: Final = re.compile(r"^(?:publishers/[a-z0-9-]+/)?models/|^.*/models/")
_BEDROCK: Final = frozenset({"bedrock", "bedrock-mantle"})


def spellings(kind: str, model: str) -> Iterator[str]:
    """Each name under which the model may be known, at most once."""
    seen: set[str] = set()
    for name in _spellings(kind, model.strip().lower()):
        if name and name not in seen:
            seen.add(name)
            yield name


def _spellings(kind: str, name: str) -> Iterator[str]:
    yield name
    if name.startswith("ft:"):
        return
    if name.startswith("arn:"):
        name = name.rpartition("/")[2]
        yield name
    if kind in _BEDROCK:
        yield from _bedrock(name)
        return
    bare = _RESOURCE.sub("", name)
    yield bare
    yield _DATE.sub("", bare)
    # OpenRouter and other resellers have the maker in the name: it is part of it.
    if "/" in bare and not bare.startswith("accounts/"):
        last = bare.rpartition("/")[2] if kind not in _RESELLERS else ""
        yield last
        yield _DATE.sub("", last)


_RESELLERS: Final = frozenset({"openrouter", "together", "fireworks", "huggingface"})


def _bedrock(name: str) -> Iterator[str]:
    plain = _PLACE.sub("", name)
    yield plain
    for one in (name, plain):
        bare = _VERSION.sub("", one)
        yield bare
        yield f"{bare}-v1:0"
        yield f"{bare}:0"


def is_placed(kind: str, model: str) -> str:
    """The model behind a Bedrock profile's place; "" where there is no place."""
    name = model.strip().lower().rpartition("/")[2]
    if kind != "bedrock" or not _PLACE.match(name):
        return ""
    return _PLACE.sub("", name)
