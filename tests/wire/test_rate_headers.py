"""What clients are told of pace."""

from __future__ import annotations

import pytest

from wire.anthropic_errors import render_error as anthropic_error
from wire.events import Fault, FaultKind
from wire.openai_errors import render_error as openai_error
from wire.rate_headers import FIELDS_PASSED_MAX, passed_on

OPENAI = [
    (b"Date", b"Tue, 24 Nov 2026 09:00:00 GMT"),
    (b"X-RateLimit-Limit-Requests", b"500"),
    (b"x-ratelimit-remaining-requests", b"499"),
    (b"x-ratelimit-reset-requests", b"120ms"),
    (b"x-ratelimit-limit-tokens", b"30000"),
    (b"set-cookie", b"a=b"),
]
ANTHROPIC = [
    (b"date", b"Tue, 24 Nov 2026 09:00:00 GMT"),
    (b"anthropic-ratelimit-requests-limit", b"50"),
    (b"anthropic-ratelimit-requests-remaining", b"49"),
    (b"anthropic-ratelimit-requests-reset", b"2026-11-24T09:00:01Z"),
    (b"anthropic-ratelimit-input-tokens-limit", b"1000"),
]


def test_a_client_of_the_same_family_gets_the_fields_as_they_are() -> None:
    assert passed_on("openai_responses", OPENAI) == (
        ("x-ratelimit-limit-requests", "500"),
        ("x-ratelimit-remaining-requests", "499"),
        ("x-ratelimit-reset-requests", "120ms"),
        ("x-ratelimit-limit-tokens", "30000"),
    )
    assert len(passed_on("anthropic", ANTHROPIC)) == 4


def test_a_client_of_another_family_gets_them_in_its_own_words() -> None:
    assert dict(passed_on("anthropic", OPENAI)) == {
        "anthropic-ratelimit-requests-limit": "500",
        "anthropic-ratelimit-requests-remaining": "499",
        "anthropic-ratelimit-requests-reset": "2026-11-24T09:00:00Z",
        "anthropic-ratelimit-tokens-limit": "30000",
    }
    assert dict(passed_on("openai_chat", ANTHROPIC)) == {
        "x-ratelimit-limit-requests": "50",
        "x-ratelimit-remaining-requests": "49",
        "x-ratelimit-reset-requests": "1.000s",
    }


def test_googles_clients_know_no_such_fields() -> None:
    assert passed_on("gemini", OPENAI) == ()


def test_a_provider_cannot_fill_a_head_or_split_it() -> None:
    many = [(b"x-ratelimit-a%d" % n, b"1") for n in range(200)]
    assert len(passed_on("openai_chat", many)) == FIELDS_PASSED_MAX
    bad = [(b"x-ratelimit-a", b"1\r\nset-cookie: x"), (b"x-ratelimit-b", b"9" * 999)]
    assert passed_on("openai_chat", bad) == ()


@pytest.mark.parametrize("render", [openai_error, anthropic_error])
@pytest.mark.parametrize(
    ("kind", "code", "wait_s", "told"),
    [
        ("client", "bad", None, {"x-should-retry": "false"}),
        ("key", None, None, {"x-should-retry": "false"}),
        (
            "ours",
            "insufficient_quota",
            86_400.0,
            {"retry-after": "60", "x-should-retry": "false"},
        ),
        ("throttle", "slow", 0.2, {"retry-after": "1", "x-should-retry": "true"}),
        ("transient", "down", None, {}),
    ],
)
def test_a_client_is_told_whether_to_come_back(
    render: object, kind: FaultKind, code: str | None, wait_s: float, told: object
) -> None:
    """A spend cap is a 429 that no client should retry; clients do unless told."""
    assert callable(render)
    fault = Fault(kind, "no", status=429, code=code, retry_after_s=wait_s)
    headers = dict(render(fault).headers)
    del headers["content-type"]

    assert headers == told
