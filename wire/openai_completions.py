"""OpenAI's legacy completions, `/v1/completions`: `COMPLETIONS`.

Relayed where the provider has them too: answers differ from chat only in `text`, so the
chat relay and decoder read them. Translated to chat where it has not: the prompt is one
user turn. What chat cannot say (token prompts, several prompts, `echo`, `suffix`,
`best_of`) is then an error, never a different answer.

Sans-io, stateless.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from wire import checks
from wire.completion import Completion
from wire.dialect import (
    Head,
    Headers,
    Reply,
    StreamEncoder,
    Target,
    UpstreamRequest,
)
from wire.events import Event, Finish, RefusalDelta, Start, TextDelta, Usage
from wire.flavours import flavour
from wire.jsontext import NULL, decode_client, decode_fields, encode, given
from wire.openai_answers import ChatAnswers
from wire.openai_chat_body import InStreamOptions
from wire.openai_chat_encoder import DONE
from wire.openai_chat_head import PREFIX_BYTES_MAX
from wire.openai_upstream import clamp, edit, upstream
from wire.request import ChatRequest, Message, Refusal, Text
from wire.usage import to_openai

SOURCE = "openai_completions"

PATH = "/completions"

PROMPTS_MAX = 2048
"""OpenAI's own bound on the prompts of one call."""


class _Body(Struct):
    """The fields that have a word in `ChatRequest`, and those that rule one out."""

    model: str
    prompt: str | list[Any] | None = None
    stream: bool | None = None
    stream_options: InStreamOptions | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    n: int | None = None
    user: str | None = None
    best_of: int | None = None
    echo: bool | None = None
    suffix: str | None = None
    logprobs: int | None = None


class _Top(Struct):
    model: str
    prompt: Raw = NULL
    stream: bool | None = None
    stream_options: InStreamOptions | None = None
    max_tokens: int | None = None
    n: int | None = None
    best_of: int | None = None
    user: str | None = None


_body = msgspec.json.Decoder(_Body)
_top = msgspec.json.Decoder(_Top)
_prompts = msgspec.json.Decoder(str | list[str | int | list[int]])
_KNOWN = frozenset(f.name for f in msgspec.structs.fields(_Body))

MAX_TOKENS_DEFAULT = 16
"""OpenAI's own default here. It must be said aloud to a chat model, which has none."""


class OpenAICompletions(ChatAnswers):
    """`ClientDialect`, `ProviderDialect` and `RelayDialect` of legacy completions."""

    name = SOURCE

    def read_head(self, body: bytes, headers: Headers) -> Head:
        """See `ClientDialect`."""
        del headers
        top = decode_client(_top, body)
        checks.model(top.model)
        prompt = given(top.prompt)
        n = 1 if top.n is None else checks.integer(top.n, "n", 1, checks.N_MAX)
        if top.best_of is not None:
            # Every one of `best_of` is generated and billed.
            n = max(n, checks.integer(top.best_of, "best_of", 1, checks.N_MAX))
        return Head(
            model=top.model,
            stream=bool(top.stream),
            include_usage=bool(top.stream_options and top.stream_options.include_usage),
            max_output_tokens=checks.bound(None, top.max_tokens) or MAX_TOKENS_DEFAULT,
            n=n * _how_many(top.prompt),
            prompt_bytes=len(prompt),
            prefix=prompt[:PREFIX_BYTES_MAX],
            user=top.user,
        )

    def parse_request(self, body: bytes, headers: Headers) -> ChatRequest:
        """See `ClientDialect`."""
        del headers
        read = decode_client(_body, body)
        checks.model(read.model)
        for name, set_ in (
            ("best_of", (read.best_of or 1) > (read.n or 1)),
            ("echo", bool(read.echo)),
            ("suffix", bool(read.suffix)),
            ("logprobs", read.logprobs is not None),
        ):
            if set_:
                raise checks.unsupported(
                    name, "is not supported by the provider of this model."
                )
        prompt = read.prompt
        if isinstance(prompt, list) and len(prompt) == 1:
            prompt = prompt[0]
        if not isinstance(prompt, str):
            raise checks.unsupported(
                "prompt", "must be one string for the provider of this model."
            )
        fields = decode_fields(body)
        return ChatRequest(
            model=read.model,
            messages=(Message("user", (Text(prompt),)),),
            source=SOURCE,
            stop=checks.stops(read.stop),
            temperature=checks.decimal(read.temperature, "temperature", 0, 2),
            top_p=checks.decimal(read.top_p, "top_p", 0, 1),
            presence_penalty=checks.decimal(
                read.presence_penalty, "presence_penalty", -2, 2
            ),
            frequency_penalty=checks.decimal(
                read.frequency_penalty, "frequency_penalty", -2, 2
            ),
            max_output_tokens=checks.bound(None, read.max_tokens) or MAX_TOKENS_DEFAULT,
            seed=read.seed,
            n=1 if read.n is None else checks.integer(read.n, "n", 1, checks.N_MAX),
            user=read.user,
            stream=bool(read.stream),
            include_usage=bool(
                read.stream_options and read.stream_options.include_usage
            ),
            extra={
                name: bytes(raw)
                for name, raw in fields.items()
                if name not in _KNOWN and raw != NULL
            },
        )

    def stream_encoder(self, request: ChatRequest, reply: Reply) -> StreamEncoder:
        """See `ClientDialect`."""
        return CompletionEncoder(request, reply)

    def render_response(
        self, completion: Completion, request: ChatRequest, reply: Reply
    ) -> bytes:
        """See `ClientDialect`."""
        del request
        head = _head(reply, completion.start)
        choices = [
            {
                "text": "".join(
                    part.text
                    for part in choice.parts
                    if isinstance(part, (Text, Refusal))
                ),
                "index": choice.index,
                "logprobs": None,
                "finish_reason": _reason(choice.finish),
            }
            for choice in completion.choices
        ]
        usage = to_openai(completion.usage or Usage())
        return encode({**head, "choices": choices, "usage": usage})

    def build_request(self, request: ChatRequest, target: Target) -> UpstreamRequest:
        """See `ProviderDialect`: only a single user turn is a prompt."""
        parts = [part for m in request.messages for part in m.parts]
        texts = [part.text for part in parts if isinstance(part, Text)]
        if (
            len(request.messages) != 1
            or request.messages[0].role != "user"
            or len(texts) != len(parts)
            or request.tools
        ):
            raise checks.unsupported(
                "messages", "must be one user message: this model only completes text."
            )
        row = flavour(target.flavour)
        fields: dict[str, Any] = {
            "prompt": "\n".join(texts),
            "max_tokens": request.max_output_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "presence_penalty": request.presence_penalty,
            "frequency_penalty": request.frequency_penalty,
            "stop": list(request.stop) or None,
            "seed": request.seed,
            "n": request.n if request.n != 1 else None,
            "user": request.user,
            "stream": True if request.stream else None,
            "stream_options": (
                {"include_usage": True}
                if request.stream and row.stream_options
                else None
            ),
        }
        body = {"model": target.model} | {
            name: value
            for name, value in fields.items()
            if value is not None and name not in row.refused | row.lacks
        }
        legacy = msgspec.structs.replace(row, max_tokens="max_tokens")
        clamp(body, legacy, target)
        return upstream(PATH, encode(body), row, target, {})

    def forward_request(
        self, body: bytes, headers: Headers, head: Head, target: Target
    ) -> UpstreamRequest:
        """See `RelayDialect`."""
        row = msgspec.structs.replace(flavour(target.flavour), max_tokens="max_tokens")
        fields: dict[str, Any] = dict(decode_fields(body))
        # OpenAI's default, said aloud: the hold was made for it, and servers differ.
        fields.setdefault("max_tokens", MAX_TOKENS_DEFAULT)
        edit(fields, head, row, target)
        return upstream(PATH, encode(fields), row, target, headers)


