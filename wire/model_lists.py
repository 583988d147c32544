"""Lists of models as each kind of client reads them. Pure.

Whole lists: a site's models fit one page of every dialect, and no client asks for more
once it is told that there are none.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from wire import openai_models as openai
from wire.dialect import ClientDialect
from wire.jsontext import encode
from wire.openai_models import ModelCard

GEMINI_METHODS: Final = ("generateContent", "streamGenerateContent", "countTokens")


def render_models(client: ClientDialect, cards: Sequence[ModelCard]) -> bytes:
    """The body of the list, for this kind of client."""
    match client.name:
        case "anthropic":
            return encode(
                {
                    "data": [_anthropic(card) for card in cards],
                    "has_more": False,
                    "first_id": cards[0].id if cards else None,
                    "last_id": cards[-1].id if cards else None,
                }
            )
        case "gemini":
            return encode({"models": [_gemini(card) for card in cards]})
        case _:
            return openai.render_models(cards)


def render_model(client: ClientDialect, card: ModelCard) -> bytes:
    """The body of one model, for this kind of client."""
    match client.name:
        case "anthropic":
            return encode(_anthropic(card))
        case "gemini":
            return encode(_gemini(card))
        case _:
            return openai.render_model(card)


def _anthropic(card: ModelCard) -> dict[str, object]:
    created = datetime.fromtimestamp(card.created, UTC)
    return {
        "type": "model",
        "id": card.id,
        "display_name": card.id,
        "created_at": created.isoformat().replace("+00:00", "Z"),
    }


def _gemini(card: ModelCard) -> dict[str, object]:
    return {
        "name": f"models/{card.id}",
        "version": "001",
        "displayName": card.id,
        "supportedGenerationMethods": GEMINI_METHODS,
    }
