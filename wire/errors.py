"""Whose fault a provider's error is, from what it sent. Pure.

Every dialect's `classify_error` ends here. Owns: the kind of fault and the `code` that
agents branch on (`errors_body` reads the bodies). Never: what to do about it
(`CLASSES` states it for readers and tests; the stream and the provider actor decide).

Order of belief: the provider's own code, then words only that provider uses, then the
status. The content-type is not asked: DeepSeek calls its JSON an octet-stream.

A client must not be able to make its own mistake look like ours: error messages quote
requests, and a key fault takes a key out of service. So words make a key fault only
where they *begin* the message, for the one provider that words it so. Being taken for
`context` is harmless; there a message is searched anywhere.
"""

import re
from typing import Any, Final, Literal

import msgspec

from wire.dialect import Headers
from wire.errors_body import Said, read_body
from wire.events import Fault, FaultKind
from wire.ratelimits import retry_after_s, server_now_s

# Longer messages quote the request; nobody reads the rest.
MESSAGE_CHARS_MAX: Final = 2000
_CODE: Final = re.compile(r"[\w.:/ -]{1,96}")


class Class(msgspec.Struct, frozen=True):
    """What a kind of fault permits and whom it counts against."""

    retry: Literal["no", "after_wait", "with_jitter"]
    fallback: Literal["no", "larger_model", "yes"]
    counts_against: Literal["nobody", "key", "pace", "health"]


CLASSES: Final[dict[FaultKind, Class]] = {
    "client": Class("no", "no", "nobody"),
    "context": Class("no", "larger_model", "nobody"),
    "key": Class("no", "yes", "key"),
    "throttle": Class("after_wait", "yes", "pace"),
    "transient": Class("with_jitter", "yes", "health"),
    "ours": Class("no", "no", "nobody"),
}
# Once content has gone to the client no other answer can follow it, whatever broke.
AFTER_CONTENT: Final = Class("no", "no", "health")


def class_of(fault: Fault, *, content_sent: bool) -> Class:
    """The row of the class table for this fault at this point of a stream."""
    if content_sent and fault.kind != "ours":
        return AFTER_CONTENT
    return CLASSES[fault.kind]


class Rules(msgspec.Struct, frozen=True):
    """What one provider says differently from the rest."""

    codes: dict[str, FaultKind] = {}
    statuses: dict[int, FaultKind] = {}
    # Only at the beginning of the message: see the module head.
    key_words: re.Pattern[str] | None = None


_CODES: Final[dict[str, FaultKind]] = {
    # OpenAI and those who speak like it
    "context_length_exceeded": "context",
    "invalid_api_key": "key",
    "account_deactivated": "key",
    "insufficient_quota": "key",
    "billing_not_active": "key",
    "billing_hard_limit_reached": "key",
    "rate_limit_exceeded": "throttle",
    "rate_limited": "throttle",  # Mistral, also in the middle of streams
    "service_tier_capacity_exceeded": "throttle",
    "too_many_prompt_tokens": "context",  # Perplexity
    "exceed_context_size_error": "context",  # llama.cpp
    # A verdict on what was asked, also where it comes as 403.
    "content_filter": "client",
    "content_policy_violation": "client",
    "model_not_found": "client",
    # Anthropic
    "authentication_error": "key",
    "permission_error": "key",
    "billing_error": "key",
    "rate_limit_error": "throttle",
    "overloaded_error": "throttle",
    "timeout_error": "transient",
    "api_error": "transient",
    # Google's canonical codes and the reasons in its details
    "API_KEY_INVALID": "key",
    "API_KEY_SERVICE_BLOCKED": "key",
    "ACCESS_TOKEN_EXPIRED": "key",
    "CREDENTIALS_MISSING": "key",
    "UNAUTHENTICATED": "key",
    "PERMISSION_DENIED": "key",
    "RESOURCE_EXHAUSTED": "throttle",
    "ABORTED": "transient",
    "CANCELLED": "transient",
    "DEADLINE_EXCEEDED": "transient",
    "INTERNAL": "transient",
    "UNAVAILABLE": "transient",
}

_BEDROCK: Final[dict[str, FaultKind]] = {
    "AccessDeniedException": "key",
    "ExpiredTokenException": "key",
    "IncompleteSignature": "key",
    "IncompleteSignatureException": "key",
    "InvalidClientTokenId": "key",
    "InvalidSignatureException": "key",
    "MissingAuthenticationToken": "key",
    "MissingAuthenticationTokenException": "key",
    "NotAuthorized": "key",
    "OptInRequired": "key",
    "RequestExpired": "key",
    "SignatureDoesNotMatch": "key",
    "UnrecognizedClientException": "key",
    "ModelNotReadyException": "throttle",
    "ServiceQuotaExceededException": "throttle",  # a 400, but the account's pace
    "ThrottlingException": "throttle",
    "TooManyRequestsException": "throttle",
    "ConflictException": "transient",
    "InternalServerException": "transient",
    "ModelErrorException": "transient",
    "ModelStreamErrorException": "transient",
    "ModelTimeoutException": "transient",
    "ServiceUnavailableException": "transient",
    "ResourceNotFoundException": "client",
    "ValidationException": "client",
}

