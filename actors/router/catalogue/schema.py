"""What the catalogue says of a model. Pure values; money in integer nano-dollars."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct, field

from actors.ledger.messages import Price
from actors.router.tokens.images import ImageRule

SCHEMA: Final = 1
"""Of the file. A file of another schema is refused: its money may mean other things."""

Mode = Literal["chat", "completion", "embedding"]


class Entry(Struct, frozen=True, omit_defaults=True):
    """One model at one kind of provider. None and empty mean that nobody says.

    Args:
        window_tokens: for prompt and answer together.
        price: None is unpriced, also where the source lists it as free.
        capabilities: `wire.dialect.Need`s and a few words for people.
        deprecated_on: the day on which its provider switches it off, as YYYY-MM-DD.
        tokenizer: the name of a family in tokens/families.py.
        images: the name of a rule in the catalogue.
        cache_tokens_min: shorter prompts are not cached.
    """

    mode: Mode = "chat"
    window_tokens: int | None = None
    output_tokens_max: int | None = None
    price: Price | None = None
    capabilities: tuple[str, ...] = ()
    deprecated_on: str = ""
    tokenizer: str = ""
    images: str = ""
    cache_tokens_min: int | None = None


class Catalogue(Struct, frozen=True):
    """Models by kind of provider and name, with where all this is from."""

    schema: int
    source: str
    source_sha256: str
    released_on: str
    kinds: dict[str, dict[str, Entry]]
    rules: dict[str, ImageRule] = field(default_factory=dict[str, ImageRule])

    def __repr__(self) -> str:
        """How much, and from where."""
        count = sum(map(len, self.kinds.values()))
        return f"<Catalogue {self.released_on} {count} models from {self.source}>"


EMPTY: Final = Catalogue(SCHEMA, "nothing", "", "", {})
