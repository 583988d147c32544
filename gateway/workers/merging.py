"""Many workers' answers as one. Pure: values in, values out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

UP: Final = "stagedoor_worker_up"
END: Final = b"# EOF"  # OpenMetrics wants it once, as the last line.

Tree = dict[str, Any]


def metrics(texts: Mapping[int, bytes | None]) -> bytes:
    """Prometheus texts as one: a family's lines together, whoever's they are.

    Each worker's samples carry its label already. None: that one did not answer.
    """
    heads: dict[bytes, list[bytes]] = {}
    samples: dict[bytes, list[bytes]] = {}
    ended = False
    for text in texts.values():
        family = b""
        for line in (text or b"").split(b"\n"):
            if line == END:
                ended = True
            elif line.startswith(b"# "):
                family = line.split(b" ", 3)[2]
                head = heads.setdefault(family, [])
                if line not in head:
                    head.append(line)
            elif line:
                samples.setdefault(family, []).append(line)
    lines = [
        f"# HELP {UP} 1 for a worker that answers; 0 while it is started again.",
        f"# TYPE {UP} gauge",
        *(f'{UP}{{worker="{n}"}} {float(t is not None)}' for n, t in texts.items()),
    ]
    merged = [line.encode() for line in lines]
    for family, head in heads.items():
        merged += head
        merged += samples.get(family, ())
    if ended:
        merged.append(END)
    return b"\n".join(merged) + b"\n"


def readiness(found: Mapping[int, Tree | None]) -> tuple[int, Tree]:
    """Whether the whole gateway is ready: all that live are, and one lives.

    A worker that is down takes no connections, so its absence alone is no reason to
    send clients elsewhere; one that lives and is not ready takes some.
    """
    reasons = [
        f"worker {number}: {reason}"
        for number, one in found.items()
        if one is not None
        for reason in one["reasons"]
    ]
    if all(one is None for one in found.values()):
        reasons.append("no worker answers")
    workers = {
        str(number): "down" if one is None else one["status"]
        for number, one in found.items()
    }
    status = "unready" if reasons else "ready"
    return (
        503 if reasons else 200,
        {"status": status, "reasons": reasons, "workers": workers},
    )


def tree(found: Mapping[int, Tree | None]) -> Tree:
    """The workers' trees below one root."""
    return {
        "id": "stagedoor",
        "kind": "gateway",
        "state": "running",
        "children": [_branch(number, one) for number, one in found.items()],
    }


def _branch(number: int, one: Tree | None) -> Tree:
    branch: Tree = {"id": f"worker/{number}", "kind": "worker", "children": []}
    if one is None:
        return {**branch, "state": "restarting"}
    shown: Tree = {**branch, "state": "running", "pid": one["pid"]}
    shown["incarnation"] = one["starts"]
    shown["children"] = [one["tree"]]
    return shown


def models(found: Mapping[int, Tree | None]) -> Tree:
    """The routes, which all workers share, with each candidate's state in all."""
    answers = [one for one in found.values() if one is not None]
    first = answers[0]
    states: dict[tuple[str, int], list[str]] = {}
    for answer in answers:
        for model in answer["models"]:
            for place, candidate in enumerate(model["route"]):
                key = (model["name"], place)
                states.setdefault(key, []).append(candidate["state"])
    return {
        "models": [
            {
                **model,
                "route": [
                    {**candidate, "state": in_words(states[model["name"], place])}
                    for place, candidate in enumerate(model["route"])
                ],
            }
            for model in first["models"]
        ]
    }


def in_words(states: Sequence[str]) -> str:
    """One state if all agree, else each with how many are in it."""
    counts = Counter(states)
    if len(counts) == 1:
        return states[0]
    return ", ".join(f"{state} in {count}" for state, count in counts.most_common())


def vault(first: Tree, found: Mapping[int, Tree | None]) -> Tree:
    """The vault's report: rows are shared, leases and grants are each worker's own."""
    answers = [one for one in found.values() if one is not None]
    sums = {name: sum(one[name] for one in answers) for name in ("leases", "grants")}
    return {**first, **sums}
