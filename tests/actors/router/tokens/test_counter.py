"""The counter: what it counts where, in how much time, and what it learns."""

import json
from typing import Any

import pytest
import trio

from actors.router.messages import Deployment
from actors.router.tokens import counter as counting
from actors.router.tokens import text
from actors.router.tokens.counter import Counter
from actors.router.tokens.families import FAMILIES
from actors.router.tokens.ranks import encoding
from actors.router.tokens.tally import Tally, Yardstick
from actors.router.tokens.text import Encoder
from wire.anthropic import MESSAGES
from wire.openai_chat import CHAT
from wire.openai_responses import RESPONSES

GPT = Deployment("openai", "gpt-5.4")
OLD = Deployment("openai", "gpt-4")
CLAUDE = Deployment("anthropic", "claude-sonnet-4-5")
YARDSTICKS = {
    GPT: Yardstick(FAMILIES["o200k"]),
    OLD: Yardstick(FAMILIES["cl100k"]),
    CLAUDE: Yardstick(FAMILIES["claude"]),
}
ROUTES = {
    "fast": (GPT,),
    "old": (OLD,),
    "both": (GPT, CLAUDE),
    "claude": (CLAUDE,),
}
PROSE = "The quick brown fox jumps over the lazy dog. "


def counter(clock: Any = None) -> Counter:
    encodings: dict[Any, Encoder] = {
        "o200k_base": encoding("o200k_base"),
        "cl100k_base": encoding("cl100k_base"),
    }
    extra = {} if clock is None else {"clock": clock}
    return Counter(encodings, YARDSTICKS, ROUTES, **extra)


def chat(words: str, model: str = "fast") -> bytes:
    message = {"role": "user", "content": words}
    return json.dumps({"model": model, "messages": [message]}).encode()


async def tallied(
    words: str, model: str = "fast", made: Counter | None = None
) -> Tally:
    found = await (made or counter()).tally(CHAT, chat(words), {}, model)
    assert found is not None
    return found


async def test_a_short_prompt_is_counted_with_its_markers() -> None:
    found = await tallied("Hello, world!")
    assert counter().count(found, GPT).tokens == 4 + 4 + 3


async def test_a_route_counts_with_the_encodings_of_its_deployments() -> None:
    assert set((await tallied("a", "fast")).text) == {"o200k_base"}
    assert set((await tallied("a", "old")).text) == {"cl100k_base"}
    assert set((await tallied("a", "unknown")).text) == {"o200k_base"}


async def test_a_route_needs_room_for_the_longest_of_its_candidates() -> None:
    made = counter()
    found = await tallied(PROSE * 20, "both", made)
    both = made.count_for_route(found, "both")
    assert both.bound >= max(made.count(found, one).bound for one in (GPT, CLAUDE))
    assert both.tokens == made.count(found, CLAUDE).tokens


class Clock:
    """Time passes at each look."""

    def __init__(self, step: float) -> None:
        self.step = step
        self.now = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.mark.parametrize("step", [0.0, 1.0])
