"""One chat stream through every shipped hook, read as fast as it comes.

Hooks put deltas together and hold some back, so what is checked is the text: all of it,
in order, once.
"""

from __future__ import annotations

import json
import socket
import time

from bench.lib import shape
from bench.lib.load import BURST_READ_BYTES, READ_BYTES, SILENCE_MAX_S, Target
from bench.lib.verify import AnswerError, EndWatch, Reply

MODEL = "bench-hooked"
# As `[[hooks]]` of a gateway's file; each shipped one, as somebody would set it. The
# time box is for what they cost, not for what else this machine does.
CONFIG = f"""
[[models]]
name = "{MODEL}"
route = ["upstream/{shape.UPSTREAM_MODEL}"]

[[hooks]]
name = "redact"
kind = "redact"
models = ["{MODEL}"]
time_box_ms = 1000

[[hooks]]
name = "guard"
kind = "guard"
models = ["{MODEL}"]
time_box_ms = 1000
options = ["words=casino,jackpot,forbidden", "do=mask"]

[[hooks]]
name = "markdown"
kind = "markdown"
models = ["{MODEL}"]
time_box_ms = 1000

[[hooks]]
name = "meter"
kind = "meter"
models = ["{MODEL}"]
time_box_ms = 1000
options = ["tokens_max=100000000"]

[[hooks]]
name = "coalesce"
kind = "coalesce"
models = ["{MODEL}"]
time_box_ms = 1000
options = ["chars_max=200"]
"""


def hooked_burst(target: Target, deltas: int) -> float:
    """Deltas a second, of those that the upstream wrote."""
    directive = shape.Directive(
        "hooked", stream=True, deltas=deltas, model=MODEL, words=True
    )
    pieces: list[bytes] = []
    with socket.create_connection((target.host, target.port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(SILENCE_MAX_S)
        sock.sendall(target.request(directive))
        end = EndWatch()
        pieces.append(sock.recv(READ_BYTES))
        start_ns = time.monotonic_ns()
        while not end.reached(pieces[-1]):
            pieces.append(sock.recv(BURST_READ_BYTES))
        elapsed_s = (time.monotonic_ns() - start_ns) / 1e9
    text = text_of(b"".join(pieces))
    wanted = "".join(shape.word(number) for number in range(deltas))
    if text != wanted:
        raise AnswerError(f"{len(text)} characters of {len(wanted)}, or others")
    return deltas / elapsed_s


def text_of(answer: bytes) -> str:
    """What a streamed response says. Raises AnswerError."""
    reply = Reply()
    body = reply.body_of(answer)
    if body is None or reply.status != 200:
        raise AnswerError(f"status {reply.status}: {answer[:200]!r}")
    found: list[str] = []
    for line in body.split(b"\n"):
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            if "choices" not in event:
                raise AnswerError(f"no chunk of a completion: {line[:300]!r}")
            choices = event["choices"]
            found += [choice["delta"].get("content") or "" for choice in choices]
    if b"data: [DONE]" not in body:
        raise AnswerError("no [DONE]")
    return "".join(found)
