from __future__ import annotations

from itertools import pairwise

import pytest
import re2  # type: ignore[import-untyped] # it ships no types
from hypothesis import given
from hypothesis import strategies as st

from actors.stream.hooks.api import Part
from actors.stream.hooks.linear import Found, compiled
from actors.stream.hooks.redact import KINDS, PATTERNS, Check, luhn, make, mod97
from actors.stream.hooks.runs import RUN_CHARS_MAX, Runs

PART = Part(0, "text", 0)
# Published test numbers: none belongs to anybody.
SAMPLES = {
    "secrets": [
        "sk-proj-abcdEFGH1234567890abcdEFGH",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_" + "a1B2" * 9,
        "xoxb-1234567890-abcdefghij",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmN",
    ],
    "email": ["jane.doe+x@mail.example.org", "a@b.io"],
    "phone": ["+49 30 1234567", "(030) 123-4567", "+1-202-555-0143"],
    "card": ["4242 4242 4242 4242", "378282246310005", "5555-5555-5555-4444"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB82 WEST 1234 5698 7654 32"],
    "ip": ["192.0.2.146", "2001:db8:85a3:0:0:8a2e:370:7334"],
}
HARMLESS = [
    "In 2026 we sold 1,234 units at $5.99 each; see section 3.2.1.",
    "The order 4242424242424241 of 2026-11-24 10:46 is on its way.",
    "He said: meet me @ noon, or email me (no address given).",
    "version 1.2.3.4.5 and 300.1.2.3 are no addresses",
    "The ratio is 3:4:5 and the time 10:46:45.",
]


def redacted(text: str, cuts: list[int], what: str = ",".join(KINDS)) -> str:
    hook = make({"what": what})
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    shown = [hook.on_delta(text[a:b], PART) for a, b in pairwise(edges)]
    return "".join(shown) + hook.on_flush(PART)


@pytest.mark.parametrize("kind", SAMPLES)
def test_each_kind_is_masked_in_a_sentence(kind: str) -> None:
    for sample in SAMPLES[kind]:
        text = f"Please take {sample}, and thank you very much."

        told = redacted(text, [])

        assert told == f"Please take [{kind}], and thank you very much."


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_numbers_and_words_stay(text: str) -> None:
    assert redacted(text, []) == text


WORDS = st.sampled_from(
    [one for many in SAMPLES.values() for one in many]
    + ["and", "the", "WEST", "12", "x@", "-----BEGIN", "größe", "漢字", "\n", ""]
)


@given(st.lists(WORDS, max_size=12), st.lists(st.integers(0, 400), max_size=40))
def test_however_it_is_cut_the_answer_reads_the_same(
    words: list[str], cuts: list[int]
) -> None:
    text = " ".join(words)

    assert redacted(text, cuts) == redacted(text, [])


@given(st.text(max_size=200), st.lists(st.integers(0, 200), max_size=20))
def test_any_text_at_all_reads_the_same_however_it_is_cut(
    text: str, cuts: list[int]
) -> None:
    assert redacted(text, cuts) == redacted(text, [])


@given(st.sampled_from(SAMPLES["secrets"]), st.integers(1, 30))
def test_no_piece_of_a_secret_is_ever_shown(secret: str, size: int) -> None:
    hook = make({})
    text = f"The key is {secret} for you"
    shown = ""
    for at in range(0, len(text), size):
        shown += hook.on_delta(text[at : at + size], PART)
        assert secret[:6] not in shown
    shown += hook.on_flush(PART)

    assert shown == "The key is [secrets] for you"


def test_a_private_key_is_one_secret_over_many_lines() -> None:
    body = "\n".join("MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" for _ in range(20))
    # Put together here, so that no scanner takes this file for a leak.
    key = f"-----BEGIN {'PRIVATE'} KEY-----\n{body}\n-----END {'PRIVATE'} KEY-----"

    told = redacted(f"here:\n{key}\nwas it", list(range(0, 700, 7)))

    assert told == "here:\n[secrets]was it"


def test_prose_waits_for_no_more_than_a_word() -> None:
    hook = make({})

    assert hook.on_delta("The quick brown fo", PART) == "The quick brown "
    assert hook.on_delta("x jumps", PART) == "fox "


def test_a_run_without_an_end_is_let_go_at_its_bound() -> None:
    runs = Runs()
    kept = sum(map(len, runs.feed("x" * (RUN_CHARS_MAX * 2 + 10))))

    assert kept == RUN_CHARS_MAX * 2
    assert runs.flush() == "x" * 10


@pytest.mark.parametrize(
    ("digits", "good"), [("4242424242424242", True), ("4242424242424241", False)]
)
def test_luhn(digits: str, good: bool) -> None:
    assert luhn(digits) is good


def test_mod97() -> None:
    assert mod97("GB82WEST12345698765432")
    assert not mod97("GB82WEST12345698765433")


def test_only_what_was_asked_for_is_masked() -> None:
    text = "Ask jane@example.org or 192.0.2.1 please"

    assert redacted(text, [], what="email") == "Ask [email] or 192.0.2.1 please"


@pytest.mark.parametrize(
    "options",
    [{"what": "emails"}, {"what": ""}, {"whatever": "x"}, {"tool_arguments": "maybe"}],
)
def test_bad_options_say_what_there_is(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"there are|name some of|yes or no"):
        make(options)


def test_patterns_are_linear() -> None:
    """RE2 compiles every one of them, so none can backtrack."""
    assert re2.compile("(a+)+$").search("a" * 50_000 + "b") is None
    assert redacted("1 " * 20_000, []) is not None


@given(
    st.lists(
        st.one_of(
            st.sampled_from([one for kind in SAMPLES.values() for one in kind]),
            st.text(alphabet="aZ09 .:@+-(),/_x", max_size=24),
        ),
        max_size=6,
    ).map(" ".join),
    st.integers(1, 9),
)
def test_what_is_looked_for_only_where_it_may_be_is_all_that_there_is(
    text: str, size: int
) -> None:
    """Word by word, most text is never shown to a pattern: none is missed by that."""
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    hook = make({})
    shown = "".join(hook.on_delta(piece, PART) for piece in pieces)
    shown += hook.on_flush(PART)
    runs = Runs()
    assert shown == "".join(map(_masked_everywhere, [*runs.feed(text), runs.flush()]))


def _masked_everywhere(run: str) -> str:
    for kind, pattern, check, _ in PATTERNS:

        def judge(found: Found, kind: str = kind, check: Check | None = check) -> str:
            text = found.group(0)
            lead = text[: len(text) - len(text.lstrip())]
            return text if check is not None and not check(text) else f"{lead}[{kind}]"

        run = compiled(pattern).sub(judge, run)
    return run
