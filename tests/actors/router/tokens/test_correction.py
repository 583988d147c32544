"""What reported usage teaches, and what it may not."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.router.tokens.correction import (
    CALLS_MIN,
    NOTHING,
    RATIO_MAX,
    RATIO_MIN,
    Correction,
    learn,
)
from actors.router.tokens.families import FAMILIES, UNKNOWN, family_of
from gateway.settings.words import TOKENIZER


def taught(reports: list[tuple[int, int]]) -> Correction:
    correction = NOTHING
    for estimated, reported in reports:
        correction = learn(correction, estimated, reported)
    return correction


def test_a_few_calls_prove_nothing() -> None:
    correction = taught([(1000, 1400)] * (CALLS_MIN - 1))
    assert correction.ratio == 1.0
    assert correction.error(0.35) == 0.35


def test_a_steady_ratio_is_learned_and_its_bound_narrows() -> None:
    correction = taught([(1000, 1400)] * 40)
    assert correction.ratio == pytest.approx(1.4)
    assert correction.error(0.35) < 0.1


def test_a_new_tokenizer_is_learned_within_some_dozens_of_calls() -> None:
    correction = taught([(1000, 1000)] * 100 + [(1000, 1400)] * 60)
    assert correction.ratio == pytest.approx(1.4, rel=0.03)


def test_long_prompts_count_for_more() -> None:
    correction = taught([(100, 200), (10_000, 11_000)] * 50)
    assert correction.ratio == pytest.approx(1.11, rel=0.05)


def test_unsteady_reports_keep_the_bound_wide() -> None:
    rng = random.Random(3)
    reports = [(1000, rng.randrange(700, 1600)) for _ in range(100)]
    assert taught(reports).error(0.35) == 0.35


@given(st.lists(st.tuples(st.integers(-5, 10**7), st.integers(-5, 10**7)), max_size=60))
def test_no_report_bursts_the_correction(reports: list[tuple[int, int]]) -> None:
    correction = taught(reports)
    assert RATIO_MIN <= correction.ratio <= RATIO_MAX
    assert 0 <= correction.error(0.5) <= 0.5


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-5.4-mini", "o200k-5"), ("o3-mini", "o200k-5"), ("gpt-4.1", "o200k"),
        ("gpt-4-turbo", "cl100k"), ("gpt-35-turbo", "cl100k"), ("gpt-4-0613", "cl100k"),
        ("openai/gpt-oss-120b", "harmony"), ("ft:gpt-4o-mini:org::id", "o200k"),
        ("claude-3-5-sonnet-20241022", "claude"), ("claude-opus-4-6", "claude"),
        ("claude-opus-4-20250514", "claude"), ("claude-opus-4-7", "claude-4.7"),
        ("claude-sonnet-5", "claude-4.7"),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "claude"),
        ("gemini-2.5-pro", "gemini"), ("deepseek-r1-distill-llama-70b", "llama3"),
        ("meta-llama/Llama-4-Scout", "llama4"), ("Qwen3-Coder", "qwen"),
        ("grok-4-1-fast", "grok"), ("grok-4.3", "grok-4.3"), ("glm-4.7", "glm"),
        ("my-deployment", "unknown"),
    ],
)  # fmt: skip
def test_a_name_tells_the_family(model: str, family: str) -> None:
    assert family_of(model).name == family


def test_an_unknown_model_is_counted_high() -> None:
    assert UNKNOWN.factor >= 1.15
    assert UNKNOWN.error >= 0.5


def test_the_setting_offers_every_family() -> None:
    for name in FAMILIES:
        assert TOKENIZER.read(name) == name


def test_one_absurd_report_is_forgotten_like_any_other() -> None:
    """A billion tokens once must not double every hold for hundreds of calls."""
    for lie in (10**9, 10**18, 1):
        before = taught([(1000, 1100)] * 50)
        after = learn(before, 1000, lie)
        for _ in range(60):
            after = learn(after, 1000, 1100)
        assert after.ratio == pytest.approx(1.1, rel=0.02)
