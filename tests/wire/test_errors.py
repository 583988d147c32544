"""Whose fault an error is: every recorded one, and those we only know of.

The expected kinds are written from the class table (the documentation of the wire), not
from the code.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.recordings_reader import read
from tests.support_recordings import case, cases
from wire.errors import AFTER_CONTENT, CLASSES, class_of, classify, classify_event
from wire.events import Fault, FaultKind

RECORDED: dict[str, tuple[FaultKind, str | None]] = {
    "anthropic/count-tokens-error-404--count-tokens-error": (
        "client",
        "model_not_found",
    ),
    "anthropic/messages-error-400--error": ("client", None),
    "anthropic/messages-error-400-context--handles-context-length-exceeded-errors": (
        "context",
        "context_length_exceeded",
    ),
    "anthropic/messages-error-401--beta-true-1913e018": ("key", "authentication_error"),
    "anthropic/messages-error-404--name-suggestion": ("client", "model_not_found"),
    "azure-openai/chat-error-429-context--handles-context-length-exceeded-errors": (
        "throttle",
        "rate_limit_exceeded",
    ),
    "azure-openai/embeddings-error-401--embeddings": ("key", "invalid_api_key"),
    "bedrock-invoke/invoke-error-403--meta-invoke-error": (
        "key",
        "ExpiredTokenException",
    ),
    "bedrock/converse-error-400-context--handles-context-length-exceeded-errors": (
        "context",
        "context_length_exceeded",
    ),
    "bedrock/converse-error-400-invalid--converse-invalid": (
        "client",
        "model_not_found",
    ),
    "bedrock/converse-error-403--converse-error": ("key", "ExpiredTokenException"),
    "bedrock/count-tokens-error-400--count-tokens-error": ("client", None),
    "bedrock/count-tokens-error-400--count-tokens-rejects-server-tools": (
        "client",
        None,
    ),
    "cohere/chat-error-401-auth--handling-raises-appropriate-auth-error": (
        "key",
        "invalid_api_key",
    ),
    "cohere/embed-error-404--testcohere": ("client", "model_not_found"),
    "compat-perplexity/chat-error-400-context"
    "--handles-context-length-exceeded-errors": ("context", "context_length_exceeded"),
    "compat-perplexity/chat-error-401-auth--sonar-raises-appropriate-auth-error": (
        "key",
        "invalid_api_key",
    ),
    "deepseek/chat-error-400-context--handles-context-length-exceeded-errors": (
        "context",
        "context_length_exceeded",
    ),
    "deepseek/responses-error-400--responses-rejects-interleaved-function-calls": (
        "client",
        None,
    ),
    "gemini/counttokens-error-404--testgoogle": ("client", "model_not_found"),
    "gemini/fixture-error-429-retry-info": ("throttle", "rate_limit_exceeded"),
    "gemini/generatecontent-error-400-auth--handling-raises-appropriate-auth-error": (
        "key",
        "API_KEY_INVALID",
    ),
    "gemini/generatecontent-error-404--name-suggestion": ("client", "model_not_found"),
    "groq/chat-error-400--tool-use-failed-error": ("client", "tool_use_failed"),
    "groq/chat-error-404--name-suggestion": ("client", "model_not_found"),
    "groq/chat-error-404--tool-regular-error": ("client", "model_not_found"),
    "mistral/chat-error-401-auth--handling-raises-appropriate-auth-error": (
        "key",
        "invalid_api_key",
    ),
    "ollama-openai/chat-error-400-context--handles-context-length-exceeded-errors": (
        "context",
        "context_length_exceeded",
    ),
    "openai-chat/chat-error-400--system-role": ("client", "unsupported_value"),
    "openai-chat/chat-error-401--error": ("key", "invalid_api_key"),
    "openai-chat/chat-error-404--name-suggestion": ("client", "model_not_found"),
    "openai-chat/chat-error-404-404": ("client", "model_not_found"),
    "openai-chat/fixture-error-400-max-tokens": ("client", "unsupported_parameter"),
    "openai-completions/completions-error-400--48ee296c": ("client", None),
    "openai-completions/completions-error-401--error": ("key", "invalid_api_key"),
    "openai-embeddings/embeddings-error-404-not-found--embeddings-not-found": (
        "client",
        "model_not_found",
    ),
    "openai-responses/fixture-error-429-insufficient-quota": (
        "key",
        "insufficient_quota",
    ),
    "openai-responses/responses-error-400--name-suggestion": (
        "client",
        "model_not_found",
    ),
    "openai-responses/responses-error-400--responses-create-error": (
        "client",
        "model_not_found",
    ),
    "openai-responses/responses-error-400--responses-http-error": (
        "client",
        "decimal_below_min_value",
    ),
    "openai-responses/responses-error-400--responses-thinking-modified-history": (
        "client",
        None,
    ),
    "openai-responses/responses-error-401--parallel-error-continue-mode": (
        "key",
        "invalid_api_key",
    ),
    "openai-responses/responses-error-401--response-error": ("key", "invalid_api_key"),
    "openai-responses/responses-error-401-auth"
    "--handling-raises-appropriate-auth-error": ("key", "invalid_api_key"),
    "openai-responses/responses-error-401-context"
    "--operations-uses-context-specific-keys": ("key", "invalid_api_key"),
    "openrouter/chat-error-400-context--handles-context-length-exceeded-errors": (
        "context",
        "context_length_exceeded",
    ),
    "openrouter/chat-error-401-auth--handling-raises-appropriate-auth-error": (
        "key",
        "invalid_api_key",
    ),
    "openrouter/chat-error-429--errors-raised": ("throttle", "rate_limit_exceeded"),
    "vertex/generatecontent-error-400-context"
    "--handles-context-length-exceeded-errors": ("context", "context_length_exceeded"),
    "xai/responses-error-400-auth--handling-raises-appropriate-auth-error": (
        "key",
        "invalid_api_key",
    ),
}
PROVIDERS = ("anthropic", "bedrock", "cohere", "gemini", "groq", "mistral", "xai", "x")


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_every_recorded_error_is_in_the_table() -> None:
    assert {one.name for one in cases(ok=False)} == set(RECORDED)
    assert len(RECORDED) == 50


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_errors_are_classified(name: str) -> None:
    one = case(name)
    headers = {key.lower(): value for key, value in one.response_headers.items()}

    fault = classify(one.provider, one.status, headers, one.body)

    other = read(one).error
    assert other is not None
    assert (fault.kind, fault.code) == RECORDED[name]
    assert fault.kind == other.kind
    if fault.kind != "key":
        assert fault.message == other.message
    assert fault.status == one.status


@pytest.mark.parametrize(
    ("provider", "status", "headers", "answer", "kind", "code"),
    [
        # The class table, row by row.
        ("x", 400, {}, body(error={"message": "bad"}), "client", None),
        ("x", 413, {}, b"", "client", None),
        ("x", 422, {}, b"", "client", None),
        ("x", 401, {}, b"", "key", "invalid_api_key"),
        ("x", 402, {}, b"", "key", "invalid_api_key"),
        ("x", 403, {}, body(error={"message": "no"}), "key", "invalid_api_key"),
        ("x", 429, {}, b"", "throttle", "rate_limit_exceeded"),
        ("x", 529, {}, b"", "throttle", "rate_limit_exceeded"),
        *(
            ("x", status, {}, b"", "transient", None)
            for status in (408, 409, 424, 500, 502, 503, 504, 520, 301)
        ),
        # The two meanings of 498.
        ("groq", 498, {}, b"", "throttle", "rate_limit_exceeded"),
        ("cohere", 498, {}, body(message="invalid token"), "key", "invalid_api_key"),
        # Keys refused with other statuses than 401.
        (
            "anthropic",
            400,
            {},
            body(
                type="error",
                error={
                    "type": "invalid_request_error",
                    "message": "Your credit balance is too low to access the API.",
                },
            ),
            "key",
            "invalid_api_key",
        ),
        (
            "bedrock",
            403,
            {"x-amzn-errortype": "UnrecognizedClientException:http://x/"},
            body(message="The security token included in the request is invalid."),
            "key",
            "UnrecognizedClientException",
        ),
        (
            "gemini",
            400,
            {},
            body(error={"status": "FAILED_PRECONDITION", "message": "location"}),
            "key",
            "FAILED_PRECONDITION",
        ),
        # Bedrock says by name what its statuses do not.
        (
            "bedrock",
            400,
            {"x-amzn-errortype": "ServiceQuotaExceededException"},
            body(message="quota"),
            "throttle",
            "rate_limit_exceeded",
        ),
        (
            "bedrock",
            429,
            {"x-amzn-errortype": "ModelNotReadyException"},
            body(message="not ready"),
            "throttle",
            "rate_limit_exceeded",
        ),
        (
            "bedrock",
            424,
            {"x-amzn-errortype": "ModelErrorException"},
            body(message="model"),
            "transient",
            "ModelErrorException",
        ),
        (
            "bedrock",
            400,
            {},
            body(__type="com.amazon.coral#ThrottlingException", Message="slow"),
            "throttle",
            "rate_limit_exceeded",
        ),
        (
            "bedrock",
            400,
            {"x-amzn-errortype": "ValidationException:"},
            body(message="Input is too long for requested model."),
            "context",
            "context_length_exceeded",
        ),
        # One model we never subscribed to must not take the key from all the others.
        (
            "bedrock",
            403,
            {"x-amzn-errortype": "AccessDeniedException:"},
            body(message="You don't have access to the model with the specified ID."),
            "client",
            "model_not_found",
        ),
        # Azure's filter, the verdict of OpenRouter's moderation.
        (
            "azure",
            400,
            {},
            body(
                error={
                    "code": "content_filter",
                    "message": "filtered",
                    "innererror": {"code": "ResponsibleAIPolicyViolation"},
                }
            ),
            "client",
            "content_filter",
        ),
        (
            "openrouter",
            403,
            {},
            body(
                error={"code": 403, "message": "no", "metadata": {"flagged_input": ""}}
            ),
            "client",
            "content_filter",
        ),
        # Not the provider's API speaking: a proxy's page, a path that is not served.
        ("x", 403, {}, b"<html>Attention Required!</html>", "transient", None),
        ("x", 404, {}, b"404 page not found", "transient", None),
        ("x", 404, {}, body(detail="Not Found"), "transient", None),
        # Words for "too long" that were not recorded.
        *(
            ("x", 400, {}, body(error={"message": text}), "context", None)
            for text in (
                "This model's maximum prompt length is 131072 but the request contains",
                "input length and `max_tokens` exceed context limit: 1 + 2 > 2",
                "Your input exceeds the context window of this model.",
                "the request exceeds the available context size, try increasing it",
                "too many tokens: total number of tokens in the prompt cannot exceed",
                "9 tokens, too large for model with 8 maximum context length",
            )
        ),
        (
            "groq",
            413,
            {},
            body(error={"message": "Request too large"}),
            "context",
            None,
        ),
        ("ollama", 404, {}, body(error="model 'x' not found"), "client", None),
        ("ollama", 503, {}, body(error="server busy"), "transient", None),
        # Mistral's three shapes.
        (
            "mistral",
            429,
            {},
            body(object="error", message="slow", code="1300"),
            "throttle",
            None,
        ),
        (
            "mistral",
            422,
            {},
            body(
                object="error",
                message={
                    "detail": [{"loc": ["body", "n"], "msg": "bad", "input": "s"}]
                },
            ),
            "client",
            None,
        ),
        (
            "mistral",
            422,
            {},
            body(detail=[{"loc": ["body", "n"], "msg": "bad", "input": "s"}]),
            "client",
            None,
        ),
        # vLLM's flat error; Google's list of one.
        (
            "vllm",
            400,
            {},
            body(object="error", message="bad", type="BadRequestError", code=400),
            "client",
            None,
        ),
        (
            "vertex",
            503,
            {},
            json.dumps([{"error": {"code": 503, "status": "UNAVAILABLE"}}]).encode(),
            "transient",
            "UNAVAILABLE",
        ),
    ],
)
def test_errors_we_know_of_are_classified(
    *,
    provider: str,
    status: int,
    headers: dict[str, str],
    answer: bytes,
    kind: FaultKind,
    code: str | None,
) -> None:
    fault = classify(provider, status, headers, answer)

    assert fault.kind == kind
    if code is not None:
        assert fault.code == code
    assert fault.message
    assert fault.code is None or not fault.code.isdigit()


def test_a_client_cannot_make_its_mistake_look_like_our_key() -> None:
    """A key fault takes a key out of service, and messages echo what clients sent."""
    for provider in PROVIDERS:
        for words in ("Incorrect API key", "Your credit balance is too low"):
            echo = body(error={"message": f"unknown field '{words}'", "type": words})

            assert classify(provider, 400, {}, echo).kind == "client"


def test_a_key_in_a_message_goes_no_further() -> None:
    """OpenAI masks long keys and repeats short ones; others repeat them all."""
    key = "sk-test-0123456789abcdef"
    for status in (400, 401, 500):
        answer = body(error={"message": f"Incorrect API key provided: {key}."})

        fault = classify("x", status, {}, answer)

        assert key not in fault.message


def test_field_errors_name_the_field_and_not_what_was_in_it() -> None:
    detail = [{"loc": ["body", "messages", 0], "msg": "bad", "input": "the prompt"}]

    assert classify("mistral", 422, {}, body(detail=detail)).message == (
        "body.messages.0: bad"
    )


def test_long_messages_are_cut() -> None:
    fault = classify("x", 400, {}, body(error={"message": "y" * 100_000}))

    assert len(fault.message) == 2000


@pytest.mark.parametrize(
    ("headers", "answer", "request_id"),
    [
        ({"x-request-id": "r1"}, b"", "r1"),
        ({"x-amzn-requestid": "r2"}, b"", "r2"),
        ({}, body(type="error", error={}, request_id="r3"), "r3"),
        ({}, body(id="r4", message="m"), "r4"),
        ({}, b"[]", ""),
    ],
)
def test_the_request_id_is_kept_for_support(
    headers: dict[str, str], answer: bytes, request_id: str
) -> None:
    assert classify("x", 500, headers, answer).request_id == request_id


def test_a_retry_date_is_measured_by_the_providers_own_clock() -> None:
    headers = {
        "date": "Sat, 13 Sep 2025 11:19:00 GMT",
        "retry-after": "Sat, 13 Sep 2025 11:19:30 GMT",
    }

    assert classify("x", 429, headers, b"").retry_after_s == 30.0
    del headers["date"]
    assert classify("x", 429, headers, b"").retry_after_s is None


@pytest.mark.parametrize(
    ("provider", "word", "data", "kind", "status"),
    [
        ("bedrock", "ThrottlingException", b'{"message":"m"}', "throttle", 429),
        ("bedrock", "ModelStreamErrorException", b"{}", "transient", 424),
        ("bedrock", "ValidationException", b"", "client", 400),
        ("bedrock", "SomethingNewException", b"{}", "transient", 502),
        (
            "anthropic",
            "",
            body(type="error", error={"type": "overloaded_error", "message": "m"}),
            "throttle",
            529,
        ),
        (
            "groq",
            "",
            body(error={"code": "tool_use_failed", "status_code": 400, "message": "m"}),
            "client",
            400,
        ),
        ("openrouter", "", body(error={"code": 502, "message": "m"}), "transient", 502),
        ("openrouter", "", body(error={"code": "429"}), "throttle", 429),
        ("ollama", "", body(error="an error was encountered"), "transient", 502),
    ],
)
def test_errors_inside_an_answer_find_their_status(
    provider: str, word: str, data: bytes, kind: FaultKind, status: int
) -> None:
    fault = classify_event(provider, data, word=word)

    assert (fault.kind, fault.status) == (kind, status)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "code", "type", "details", "detail", "metadata"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.sampled_from(PROVIDERS),
    st.integers(300, 599),
    JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40),
)
def test_no_body_makes_the_classifier_fail(
    provider: str, status: int, answer: bytes
) -> None:
    classify(provider, status, {}, answer)
    classify_event(provider, answer)


def test_a_body_nested_beyond_reason_is_only_unreadable() -> None:
    assert classify("x", 500, {}, b"[" * 100_000).kind == "transient"


def test_the_class_table_is_the_documented_one() -> None:
    rows = {kind: (row.retry, row.fallback) for kind, row in CLASSES.items()}

    assert rows == {
        "client": ("no", "no"),
        "context": ("no", "larger_model"),
        "key": ("no", "yes"),
        "throttle": ("after_wait", "yes"),
        "transient": ("with_jitter", "yes"),
        "ours": ("no", "no"),
    }


@pytest.mark.parametrize("kind", ["client", "context", "key", "throttle", "transient"])
def test_after_the_first_content_nothing_is_tried_again(kind: FaultKind) -> None:
    fault = Fault(kind=kind, message="m")

    assert class_of(fault, content_sent=True) == AFTER_CONTENT
    assert class_of(fault, content_sent=False) == CLASSES[kind]


@pytest.mark.parametrize("code", ["x\r\ny: z", "a" * 97, "", "quota\x00"])
def test_a_code_that_is_no_word_is_none(code: str) -> None:
    """It becomes a label, a field of the log and a part of the record."""
    body = {"error": {"message": "no", "type": code, "code": code}}
    fault = classify("openai", 500, {}, json.dumps(body).encode())
    assert fault.code is None


def test_a_code_that_quotes_a_key_does_not_keep_it() -> None:
    body = {"error": {"message": "no", "code": "bad sk-abcdefghijklmnop0123456789"}}
    assert "abcdefgh" not in str(classify("openai", 500, {}, json.dumps(body).encode()))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("req_011CSHoEeqs5C35K2UUqR7Fy", "req_011CSHoEeqs5C35K2UUqR7Fy"),
        ("a1b2-c3/d4=:e5", "a1b2-c3/d4=:e5"),
        ("Bearer sk-made-up-0001", ""),
        ("sk-made-up-0001", ""),
        ("what the user said", ""),
        ("x" * 129, ""),
    ],
)
def test_a_request_id_that_quotes_a_key_is_none(given: str, kept: str) -> None:
    """It is kept in records; a provider that reflects headers puts anything there."""
    fault = classify("openai", 500, {"x-request-id": given}, b"")
    assert fault.request_id == kept
