"""Finding a model: layers of catalogues, the newest first. Pure.

shipped    with this version
refreshed  by `stagedoor catalogue update`, where it is newer than the shipped one
operator   the configuration, which is asked before any of this
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from actors.router.catalogue.names import BEDROCK_PLACES, is_placed, spellings
from actors.router.catalogue.schema import Catalogue, Entry
from actors.router.tokens.families import FAMILIES, Family, family_of
from actors.router.tokens.images import ImageRule
from actors.router.tokens.tally import RULE_UNKNOWN, Yardstick

# Kinds that serve whatever they were given under whatever name: a name says nothing of
# what it costs there.
NAMELESS: Final = frozenset(
    {
        "openai-compatible", "vllm", "sglang", "llamacpp", "lmstudio", "ollama",
        "huggingface", "simulated",
    }
)  # fmt: skip


class Found(Struct, frozen=True):
    """An entry, and under which name and in which catalogue it was found."""

    kind: str
    name: str
    entry: Entry
    source: str
    images: ImageRule | None = None


class Lookup:
    """A stack of catalogues as one."""

    def __init__(self, layers: Sequence[Catalogue]) -> None:
        self._layers = sorted(layers, key=lambda one: one.released_on, reverse=True)

    def __repr__(self) -> str:
        """The layers, first asked first."""
        return f"<Lookup {self._layers}>"

    @property
    def layers(self) -> tuple[Catalogue, ...]:
        """First asked first."""
        return tuple(self._layers)

    def find(self, kind: str, model: str) -> Found | None:
        """What is known of this model at this kind of provider."""
        if kind in NAMELESS:
            return None
        for layer in self._layers:
            models = layer.kinds.get(kind, {})
            for name in spellings(kind, model):
                entry = models.get(name)
                if entry is not None:
                    rule = layer.rules.get(entry.images)
                    entry = _as_placed(models, kind, model, name, entry)
                    return Found(kind, name, entry, layer.source, rule)
        return None

    def kinds_of(self, model: str) -> tuple[Found, ...]:
        """The model wherever it is known, for people who look for it."""
        kinds = dict.fromkeys(kind for layer in self._layers for kind in layer.kinds)
        found = (self.find(kind, model) for kind in kinds)
        return tuple(one for one in found if one is not None)

    def yardstick(self, kind: str, model: str) -> Yardstick:
        """How this model counts; by its name where the catalogue does not know it."""
        found = self.find(kind, model)
        family: Family | None = None
        if found is not None:
            family = FAMILIES.get(found.entry.tokenizer)
        rule = found.images if found is not None else None
        return Yardstick(family or family_of(model), rule or RULE_UNKNOWN)


def _as_placed(
    models: dict[str, Entry], kind: str, model: str, name: str, entry: Entry
) -> Entry:
    """A profile for a place that is not listed costs as the dearest that is.

    Bedrock charges some places a tenth more than others: a hold must not be short.
    """
    plain = is_placed(kind, model)
    if not plain or name.startswith(tuple(f"{p}." for p in BEDROCK_PLACES)):
        return entry
    prices = [
        placed.price
        for place in BEDROCK_PLACES
        if (placed := models.get(f"{place}.{name}")) is not None
        and placed.price is not None
    ]
    if entry.price is not None:
        prices.append(entry.price)
    if not prices:
        return entry
    dearest = max(
        prices, key=lambda p: (p.output_nanousd_per_mtok, p.input_nanousd_per_mtok)
    )
    return replace(entry, price=dearest)
