"""The guard, the Markdown cuts, the meter and the gathering of deltas."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.stream.hooks import coalesce, guard, markdown, meter
from actors.stream.hooks.api import Halt, Hook, Part
from actors.stream.hooks.markdown import open_from

PART = Part(0, "text", 0)


def through(hook: Hook, pieces: list[str]) -> str:
    """What is shown in all; of a halt, what is shown before it and "|" + its reason."""
    shown = ""
    try:
        for piece in pieces:
            shown += hook.on_delta(piece, PART)
        shown += hook.on_flush(PART)
    except Halt as halt:
        return f"{shown}{halt.shown}|{halt.reason}"
    return shown


def cut(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


TEXTS = st.text(alphabet="ab banc.\n", max_size=120)


@given(TEXTS, st.integers(1, 40), st.sampled_from(["stop", "mask"]))
def test_the_guard_says_the_same_however_it_is_cut(
    text: str, size: int, deed: str
) -> None:
    def make() -> Hook:
        return guard.make({"words": "ban,b a", "do": deed, "window_chars": "10"})

    assert through(make(), cut(text, size)) == through(make(), [text])


@given(TEXTS, st.integers(1, 40))
def test_a_masked_word_is_masked_as_a_plain_regex_would(text: str, size: int) -> None:
    hook = guard.make({"words": "ban", "do": "mask", "window_chars": "10"})

    expected = re.sub(r"\bban\b", "***", text, flags=re.ASCII)

    assert through(hook, cut(text, size)) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_nothing_of_a_find_is_shown_before_the_answer_stops(size: int) -> None:
    hook = guard.make({"words": "forbidden", "window_chars": "20"})

    told = through(hook, cut("This is a forbidden thing to say, is it not?", size))

    assert told == "This is a |content_filter"


def test_a_guard_that_fails_shows_nothing_of_the_piece() -> None:
    hook = guard.make({"pattern": "bad+", "do": "fail"})

    assert through(hook, ["good and baddd " + "x" * 100]) == "|None"


def test_a_word_at_the_very_end_is_found() -> None:
    hook = guard.make({"words": "bad", "do": "mask"})

    assert through(hook, ["all is b", "ad"]) == "all is ***"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pattern": "(unclosed"},
        {"words": "x", "do": "explode"},
        {"words": "x", "window_chars": "0"},
        {"pattern": r"(a)\1"},  # Backreferences take more than linear time.
        {"pattern": "x", "else": "y"},
    ],
)
def test_a_guard_with_bad_options_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        guard.make(options)


@given(st.text(alphabet="ab*_`[]()!\\ \n~", max_size=80), st.integers(1, 20))
def test_markdown_loses_and_adds_nothing(text: str, size: int) -> None:
    assert through(markdown.make({}), cut(text, size)) == text


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain text", "plain text"),
        ("a **bold", "a "),
        ("a **bold** b", "a **bold** b"),
        ("a **bold**", "a "),
        ("a `code`", "a "),
        ("see [the page", "see "),
        ("see [the page](http://x", "see "),
        ("see [the page](http://x)", "see [the page](http://x)"),
        ("see [the page] and", "see [the page] and"),
        ("run `rm -r", "run "),
        ("run `a*b` and", "run `a*b` and"),
        ("5 \\* 3 is", "5 \\* 3 is"),
        ("ends in *", "ends in "),
        ("![pic](u", ""),
    ],
)
def test_text_is_kept_back_from_the_first_open_mark(line: str, shown: str) -> None:
    assert line[: open_from(line)] == shown


def test_a_line_end_lets_everything_go_and_a_fence_is_shown_as_it_comes() -> None:
    hook = markdown.make({})

    assert hook.on_delta("2 * 3", PART) == "2 "
    assert hook.on_delta(" = 6\n", PART) == "* 3 = 6\n"
    assert hook.on_delta("```py\na * b", PART) == "```py\na * b"
    assert hook.on_delta("\n```\n**b", PART) == "\n```\n"
    assert hook.on_flush(PART) == "**b"


def test_what_was_closed_is_shown_with_the_next_piece() -> None:
    hook = markdown.make({})

    shown = [hook.on_delta(one, PART) for one in ["a **b", "old**", " c", " d"]]

    assert shown == ["a ", "", "**bold** c", " d"]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 50])
def test_a_fence_is_seen_however_it_is_cut(size: int) -> None:
    hook = markdown.make({})
    shown = ""
    for piece in cut("```py\na * b\n```\nthen **bold", size):
        shown += hook.on_delta(piece, PART)

    assert shown == "```py\na * b\n```\nthen "


def test_a_lone_mark_waits_no_longer_than_its_bound() -> None:
    hook = markdown.make({"chars_max": "10"})

    assert hook.on_delta("a *", PART) == "a "
    assert hook.on_delta("b" * 20, PART) == "*" + "b" * 20


def test_the_meter_ends_an_answer_at_its_bound_and_not_before() -> None:
    hook = meter.make({"tokens_max": "5", "chars_per_token": "2"})

    assert through(hook, ["abcd", "efgh", "ijkl"]) == "abcdefghij|length"
    assert through(meter.make({"tokens_max": "5"}), ["a" * 20]) == "a" * 20


def test_deltas_are_gathered_while_an_interval_runs() -> None:
    hook = coalesce.make({"interval_ms": "100", "chars_max": "6"})

    assert hook.on_delta("first ", PART) == "first "
    assert hook.on_delta("a", PART) == ""
    assert hook.on_delta("b", PART) == ""
    assert hook.on_flush(PART) == "ab"
    assert hook.on_delta("abcdefg", PART) == "abcdefg"
    assert hook.on_flush(PART) == ""
    assert hook.on_delta("after a pause", PART) == "after a pause"
