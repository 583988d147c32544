"""OpenAI's list of models, `/v1/models`, as clients read it. Pure."""

from collections.abc import Iterable

from msgspec import Struct

from wire.jsontext import encode


class ModelCard(Struct, frozen=True):
    """One model that a client may name."""

    id: str
    created: int = 0
    owned_by: str = "stagedoor"

    def object(self) -> dict[str, str | int]:
        """As OpenAI's client reads it."""
        return {
            "id": self.id,
            "object": "model",
            "created": self.created,
            "owned_by": self.owned_by,
        }


def render_model(card: ModelCard) -> bytes:
    """The body of `GET /v1/models/{id}`."""
    return encode(card.object())


def render_models(cards: Iterable[ModelCard]) -> bytes:
    """The body of `GET /v1/models`."""
    return encode({"object": "list", "data": [card.object() for card in cards]})