async def test_a_long_prompt_counts_alike_here_and_in_a_thread(
    step: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow ones leave the loop after their first piece."""
    threads = 0
    run_sync = trio.to_thread.run_sync

    async def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal threads
        threads += 1
        return await run_sync(*args, **kwargs)

    monkeypatch.setattr(trio.to_thread, "run_sync", counted)
    words = PROSE * 1000
    found = await tallied(words, made=counter(Clock(step)))
    assert found.text["o200k_base"] == len(
        encoding("o200k_base").encode_ordinary(words)
    )
    assert threads == int(step)


@pytest.mark.parametrize("times", [1_000, 10_000])
async def test_a_long_prompt_for_estimated_families_is_sampled(times: int) -> None:
    """Counting all of it would not say more than the family's factor lets it."""
    words = PROSE * times
    exact = len(encoding("o200k_base").encode_ordinary(words))
    made = counter()
    found = await tallied(words, "claude", made)
    assert found.text["o200k_base"] == pytest.approx(exact, rel=found.sampled_error)
    estimated = made.count(found, CLAUDE)
    counted = made.count(await tallied(words, "both", made), CLAUDE)
    assert estimated.bound > counted.bound * 0.95
    assert estimated.error > counted.error


async def test_a_long_prompt_that_somebody_counts_exactly_is_counted() -> None:
    words = PROSE * 1_000
    found = await tallied(words, "both")
    exact = len(encoding("o200k_base").encode_ordinary(words))
    assert (found.text["o200k_base"], found.sampled_error) == (exact, 0.0)


async def test_what_was_learned_does_not_narrow_a_sample() -> None:
    made = counter()
    found = await tallied(PROSE * 1_000, "claude", made)
    for _ in range(40):
        made.learned_prompt(found, CLAUDE, made.count(found, CLAUDE).tokens)
    assert made.count(found, CLAUDE).error >= found.sampled_error


async def test_a_reload_decides_anew_what_is_counted() -> None:
    made = counter()
    words = PROSE * 1_000
    assert (await tallied(words, "claude", made)).sampled_error
    made.follow(YARDSTICKS, {"claude": (CLAUDE, GPT)})
    assert not (await tallied(words, "claude", made)).sampled_error


async def test_a_large_body_is_read_in_a_thread() -> None:
    words = PROSE * (counting.BODY_INLINE_BYTES_MAX // len(PROSE) + 1)
    found = await tallied(words)
    assert found.text["o200k_base"] == len(
        encoding("o200k_base").encode_ordinary(words)
    )


async def test_what_cannot_be_read_is_left_to_its_dialect() -> None:
    made = counter()
    assert await made.tally(CHAT, b"{}", {}, "fast") is None
    assert await made.tally(RESPONSES, b"{}", {}, "fast") is None
    assert await made.tally(MESSAGES, b'{"messages": 5}', {}, "fast") is None


async def test_other_dialects_are_counted_through_their_parser() -> None:
    body = json.dumps({"model": "fast", "input": "Hello, world!"}).encode()
    found = await counter().tally(RESPONSES, body, {}, "fast")
    assert found is not None
    assert found.text["o200k_base"] == 4


async def test_a_question_is_answered_for_its_route() -> None:
    request = CHAT.parse_request(chat("Hello, world!", "fast"), {})
    assert (await counter().count_request(request)).tokens == 11
    assert (await counter().count_request(request, CLAUDE)).tokens == 13


async def test_reported_prompts_correct_the_deployment_alone() -> None:
    made = counter()
    found = await tallied(PROSE * 50, "both", made)
    before = made.count(found, CLAUDE)
    for _ in range(40):
        made.learned_prompt(found, CLAUDE, round(before.tokens * 1.25))
    after = made.count(found, CLAUDE)
    assert after.tokens == pytest.approx(before.tokens * 1.25, rel=0.01)
    assert after.error < before.error
    assert made.count(found, GPT).tokens == counter().count(found, GPT).tokens


async def test_what_the_provider_added_teaches_nothing() -> None:
    """A web search is not a tokenizer."""
    made = counter()
    tool = {"type": "web_search"}
    body = json.dumps({"messages": [], "tools": [tool]}).encode()
    found = await made.tally(CHAT, body, {}, "fast")
    assert found is not None
    for _ in range(40):
        made.learned_prompt(found, GPT, 9000)
    assert made.correction(GPT).calls == 0


def test_answers_teach_how_long_a_token_is() -> None:
    made = counter()
    assert made.chars_per_token(GPT) == counting.CHARS_PER_TOKEN
    made.learned_output(GPT, 5, 1)  # Too short to say anything.
    assert made.chars_per_token(GPT) == counting.CHARS_PER_TOKEN
    for _ in range(60):
        made.learned_output(GPT, 200, 100)
    assert made.chars_per_token(GPT) == pytest.approx(2.0, rel=0.01)
    made.learned_output(CLAUDE, 10_000, 100)
    assert made.chars_per_token(CLAUDE) == counting.CHARS_PER_TOKEN_MAX


async def test_a_reload_keeps_what_was_learned() -> None:
    made = counter()
    found = await tallied(PROSE * 50, "fast", made)
    for _ in range(20):
        made.learned_prompt(found, GPT, 900)
    made.follow(YARDSTICKS, {"renamed": (GPT,)})
    assert made.correction(GPT).calls == 20
    assert (
        made.count_for_route(found, "renamed").tokens == made.count(found, GPT).tokens
    )


async def test_a_conversation_that_grew_is_counted_and_not_estimated() -> None:
    """Its earlier turns are known, so only the last has to be counted."""
    made = counter()
    turns = [f"{number}: {PROSE * 20}" for number in range(40)]
    found: Tally | None = None
    for end in range(1, len(turns) + 1):
        messages = [{"role": "user", "content": turn} for turn in turns[:end]]
        body = json.dumps({"model": "claude", "messages": messages}).encode()
        found = await made.tally(CHAT, body, {}, "claude")
    assert found is not None
    exact = sum(len(encoding("o200k_base").encode_ordinary(turn)) for turn in turns)
    assert sum(map(len, turns)) > 2 * text.SAMPLED_CHARS_MIN
    assert (found.text["o200k_base"], found.sampled_error) == (exact, 0.0)
