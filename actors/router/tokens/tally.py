"""Content into numbers, and numbers into a `Count` for one deployment. Pure.

A tally is made once a request, whoever may serve it; a count is a few multiplications
for each candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil
from typing import Final

from msgspec import Struct

from actors.router.tokens import images
from actors.router.tokens.content import Content
from actors.router.tokens.correction import NOTHING, Correction
from actors.router.tokens.families import UNKNOWN, Family
from actors.router.tokens.images import ImageRule, Picture
from actors.router.tokens.ranks import EncodingName

NAME_TOKENS: Final = 1  # OpenAI's cookbook; the name itself is among the texts.
CALL_TOKENS: Final = 8  # Around each call: its markers, its id.
# Nobody here reads documents or sound; twice as many is in the bound.
FILE_BYTES_PER_TOKEN: Final = 16
FILE_TOKENS_MIN: Final = 800  # A page or two; also where only a URL or an id is known.
AUDIO_BYTES_PER_TOKEN: Final = 500  # 32 tokens a second (Gemini's) of 128 kbit/s.
OPAQUE_BYTES_PER_TOKEN: Final = 4
SERVER_TOKENS: Final = 400  # What a provider says to the model of its own tool,
SERVER_TOKENS_MAX: Final = 8000  # and what one was seen to read before it answered.
GUESSED_ERROR: Final = 1.0
OTHER_ENCODING: Final = 1.06  # cl100k's tokens for each of o200k's, where uncounted:
OTHER_ENCODING_ERROR: Final = 0.8  # 3 % more on English, 70 % more on Hindi or Thai.

# Where the catalogue has no rule for a model that takes pictures: the dearest common.
RULE_UNKNOWN: Final = ImageRule("flat", base=1600)


class Count(Struct, frozen=True):
    """Tokens, and how many more there may be: `tokens * (1 + error)` is a bound.

    `uncorrected` is without what was learned of the deployment: what it learns from.
    """

    tokens: int
    error: float = 0.0
    uncorrected: int = 0

    @property
    def bound(self) -> int:
        """What a hold or a window has to have room for."""
        return ceil(self.tokens * (1 + self.error))


class Tally(Struct, frozen=True):
    """A request's content, counted. `text` and `tools` are by encoding."""

    text: dict[EncodingName, int]
    tools: dict[EncodingName, int]
    messages: int = 0
    names: int = 0
    tool_calls: int = 0
    pictures: tuple[Picture, ...] = ()
    files: int = 0
    file_bytes: int = 0
    audio_bytes: int = 0
    opaque_bytes: int = 0
    servers: int = 0
    sampled_error: float = 0.0  # Where the texts were sampled: how much more they hold.


class Yardstick(Struct, frozen=True):
    """How one deployment counts."""

    family: Family = UNKNOWN
    images: ImageRule = RULE_UNKNOWN


def tally(
    content: Content, counts: Mapping[EncodingName, Callable[[str], int]]
) -> Tally:
    """Count a content's texts with each of these encodings."""
    return tallied(
        content,
        text={name: sum(map(count, content.texts)) for name, count in counts.items()},
        tools={name: sum(map(count, content.tools)) for name, count in counts.items()},
    )


def tallied(
    content: Content,
    *,
    text: dict[EncodingName, int],
    tools: dict[EncodingName, int],
    sampled_error: float = 0.0,
) -> Tally:
    """A tally of a content whose texts were counted elsewhere."""
    return Tally(
        text=text,
        tools=tools,
        messages=content.messages,
        names=content.names,
        tool_calls=content.tool_calls,
        pictures=tuple(content.pictures),
        files=content.files,
        file_bytes=content.file_bytes,
        audio_bytes=content.audio_bytes,
        opaque_bytes=content.opaque_bytes,
        servers=content.servers,
        sampled_error=sampled_error,
    )


def count(
    counted: Tally, yardstick: Yardstick, correction: Correction = NOTHING
) -> Count:
    """The tokens of a request at one deployment."""
    family = yardstick.family
    text, guessed = _of(counted.text, family.encoding)
    likely = family.factor * text
    error = OTHER_ENCODING_ERROR if guessed else family.error
    most = likely * (1 + error)
    if counted.tools and (tools := _of(counted.tools, family.encoding)[0]):
        schemas = family.tools_base + family.tools_factor * tools
        likely += schemas
        most += schemas * (1 + family.tools_error)
    fixed = (
        # Text that is only embedded has no template around it.
        (family.request if counted.messages else 0)
        + family.message * counted.messages
        + NAME_TOKENS * counted.names
        + CALL_TOKENS * counted.tool_calls
    )
    for picture in counted.pictures:
        fixed += images.tokens(yardstick.images, picture)
    likely += fixed
    most += fixed
    unread = (
        max(FILE_TOKENS_MIN * counted.files, counted.file_bytes // FILE_BYTES_PER_TOKEN)
        + counted.audio_bytes // AUDIO_BYTES_PER_TOKEN
        + counted.opaque_bytes // OPAQUE_BYTES_PER_TOKEN
    )
    likely += unread
    most += unread * (1 + GUESSED_ERROR)
    likely += SERVER_TOKENS * counted.servers
    most += SERVER_TOKENS_MAX * counted.servers
    if counted.messages:
        # Templates differ by a token or two a message, and some add a prompt.
        most += family.hidden + 2 * counted.messages
    tokens = max(1, ceil(likely * correction.ratio))
    error = correction.error(max(0.0, most / max(1.0, likely) - 1))
    if counted.sampled_error:
        # On top of what was learned: that is of other prompts.
        error = (1 + error) * (1 + counted.sampled_error) - 1
    return Count(tokens, error, max(1, ceil(likely)))


def _of(counts: Mapping[EncodingName, int], encoding: EncodingName) -> tuple[int, bool]:
    """The tokens in this encoding; True where only the other one was counted."""
    found = counts.get(encoding)
    if found is not None:
        return found, False
    return ceil(max(counts.values(), default=0) * OTHER_ENCODING), True