_RULES: Final[dict[str, Rules]] = {
    "anthropic": Rules(
        # 400, invalid_request_error: only the words tell it from a bad request.
        key_words=re.compile(r"your credit balance is too low", re.IGNORECASE)
    ),
    "bedrock": Rules(codes=_BEDROCK),
    "cohere": Rules(
        codes={"TOO_MANY_TOKENS": "context"},
        statuses={498: "key", 501: "client"},  # 498: invalid token
    ),
    "gemini": Rules(
        # The account's region or billing: nothing the client could change.
        codes={"FAILED_PRECONDITION": "key"}
    ),
    "groq": Rules(
        codes={"tool_use_failed": "client"},
        # 498: flex tier out of capacity. 413: over the tier's tokens a minute, so it
        # never fits here and may fit elsewhere.
        statuses={498: "throttle", 413: "context"},
    ),
    "xai": Rules(key_words=re.compile(r"incorrect api key", re.IGNORECASE)),
}
_RULES["vertex"] = _RULES["gemini"]
_NO_RULES: Final = Rules()

# Only those, or a message that echoes a prompt would make it true. In the words of:
# OpenAI/vLLM/DeepSeek/OpenRouter, Anthropic, Ollama, Google, Bedrock's Nova and Claude,
# Cohere, xAI, Anthropic's output bound, Groq, llama.cpp, LM Studio.
_CONTEXT: Final = re.compile(
    r"maximum context length|prompt is too long|prompt too long"
    r"|input token count[^a-z]{0,20}exceeds|input tokens exceeded"
    r"|input is too long for requested model|too many tokens|maximum prompt length"
    r"|exceed(?:s|ed)? (?:the )?(?:model'?s? )?context (?:limit|window|length|size)"
    r"|reduce the length of the messages|exceeds the available context size"
    r"|greater than the context length|total length of all messages is too long",
    re.IGNORECASE,
)
_MODEL_MISSING: Final = re.compile(
    r"^model: \S+$|^models/\S+ is not found"
    r"|^the (?:requested )?model [`'\"]?\S+ does not"
    r"|^model ['\"`]?\S+ (?:was )?not found|^the provided model identifier is invalid"
    r"|^you don't have access to the model|^could not resolve the foundation model"
    r"|^invalid model",
    re.IGNORECASE,
)
# A web framework's own words for a path it does not serve.
_NO_ROUTE: Final = re.compile(
    r"^(?:404 )?(?:page |resource )?not found\.?$", re.IGNORECASE
)
_MODEL_CODES: Final = frozenset(
    {"model_not_found", "DeploymentNotFound", "ResourceNotFoundException"}
)
_FILTER_CODES: Final = frozenset(
    {"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"}
)

# Of what family an error is, not which one: these say no more than the kind does.
_FAMILIES: Final = frozenset(
    {
        "invalid_request_error",
        "invalid_argument",
        "invalid-argument",
        "INVALID_ARGUMENT",
        "BadRequestError",
        "ValidationException",
        "error",
    }
)
# Statuses inside an answer that began with 200.
_WORD_STATUS: Final = {
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "rate_limited": 429,
    "service_tier_capacity_exceeded": 429,
    "insufficient_quota": 429,
    "RESOURCE_EXHAUSTED": 429,
    "ThrottlingException": 429,
    "ModelNotReadyException": 429,
    "overloaded_error": 529,
    "invalid_request_error": 400,
    "INVALID_ARGUMENT": 400,
    "ValidationException": 400,
    "ModelTimeoutException": 408,
    "ModelErrorException": 424,
    "ModelStreamErrorException": 424,
    "api_error": 500,
    "server_error": 500,
    "INTERNAL": 500,
    "InternalServerException": 500,
    "UNAVAILABLE": 503,
    "ServiceUnavailableException": 503,
    "timeout_error": 504,
    "DEADLINE_EXCEEDED": 504,
}

_TYPES: Final[dict[FaultKind, str]] = {
    "client": "invalid_request_error",
    "context": "invalid_request_error",
    "key": "authentication_error",
    "throttle": "rate_limit_error",
    "transient": "server_error",
    "ours": "server_error",
}

_REQUEST_IDS: Final = (
    "x-request-id",
    "request-id",
    "apim-request-id",
    "x-amzn-requestid",
    "mistral-correlation-id",
    "x-ds-trace-id",
    "x-debug-trace-id",
    "x-generation-id",
)

# Providers mask the keys they quote, not always and not others' keys.
_KEYS: Final = re.compile(
    r"\b(?:sk|pk|rk|xai|pplx|nvapi|r8|csk)-[\w-]{8,}|\b(?:gsk|hf|fw)_\w{8,}"
    r"|\bAIza[\w-]{20,}|\b(?:AKIA|ASIA)[0-9A-Z]{12,}|\bya29\.[\w.-]{8,}"
    r"|(?<=[Bb]earer )\S{8,}"
)


_REQUEST_ID: Final = re.compile(r"[\w.:/=+-]{1,128}", re.ASCII)


