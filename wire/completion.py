"""A whole answer, folded from its events; what unary encoders render.

The parts are those of `wire.request`, so that an answer can go straight back into the
next request. Pure. Never logged: it holds the model's words.
"""

from collections.abc import Iterable

from msgspec import Struct, field

from wire.events import (
    Citation,
    Event,
    Fault,
    Finish,
    Logprobs,
    Media,
    Opaque,
    ProviderState,
    ReasoningDelta,
    ReasoningState,
    RefusalDelta,
    ServerTool,
    Start,
    TextDelta,
    ToolArgsDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
)
from wire.request import Reasoning, Refusal, Text, ToolUse

AnswerPart = Text | Reasoning | Refusal | ToolUse | ServerTool | Media | Opaque


class Choice(Struct):
    """One of the `n` answers, its parts in the order the model made them."""

    index: int
    parts: list[AnswerPart]
    citations: list[Citation]
    finish: Finish | None = None
    logprobs: list[bytes] = field(default_factory=list[bytes])


class Completion(Struct):
    """The answer as a whole. `fault` is set where the provider failed inside a 200."""

    start: Start
    choices: list[Choice]
    usage: Usage | None = None
    fault: Fault | None = None
    extra: list[Opaque] = field(default_factory=list[Opaque])

    def __repr__(self) -> str:
        """Sizes only; the words belong to the client."""
        return f"<Completion {self.start.model!r} choices={len(self.choices)}>"


class _Open(Struct):
    """A part being gathered."""

    kind: str
    block: int
    texts: list[str]
    state: ProviderState | None = None
    summary: bool = False
    start: ToolCallStart | None = None

    def close(self) -> AnswerPart:
        text = "".join(self.texts)
        if self.kind == "text":
            return Text(text)
        if self.kind == "refusal":
            return Refusal(text)
        if self.start is not None:
            # "{}" also where the provider left the arguments out: Gemini may.
            arguments = text or ("" if self.start.custom else "{}")
            return ToolUse(
                id=self.start.id,
                name=self.start.name,
                arguments=arguments,
                custom=self.start.custom,
                state=self.start.state,
            )
        return Reasoning(text, self.state, self.summary)


class _Gathering:
    """The parts of one choice. Tool calls may interleave, so they keep their places."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.parts: list[AnswerPart | _Open] = []
        self.citations: list[Citation] = []
        self.logprobs: list[bytes] = []
        self.finish: Finish | None = None
        self.tools: dict[int, _Open] = {}

    def add_text(self, kind: str, block: int, text: str, summary: bool) -> None:
        last = self.parts[-1] if self.parts else None
        if (
            isinstance(last, _Open)
            and last.kind == kind
            and last.block == block
            and last.state is None
        ):
            last.texts.append(text)
        elif text:
            self.parts.append(_Open(kind, block, [text], summary=summary))

    def add_state(self, event: ReasoningState) -> None:
        last = self.parts[-1] if self.parts else None
        if (
            isinstance(last, _Open)
            and last.kind == "reasoning"
            and last.block == event.block
            and last.state is None
        ):
            last.state = event.state
        else:
            self.parts.append(_Open("reasoning", event.block, [], state=event.state))

    def close(self) -> Choice:
        return Choice(
            index=self.index,
            parts=[p.close() if isinstance(p, _Open) else p for p in self.parts],
            citations=self.citations,
            finish=self.finish,
            logprobs=self.logprobs,
        )


def fold(events: Iterable[Event]) -> Completion:
    """Fold the events of one answer into a `Completion`."""
    start = Start()
    usage: Usage | None = None
    fault: Fault | None = None
    extra: list[Opaque] = []
    choices: dict[int, _Gathering] = {}

    def choice(index: int) -> _Gathering:
        if index not in choices:
            choices[index] = _Gathering(index)
        return choices[index]

    for event in events:
        match event:
            case Start():
                start = event
            case TextDelta():
                choice(event.choice).add_text("text", event.block, event.text, False)
            case ReasoningDelta():
                choice(event.choice).add_text(
                    "reasoning", event.block, event.text, event.summary
                )
            case RefusalDelta():
                choice(event.choice).add_text("refusal", event.block, event.text, False)
            case ReasoningState():
                choice(event.choice).add_state(event)
            case ToolCallStart():
                part = _Open("tool", event.index, [], start=event)
                gathering = choice(event.choice)
                gathering.parts.append(part)
                gathering.tools[event.index] = part
            case ToolArgsDelta():
                choice(event.choice).tools[event.index].texts.append(event.text)
            case ToolCallEnd():
                pass
            case ServerTool() | Media():
                choice(event.choice).parts.append(event)
            case Citation():
                choice(event.choice).citations.append(event)
            case Logprobs():
                choice(event.choice).logprobs.append(event.data)
            case Finish():
                choice(event.choice).finish = event
            case Usage():
                usage = event
            case Fault():
                fault = event
            case Opaque():
                extra.append(event)
    return Completion(
        start=start,
        choices=[choices[index].close() for index in sorted(choices)],
        usage=usage,
        fault=fault,
        extra=extra,
    )
