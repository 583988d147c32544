"""Which official client is tried on which transport: the table of docs/streaming.md.

python -m tests.e2e.client_matrix    writes it anew
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs

DOC: Final = Path(__file__).parents[2] / "docs" / "streaming.md"
BEGIN: Final = "<!-- clients: written by python -m tests.e2e.client_matrix -->\n"
END: Final = "<!-- clients: end -->\n"


@attrs.frozen
class Row:
    """One client on one transport; `name` is its test's id."""

    name: str
    client: str
    api: str
    transport: str


ROWS: Final = (
    Row("python-chat", "`openai` (Python)", "chat", "SSE"),
    Row("python-responses", "`openai` (Python)", "Responses", "SSE"),
    Row("python-socket", "`openai` (Python)", "Responses", "WebSocket"),
    Row("python-messages", "`anthropic` (Python)", "messages", "SSE"),
    Row("node-chat", "`openai` (npm)", "chat", "SSE"),
    Row("node-responses", "`openai` (npm)", "Responses", "SSE"),
    Row("node-messages", "`@anthropic-ai/sdk` (npm)", "messages", "SSE"),
    Row("node-ai", "Vercel `ai` (npm)", "chat", "SSE"),
    Row("curl", "`curl -N`", "chat", "SSE"),
    Row("page-fetch", "`fetch` in Chromium", "chat, by a grant", "SSE"),
    Row("page-source", "`EventSource` in Chromium", "chat, by a grant", "SSE"),
    Row("page-socket", "`WebSocket` in Chromium", "Responses, by a grant", "WebSocket"),
)


def table() -> str:
    """As the page has it."""
    lines = ["| client | API | transport | streams | aborts | recovers |"]
    lines.append("|---|---|---|---|---|---|")
    lines += [
        f"| {row.client} | {row.api} | {row.transport} | yes | yes | yes |"
        for row in ROWS
    ]
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """The page with the table as it is now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    DOC.write_text(page(DOC.read_text()))
