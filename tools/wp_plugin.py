"""Builds the WordPress plugin's zip: `python -m tools.wp_plugin [FOLDER]`.

The same files make the same bytes, on any machine: names are sorted, times and modes
are fixed. Refuses to build when the version is not the same everywhere it is written.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).resolve().parents[1] / "wp-plugin" / "stagedoor"
TIME: Final = (1980, 1, 1, 0, 0, 0)  # The first that a zip can say.
MODE: Final = 0o100644


def versions(source: Path = SOURCE) -> dict[str, str]:
    """The version, as each file that says it says it."""
    main = (source / "stagedoor.php").read_text()
    readme = (source / "readme.txt").read_text()
    block = json.loads((source / "block" / "block.json").read_text())
    return {
        "stagedoor.php, header": _first(r"^ \* Version:\s+(\S+)$", main),
        "stagedoor.php, VERSION": _first(r"^const VERSION = '([^']+)';$", main),
        "readme.txt, Stable tag": _first(r"^Stable tag: (\S+)$", readme),
        "block/block.json": str(block["version"]),
    }


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else "none"


def build(target: Path, source: Path = SOURCE) -> Path:
    """Write `stagedoor-VERSION.zip` into a folder; where it is."""
    said = versions(source)
    if len(set(said.values())) != 1:
        lines = "\n".join(f"  {where}: {version}" for where, version in said.items())
        raise SystemExit(f"the plugin's version is not the same everywhere:\n{lines}")
    target.mkdir(parents=True, exist_ok=True)
    path = target / f"stagedoor-{next(iter(said.values()))}.zip"
    files = sorted(one for one in source.rglob("*") if one.is_file())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        for file in files:
            name = f"stagedoor/{file.relative_to(source).as_posix()}"
            info = zipfile.ZipInfo(name, TIME)
            info.external_attr = MODE << 16
            info.create_system = 3  # Unix, wherever it is built.
            info.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(info, file.read_bytes(), compresslevel=9)
    return path


def main() -> None:
    """Build into the folder that is named, or dist/."""
    print(build(Path(sys.argv[1] if len(sys.argv) > 1 else "dist")))


if __name__ == "__main__":
    main()
