"""Build the catalogue that ships with a release.

    pip download --no-deps litellm genai-prices
    python -m tools.catalogue.build litellm-*.whl genai_prices-*.whl

The wheels are only unpacked: nothing of them is installed or imported. The list of the
first becomes the catalogue; the second is asked for a second opinion on every model of
OpenAI, Anthropic and Google that both know. Where they disagree nothing is written,
unless `known.toml` says why the first is right.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from actors.router.catalogue import files
from actors.router.catalogue.convert import from_litellm
from actors.router.catalogue.diff import diff, usd
from actors.router.catalogue.schema import Catalogue
from tools.catalogue import genai

HERE = Path(__file__).parent
TARGET = HERE.parents[1] / "actors/router/catalogue/data/catalogue.json.gz"
LIST = "litellm/model_prices_and_context_window_backup.json"
CHECKED = {"openai": "openai", "anthropic": "anthropic", "gemini": "google"}

# A prompt and an answer, for which both must name one price: nano-dollars a token.
INPUT_TOKENS, OUTPUT_TOKENS = 10_000, 1_000


def main(argv: list[str] | None = None) -> int:
    """Build, compare, write."""
    parser = argparse.ArgumentParser(prog="python -m tools.catalogue.build")
    parser.add_argument("litellm", type=Path, help="litellm's wheel")
    parser.add_argument("genai", type=Path, help="genai-prices' wheel")
    parser.add_argument("--out", type=Path, default=TARGET)
    parser.add_argument("--date", default=datetime.now(UTC).date().isoformat())
    args = parser.parse_args(argv)
    catalogue = read_list(args.litellm, args.date)
    second = genai.read_wheel(args.genai, args.date)
    known = known_differences()
    agreed, wrong, unused = 0, [], dict(known)
    for model, ours, theirs in compared(catalogue, second):
        if ours == theirs:
            agreed += 1
        elif model in known:
            unused.pop(model, None)
        else:
            wrong.append(f"{model}: {usd(ours)} in the list, {usd(theirs)} elsewhere")
    for line in wrong:
        print(f"disagree: {line}", file=sys.stderr)
    for model in unused:
        print(f"known.toml: {model} is no difference any more", file=sys.stderr)
    print(f"{agreed} prices agree, {len(wrong)} do not, {len(known)} are known")
    if wrong or unused:
        return 1
    if args.out.exists():
        for line in diff(files.read(args.out), catalogue):
            print(line)
    sha256 = files.write(args.out, catalogue)
    print(f"{catalogue!r}\n{args.out.stat().st_size} bytes, sha256 {sha256}")
    return 0


def read_list(wheel: Path, date: str) -> Catalogue:
    """The catalogue of a wheel's list."""
    with zipfile.ZipFile(wheel) as packed:
        data = packed.read(LIST)
    version = "-".join(wheel.name.split("-")[:2])
    return from_litellm(
        data,
        source=version,
        sha256=hashlib.sha256(data).hexdigest(),
        released_on=date,
    )


def known_differences() -> Mapping[str, str]:
    """Model to reason."""
    return tomllib.loads((HERE / "known.toml").read_text()).get("known", {})


def compared(
    catalogue: Catalogue, second: genai.Prices
) -> Iterator[tuple[str, int, int]]:
    """What both ask for the same call, for each price that both know."""
    for kind, provider in CHECKED.items():
        for name, entry in catalogue.kinds[kind].items():
            price = entry.price
            other = second.get(provider, {}).get(name)
            if price is None or other is None or entry.mode != "chat":
                continue
            ours = (
                INPUT_TOKENS * price.input_nanousd_per_mtok
                + OUTPUT_TOKENS * price.output_nanousd_per_mtok
            )
            theirs = INPUT_TOKENS * other.input + OUTPUT_TOKENS * other.output
            yield f"{kind}/{name}", ours, theirs
            cached = price.cached_input_nanousd_per_mtok
            if cached is not None and other.cached is not None:
                yield f"{kind}/{name} cached", cached, other.cached
            write = price.cache_write_nanousd_per_mtok
            if write is not None and other.cache_write is not None:
                yield f"{kind}/{name} cache write", write, other.cache_write


if __name__ == "__main__":
    sys.exit(main())
