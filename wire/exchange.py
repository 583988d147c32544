"""One attempt of one request at one target: what to send, how to read what comes.

The stream's owner picks two dialects and a target; here it is settled whether bytes can
be relayed or have to be translated, and from then on it sees no difference:

    exchange = open_exchange(client, provider, body=…, target=…, …)
    send(exchange.upstream)
    reader = exchange.reader()              # a stream with status 200
    reading = exchange.unary(status, headers, body)      # anything else

Sans-io. Raises ClientError where the request cannot be told in the provider's dialect.
"""

import functools
from typing import Protocol, cast

from wire.completion import fold
from wire.dialect import (
    ClientDialect,
    Head,
    Headers,
    ProviderDialect,
    Reader,
    Reading,
    RelayDialect,
    Reply,
    Target,
    UpstreamRequest,
    malformed,
)
from wire.events import Event, Fault, Finish, Start, Usage, is_content, output_chars
from wire.jsontext import JSON_ERRORS
from wire.relay import Translation
from wire.request import ChatRequest


class Exchange(Protocol):
    """One attempt at one target."""

    @property
    def upstream(self) -> UpstreamRequest:
        """What to send."""
        ...

    def reader(self) -> Reader:
        """A reader of a stream that began with a 2xx."""
        ...

    def unary(self, status: int, headers: Headers, body: bytes) -> Reading:
        """A whole answer: the client's body in `out`, or a `fault`."""
        ...


@functools.cache
def _can_relay(kind: type) -> bool:
    """Whether objects of this type are `RelayDialect`s.

    A class is asked once: isinstance of a protocol looks at every member, each time.
    """
    names = ("forward_request", "relay", "relay_response")
    return all(callable(getattr(kind, name, None)) for name in names)


def open_exchange(
    client: ClientDialect,
    provider: ProviderDialect,
    *,
    body: bytes,
    headers: Headers,
    head: Head,
    target: Target,
    reply: Reply,
    edited: bool = False,
) -> Exchange:
    """Relay when both sides speak one dialect, else translate. Raises ClientError.

    `edited`: the answer's events will be edited, so they have to be read. The exchange
    is a `Translated` then; of one dialect the request still goes out as it was written.
    """
    # The client's side first: a Gemini client's is bound to the framing it asked for.
    relays = client if _can_relay(type(client)) else provider
    if client.name == provider.name and _can_relay(type(relays)):
        dialect = cast("RelayDialect", relays)
        if edited:
            request = client.parse_request(body, headers)
            upstream = dialect.forward_request(body, headers, head, target)
            return Translated(
                client, provider, request, target, reply, upstream=upstream
            )
        return Relayed(
            dialect,
            provider,
            body=body,
            headers=headers,
            head=head,
            target=target,
            reply=reply,
        )
    request = client.parse_request(body, headers)
    return Translated(client, provider, request, target, reply)


class Relayed:
    """Both sides speak the same dialect: bytes pass."""

    def __init__(
        self,
        dialect: RelayDialect,
        provider: ProviderDialect,
        *,
        body: bytes,
        headers: Headers,
        head: Head,
        target: Target,
        reply: Reply,
    ) -> None:
        self._dialect = dialect
        self._provider = provider
        self._head = head
        self._target = target
        # The client is answered with the name it asked for, also behind an alias.
        self._model = None if reply.model == target.model else reply.model
        self.upstream = dialect.forward_request(body, headers, head, target)

    def __repr__(self) -> str:
        return f"<Relayed {self._dialect.name} to {self._target.model!r}>"

    def reader(self) -> Reader:
        """See `Exchange`."""
        return self._dialect.relay(self._head, self._target, model=self._model)

    def unary(self, status: int, headers: Headers, body: bytes) -> Reading:
        """See `Exchange`."""
        if not 200 <= status < 300:
            fault = self._provider.classify_error(status, headers, body, self._target)
            return Reading(fault=fault)
        try:
            return self._dialect.relay_response(
                status, headers, body, model=self._model
            )
        except JSON_ERRORS:
            fault = malformed(self._provider.name, "the answer is not JSON in UTF-8")
            return Reading(fault=fault)


class Translated:
    """The request and the answer go through the vocabulary.

    Also of one dialect, where the answer is to be edited on its way: then `upstream` is
    what the client wrote, and only the answer is told anew.
    """

    def __init__(
        self,
        client: ClientDialect,
        provider: ProviderDialect,
        request: ChatRequest,
        target: Target,
        reply: Reply,
        *,
        upstream: UpstreamRequest | None = None,
    ) -> None:
        self._client = client
        self._provider = provider
        self._request = request
        self._target = target
        self._reply = reply
        self.upstream = upstream or provider.build_request(request, target)

    def __repr__(self) -> str:
        return (
            f"<Translated {self._client.name} to {self._provider.name} "
            f"{self._target.model!r}>"
        )

    def reader(self) -> Translation:
        """See `Exchange`."""
        return Translation(
            self._provider.stream_decoder(self._request, self._target),
            self._client.stream_encoder(self._request, self._reply),
        )

    def unary(self, status: int, headers: Headers, body: bytes) -> Reading:
        """See `Exchange`."""
        return self.put(*self.take(status, headers, body))

    def take(
        self, status: int, headers: Headers, body: bytes
    ) -> tuple[Reading, list[Event]]:
        """A whole answer's events, and what they mean. None go with a `fault`."""
        if not 200 <= status < 300:
            fault = self._provider.classify_error(status, headers, body, self._target)
            return Reading(fault=fault), []
        events = self._provider.parse_response(status, headers, body, self._target)
        reading = Reading(events=len(events))
        for event in events:
            if isinstance(event, Fault):
                reading.fault = event
                return reading, []
            reading.content = reading.content or is_content(event)
            reading.output_chars += output_chars(event)
            if isinstance(event, Usage):
                reading.usage = event
            elif isinstance(event, Finish):
                reading.finish = event.reason
            elif isinstance(event, Start):
                reading.service = event.service_tier
        return reading, events

    def put(self, reading: Reading, events: list[Event]) -> Reading:
        """Write the client's body of these events; `reading` is of the same `take`."""
        if reading.fault is not None:
            return reading
        completion = fold(events)
        reading.out = self._client.render_response(
            completion, self._request, self._reply
        )
        reading.done = True
        return reading