def plain_request_id(text: str) -> str:
    """A provider's id of an exchange; empty where it is none.

    It is kept and shown, so a header that quotes the key it was sent is no id.
    """
    if _REQUEST_ID.fullmatch(text) and not _KEYS.search(text):
        return text
    return ""


def classify(
    provider: str,
    status: int,
    headers: Headers,
    body: bytes,
    *,
    source: str | None = None,
) -> Fault:
    """A non-2xx answer. `provider` is a flavour or dialect whose rules apply.

    `source` is who is named in the fault; the provider when it is not given.
    """
    return judge(
        provider, status, headers, read_body(body, headers), source=source or provider
    )


def classify_event(
    provider: str, data: bytes, *, source: str | None = None, word: str = ""
) -> Fault:
    """An error inside an answer that began with 200; `word` is its frame's own name."""
    said = read_body(data, {})
    if word:
        said = msgspec.structs.replace(said, words=(word, *said.words), readable=True)
    status = said.status
    if status is None:
        found = (_WORD_STATUS[w] for w in said.words if w in _WORD_STATUS)
        status = next(found, 502)
    return judge(provider, status, {}, said, source=source or provider)


def judge(
    provider: str, status: int, headers: Headers, said: Said, *, source: str
) -> Fault:
    """Make the fault of what was said."""
    rules = _RULES.get(provider, _NO_RULES)
    kind = kind_of(rules, status, said)
    code = _code(kind, said)
    return Fault(
        kind=kind,
        message=_message(kind, status, code, said, source),
        status=_client_status(status, code) if kind == "client" else status,
        code=code,
        type="insufficient_quota" if code == "insufficient_quota" else _TYPES[kind],
        param=said.param,
        retry_after_s=retry_after_s(status, headers, said.body, server_now_s(headers)),
        source=source,
        request_id=plain_request_id(_request_id(headers) or said.request_id),
    )


def _client_status(status: int, code: str | None) -> int:
    """An upstream's 403 is about its account with us: the client gets its own."""
    if status != 403:
        return status
    return 404 if code == "model_not_found" else 400


def kind_of(rules: Rules, status: int, said: Said) -> FaultKind:
    """Whose fault it is."""
    message = said.message[:MESSAGE_CHARS_MAX]
    client_side = 400 <= status < 500
    for word in said.words:
        kind = rules.codes.get(word) or _CODES.get(word)
        if kind is None:
            continue
        if kind == "client" and client_side and _CONTEXT.search(message):
            return "context"
        # Bedrock says 403 AccessDenied also for one model we never subscribed to;
        # that must not take the key away from all the others.
        if kind == "key" and _MODEL_MISSING.search(message):
            return "client"
        return kind
    if rules.key_words is not None and rules.key_words.match(message):
        return "key"
    if status in rules.statuses:
        return rules.statuses[status]
    if client_side and status not in (401, 402, 403, 429) and _CONTEXT.search(message):
        return "context"
    return _kind_of_status(status, said)


def _kind_of_status(status: int, said: Said) -> FaultKind:
    if status in (401, 402):
        return "key"
    if status in (403, 404) and (not said.readable or _NO_ROUTE.match(said.message)):
        # A proxy's page or a wrong base URL: this was not the provider's API speaking,
        # so it says nothing about the key or the model.
        return "transient"
    if status == 403:
        return "client" if _flagged(said.body) else "key"
    if status in (429, 498, 529):
        return "throttle"
    if status in (408, 409, 424, 425, 499) or not 400 <= status < 500:
        return "transient"
    return "client"


def _flagged(body: Any) -> bool:
    """OpenRouter answers 403 where its moderation disliked the input."""
    error = body.get("error") if isinstance(body, dict) else None
    metadata = error.get("metadata") if isinstance(error, dict) else None
    return isinstance(metadata, dict) and "flagged_input" in metadata


def _code(kind: FaultKind, said: Said) -> str | None:
    if kind == "context":
        return "context_length_exceeded"
    if kind == "client":
        if _MODEL_CODES.intersection(said.words) or _MODEL_MISSING.search(said.message):
            return "model_not_found"
        if _FILTER_CODES.intersection(said.words) or _flagged(said.body):
            return "content_filter"
    if kind == "throttle":
        return "rate_limit_exceeded"
    telling = next((word for word in said.words if word not in _FAMILIES), None)
    if telling is not None:
        # A code goes into records, logs and labels, so it is a word and not a text.
        telling = _KEYS.sub("…", telling) if _CODE.fullmatch(telling) else None
    return "invalid_api_key" if kind == "key" and telling is None else telling


def _message(
    kind: FaultKind, status: int, code: str | None, said: Said, source: str
) -> str:
    if kind == "key":
        # Theirs may quote the key: OpenAI masks long ones and repeats short ones.
        return f"{source} refused the gateway's credential ({status}, {code})."
    message = _KEYS.sub("…", said.message[:MESSAGE_CHARS_MAX]).strip()
    return message or f"{source} answered {status} without saying why."


def _request_id(headers: Headers) -> str:
    return next((headers[name] for name in _REQUEST_IDS if name in headers), "")