def _how_many(raw: Raw) -> int:
    """How many prompts there are: each gets its own answer, and its own bill."""
    if raw == NULL:
        return 1
    prompt = decode_client(_prompts, raw, prefix="prompt")
    if isinstance(prompt, str) or not prompt or isinstance(prompt[0], int):
        return 1
    return checks.integer(len(prompt), "prompt", 1, PROMPTS_MAX)


def _head(reply: Reply, start: Start) -> dict[str, Any]:
    own = start.id.startswith("cmpl-")
    return {
        "id": start.id if own else f"cmpl-{reply.id}",
        "object": "text_completion",
        "created": start.created or reply.created,
        "model": reply.model,
        "system_fingerprint": start.fingerprint,
    }


def _reason(finish: Finish | None) -> str:
    """A completion has no tools; whatever was not cut or filtered has stopped."""
    if finish is None or finish.reason == "tool_calls":
        return "stop"
    return finish.reason


class CompletionEncoder:
    """`StreamEncoder` of legacy completions: text only, all there is."""

    def __init__(self, request: ChatRequest, reply: Reply) -> None:
        self._reply = reply
        self._include_usage = request.include_usage
        self._usage: Usage | None = None
        self._set_start(Start())

    def __repr__(self) -> str:
        return "<CompletionEncoder>"

    def _set_start(self, start: Start) -> None:
        head = encode(_head(self._reply, start))
        self._head = b"data: " + head[:-1] + b',"choices":['
        self._end = b'],"usage":null}\n\n' if self._include_usage else b"]}\n\n"

    def encode(self, events: Sequence[Event]) -> bytes:
        """See `StreamEncoder.encode`."""
        out: list[bytes] = []
        for event in events:
            match event:
                case TextDelta() | RefusalDelta():
                    out.append(self._chunk(event.text, event.choice, None))
                case Start():
                    self._set_start(event)
                case Usage():
                    self._usage = event
                case Finish():
                    out.append(self._chunk("", event.choice, _reason(event)))
                case _:  # Thoughts and tools have no place in a completion.
                    pass
        return b"".join(out)

    def _chunk(self, piece: str, index: int, reason: str | None) -> bytes:
        choice = {
            "text": piece,
            "index": index,
            "logprobs": None,
            "finish_reason": reason,
        }
        return self._head + encode(choice) + self._end

    def finish(self) -> bytes:
        """See `StreamEncoder.finish`."""
        if not self._include_usage:
            return DONE
        usage = encode(to_openai(self._usage or Usage()))
        return self._head + b'],"usage":' + usage + b"}\n\n" + DONE


COMPLETIONS = OpenAICompletions()
