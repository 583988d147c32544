"""The counter of a gateway: what streams ask, and what they tell it afterwards.

Owns the loaded encodings, how each deployment counts, and what reported usage has
taught about it. Never holds the loop for more than two milliseconds: a text is counted
piece by piece, the first at once, and what is left after half a millisecond goes to a
thread (the tokenizer lets go of the interpreter there). Never fails: a body that cannot
be read is estimated by its length.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from random import Random
from typing import Final, TypeVar

import attrs
import trio

from actors.router.messages import Deployment
from actors.router.tokens import bodies, text
from actors.router.tokens.content import Content, of_request
from actors.router.tokens.correction import NOTHING, Correction, learn
from actors.router.tokens.memo import Memo
from actors.router.tokens.ranks import EncodingName, encoding
from actors.router.tokens.tally import (
    Count,
    Tally,
    Yardstick,
    count,
    tallied,
    tally,
)
from wire.dialect import ClientDialect, ClientError, Headers
from wire.request import ChatRequest

T = TypeVar("T")

# msgspec reads a gigabyte a second and holds the interpreter: half a millisecond.
BODY_INLINE_BYTES_MAX: Final = 256 * 1024
INLINE_S: Final = 0.0005  # One more piece may follow: two milliseconds together.
THREADS_MAX: Final = 2  # Counting is short; more would only fight for the cores.
CORRECTIONS_MAX: Final = 4096  # Deployments that ever served; far above any config.
CHARS_PER_TOKEN: Final = 4.0  # English prose and code, until a deployment has told.
CHARS_PER_TOKEN_MIN: Final = 0.5
CHARS_PER_TOKEN_MAX: Final = 8.0
OUTPUT_TOKENS_MIN: Final = 32  # Shorter answers say little about a ratio.
OUTPUT_STEP: Final = 1 / 16

DEFAULT: Final = Yardstick()
BASE: Final[EncodingName] = "o200k_base"


class Counter:
    """Counts prompts. Made once a gateway; `follow` it through reloads."""

    def __init__(
        self,
        encodings: Mapping[EncodingName, text.Encoder],
        yardsticks: Mapping[Deployment, Yardstick] | None = None,
        routes: Mapping[str, tuple[Deployment, ...]] | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
        rng: Random | None = None,
    ) -> None:
        assert encodings, "a counter needs an encoding"
        self._encodings = dict(encodings)
        self._memos = {name: Memo(encoder) for name, encoder in encodings.items()}
        self._yardsticks = dict(yardsticks or {})
        self._routes = dict(routes or {})
        self._clock = clock
        self._rng = rng or Random()  # noqa: S311 - where to sample, no secret
        self._needs: dict[str, _Need] = {}
        self._corrections: dict[Deployment, Correction] = {}
        self._chars_per_token: dict[Deployment, float] = {}
        self._limiter: trio.CapacityLimiter | None = None
        self._all = frozenset(self._encodings)

    def __repr__(self) -> str:
        """What it can count."""
        return f"<Counter {sorted(self._encodings)} learned={len(self._corrections)}>"

    def follow(
        self,
        yardsticks: Mapping[Deployment, Yardstick],
        routes: Mapping[str, tuple[Deployment, ...]],
    ) -> None:
        """Count for these deployments from now on. What was learned stays."""
        self._yardsticks = dict(yardsticks)
        self._routes = dict(routes)
        self._needs.clear()

    # -- counting --------------------------------------------------------------

    async def tally(
        self, dialect: ClientDialect, body: bytes, headers: Headers, model: str
    ) -> Tally | None:
        """Count a client's request for this model; None where it cannot be read."""
        need = self._needed(model)
        if len(body) > BODY_INLINE_BYTES_MAX:
            return await self._in_thread(
                partial(self._tally_body, dialect, body, headers, need)
            )
        content = content_of(dialect, body, headers)
        return None if content is None else await self._tally(content, need)

    async def tally_request(self, request: ChatRequest) -> Tally:
        """Count a parsed request with every encoding there is."""
        return await self._tally(of_request(request), _Need(self._all))

    async def _tally(self, content: Content, need: _Need) -> Tally:
        names = need.encodings
        if content.chars <= text.PIECE_CHARS_MAX:
            return tally(content, self._counts(names))
        if not need.exact and _is_sampled(content):
            return self._sampled(content, names)
        if len(names) == 1:
            (name,) = names
            return await self._tally_in_turns(content, name)
        return await self._in_thread(partial(tally, content, self._counts(names)))

    async def _tally_in_turns(self, content: Content, name: EncodingName) -> Tally:
        """Inline for as long as it may be, the rest in a thread."""
        work = _Work(content, self._memos[name])
        due = self._clock() + INLINE_S
        while work.step():
            if self._clock() >= due:
                await self._in_thread(work.finish)
                break
        return tallied(content, text={name: work.text}, tools={name: work.tools})

    def _tally_body(
        self,
        dialect: ClientDialect,
        body: bytes,
        headers: Headers,
        need: _Need,
    ) -> Tally | None:
        content = content_of(dialect, body, headers)
        if content is None:
            return None
        if not need.exact and _is_sampled(content):
            return self._sampled(content, need.encodings)
        return tally(content, self._counts(need.encodings))

    def _sampled(self, content: Content, names: frozenset[EncodingName]) -> Tally:
        """An estimate of what could only be estimated: in samples, whatever its size.

        Tools are few and read whole: their samples would be too short. So are the turns
        of a conversation that was counted as it grew, for all but the last are known.
        """
        found = {name: self._estimated(name, content.texts) for name in names}
        texts: dict[EncodingName, int] = {name: found[name][0] for name in names}
        schemas = self._counts(names)
        return tallied(
            content,
            text=texts,
            tools={
                name: sum(map(count_of, content.tools))
                for name, count_of in schemas.items()
            },
            sampled_error=max(error for _, error in found.values()),
        )

    def _estimated(self, name: EncodingName, texts: Sequence[str]) -> tuple[int, float]:
        """The tokens of texts, and how much more there may be; a long one by itself."""
        memo = self._memos[name]
        short = [one for one in texts if len(one) < text.SAMPLED_CHARS_MIN]
        found = [
            memo.sampled((one,), self._rng)
            for one in texts
            if len(one) >= text.SAMPLED_CHARS_MIN
        ]
        unknown = sum(len(one) for one in short if not memo.knows(one))
        if unknown <= text.PIECE_CHARS_MAX:
            found += [(memo.count(one), 0.0) for one in short]
        else:
            found.append(memo.sampled(short, self._rng))
        tokens = sum(count for count, _ in found)
        error = sum(count * error for count, error in found)
        return tokens, error / max(1, tokens)

    def _counts(
        self, names: Iterable[EncodingName]
    ) -> dict[EncodingName, Callable[[str], int]]:
        return {name: self._memos[name].count for name in names}

    def _needed(self, model: str) -> _Need:
        """What this model's deployments count with."""
        need = self._needs.get(model)
        if need is not None:
            return need
        routes = self._routes.get(model, ())
        families = [self._yardsticks.get(one, DEFAULT).family for one in routes]
        loaded = self._all & {family.encoding for family in families}
        need = _Need(
            loaded or self._all & {BASE} or self._all,
            exact=any(family.exact for family in families),
        )
        if routes:  # Not what clients make up: those names have no bound.
            self._needs[model] = need
        return need

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._limiter is None:
            self._limiter = trio.CapacityLimiter(THREADS_MAX)
        return await trio.to_thread.run_sync(
            work, limiter=self._limiter, abandon_on_cancel=True
        )

    # -- what it means for a deployment ----------------------------------------

    def count(self, counted: Tally, deployment: Deployment) -> Count:
        """The prompt's length there, corrected by what was learned."""
        return count(
            counted,
            self._yardsticks.get(deployment, DEFAULT),
            self._corrections.get(deployment, NOTHING),
        )

    def count_for_route(self, counted: Tally, model: str) -> Count:
        """The prompt's length wherever it goes: the longest, of all candidates."""
        counts = tuple(self.counts_for_route(counted, model).values())
        if not counts:
            return count(counted, DEFAULT)
        if len(counts) == 1:
            return counts[0]
        tokens = max(one.tokens for one in counts)
        bound = max(one.bound for one in counts)
        return Count(tokens, bound / tokens - 1)

    def counts_for_route(self, counted: Tally, model: str) -> dict[Deployment, Count]:
        """The prompt's length at each candidate."""
        return {one: self.count(counted, one) for one in self._routes.get(model, ())}

    async def count_request(
        self, request: ChatRequest, deployment: Deployment | None = None
    ) -> Count:
        """For endpoints that only ask how long a prompt is."""
        counted = await self.tally_request(request)
        if deployment is not None:
            return self.count(counted, deployment)
        return self.count_for_route(counted, request.model)

    def chars_per_token(self, deployment: Deployment) -> float:
        """How many characters of its answers one token has been."""
        return self._chars_per_token.get(deployment, CHARS_PER_TOKEN)

    # -- learning --------------------------------------------------------------

    def learned_prompt(
        self,
        counted: Tally,
        deployment: Deployment,
        reported: int,
        known: Count | None = None,
    ) -> None:
        """The provider said how long that prompt was; `known` is what `count` gave."""
        if counted.servers or counted.files or counted.audio_bytes:
            return  # It says more of what the provider added than of its tokenizer.
        plain = known or count(counted, self._yardsticks.get(deployment, DEFAULT))
        if (
            deployment not in self._corrections
            and len(self._corrections) >= CORRECTIONS_MAX
        ):
            return
        before = self._corrections.get(deployment, NOTHING)
        self._corrections[deployment] = learn(before, plain.uncorrected, reported)

    def learned_output(self, deployment: Deployment, chars: int, tokens: int) -> None:
        """The provider said how many tokens those characters were."""
        if tokens < OUTPUT_TOKENS_MIN or not chars:
            return
        seen = min(CHARS_PER_TOKEN_MAX, max(CHARS_PER_TOKEN_MIN, chars / tokens))
        known = self._chars_per_token
        if deployment in known:
            known[deployment] += OUTPUT_STEP * (seen - known[deployment])
        elif len(known) < CORRECTIONS_MAX:
            known[deployment] = seen

    def correction(self, deployment: Deployment) -> Correction:
        """What was learned of it, for operators."""
        return self._corrections.get(deployment, NOTHING)


