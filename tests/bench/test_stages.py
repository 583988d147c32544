"""The table of stages knows where every part of the gateway belongs."""

from pathlib import Path

import pytest

from bench.stages import ELSEWHERE, STAGES, stage_of

PACKAGES = ("runtime", "actors", "wire", "storage", "gateway")


def test_every_file_of_the_gateway_has_a_stage() -> None:
    files = [file for name in PACKAGES for file in Path(name).rglob("*.py")]
    lost = [str(f) for f in files if stage_of(str(f.absolute())) == ELSEWHERE]
    on_the_way = [f for f in lost if not f.endswith(("__init__.py", "actors/tree.py"))]
    assert len(files) > 100
    assert [f for f in on_the_way if not f.startswith("actors/")] == []


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("/x/site-packages/trio/_core/_run.py", "trio"),
        ("/x/site-packages/httpx/_models.py", "transport to the provider"),
        ("gateway/http11.py", "edge (sockets, HTTP/1.1)"),
        ("gateway/http/app.py", "routes and auth"),
        ("actors/router/tokens/memo.py", "token count"),
        ("actors/router/decide.py", "router"),
        ("actors/provider/actor.py", "provider's admission"),
        ("actors/provider/transport.py", "transport to the provider"),
        ("/x/elsewhere.py", ELSEWHERE),
    ],
)
def test_files_are_told_apart(file: str, stage: str) -> None:
    assert stage_of(file) == stage
    assert stage == ELSEWHERE or stage in STAGES