@attrs.frozen
class _Need:
    """The encodings to count with; `exact` where somebody's count is no estimate."""

    encodings: frozenset[EncodingName]
    exact: bool = True


class _Work:
    """A count that can be left off and gone on with, here or in a thread."""

    def __init__(self, content: Content, memo: Memo) -> None:
        self.text = 0
        self.tools = 0
        self._pieces = _pieces(content)
        self._count = memo.piece

    def step(self) -> bool:
        """Count one piece; False when there is none."""
        found = next(self._pieces, None)
        if found is None:
            return False
        piece, is_tool = found
        tokens = self._count(piece)
        if is_tool:
            self.tools += tokens
        else:
            self.text += tokens
        return True

    def finish(self) -> None:
        """Count all that is left."""
        while self.step():
            pass


def _pieces(content: Content) -> Iterator[tuple[str, bool]]:
    for texts, is_tool in ((content.texts, False), (content.tools, True)):
        for one in texts:
            for piece in text.pieces(one):
                yield piece, is_tool


def _is_sampled(content: Content) -> bool:
    """Long texts are; tools have to be few enough to be read whole, here and now."""
    tools = sum(map(len, content.tools))
    return (
        content.chars - tools >= text.SAMPLED_CHARS_MIN
        and tools <= text.PIECE_CHARS_MAX
    )


def content_of(dialect: ClientDialect, body: bytes, headers: Headers) -> Content | None:
    """The content of a client's body; None where it cannot be read."""
    found = bodies.of_body(dialect.name, body)
    if found is not None or dialect.name in bodies.QUICK:
        return found
    try:
        return of_request(dialect.parse_request(body, headers))
    except ClientError:
        return None  # The attempt will say what is wrong with it.


def encodings_for(
    yardsticks: Iterable[Yardstick],
) -> frozenset[EncodingName]:
    """Which encodings these deployments need: the base one, and whatever else."""
    return frozenset({BASE, *(one.family.encoding for one in yardsticks)})


def load(names: Iterable[EncodingName]) -> dict[EncodingName, text.Encoder]:
    """The encodings of these names; each loads its vocabulary with its first text."""
    return {name: encoding(name) for name in sorted(names)}
