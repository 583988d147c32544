"""`stagedoor catalogue`: what is known of models, and how to know it anew.

    show MODEL             what the gateway knows of a model, wherever it is served
    diff OLD NEW           what changed between two files
    update --from SOURCE   put a newer list into the state folder

A source is a catalogue of ours, or the public list that it is made from (litellm's
`model_prices_and_context_window.json`), as a file or an https address. A running
gateway reads the result when it is started again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from actors.ledger.messages import Price
from actors.router.catalogue import files
from actors.router.catalogue.convert import BadSource, from_litellm
from actors.router.catalogue.diff import diff, usd
from actors.router.catalogue.files import BadCatalogue
from actors.router.catalogue.lookup import Found
from actors.router.catalogue.schema import Catalogue
from gateway.cli import OK, REFUSED, UNREACHABLE, USAGE, complain

FETCH_S: Final = 60.0  # Three megabytes over a slow line.
REDIRECTS_MAX: Final = 5
MODELS_MIN: Final = 100  # A list of fewer is a mistake; --force takes it all the same.
SHOWN_MAX: Final = 200  # Changed lines; the rest is a number.
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Unreachable(Exception):
    """The source's server did not give the file."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Three verbs."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    show = verbs.add_parser("show", help="what is known of a model")
    show.add_argument("model", metavar="MODEL", help="a name, or KIND/NAME")
    show.add_argument("--json", action="store_true", help="print it as JSON")
    _state_dir(show)
    compare = verbs.add_parser("diff", help="what changed between two files")
    compare.add_argument("old", metavar="OLD", help='a file, or "shipped"')
    compare.add_argument("new", metavar="NEW", help='a file, or "shipped"')
    update = verbs.add_parser("update", help="put a newer list into the state folder")
    update.add_argument(
        "--from", dest="source", required=True, metavar="FILE|URL", help="the list"
    )
    update.add_argument(
        "--sha256", metavar="HEX", help="refuse a source with another hash"
    )
    update.add_argument(
        "--force", action="store_true", help="take it although models vanish"
    )
    _state_dir(update)


def _state_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state-dir",
        type=Path,
        default=Path("state"),
        metavar="FOLDER",
        help="the gateway's state folder (default: state)",
    )


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    try:
        match args.verb:
            case "show":
                return _show(args)
            case "diff":
                return _diff(args)
            case _:
                return _update(args)
    except (BadCatalogue, BadSource) as error:
        complain(error)
        return REFUSED
    except Unreachable as error:
        complain(error)
        return UNREACHABLE
    except OSError as error:
        complain(f"{error.filename or 'the file'}: {error.strerror or error}")
        return USAGE


# -- show ------------------------------------------------------------------------------


def _show(args: argparse.Namespace) -> int:
    lookup = files.lookup(args.state_dir)
    kind, slash, name = args.model.partition("/")
    one = lookup.find(kind, name) if slash else None
    found = (one,) if one is not None else lookup.kinds_of(args.model)
    if not found:
        complain(
            f"{args.model} is in no catalogue: it is served unpriced, and refused to "
            "sites with a spend cap; give it a price under [providers.prices]"
        )
        return REFUSED
    if args.json:
        print(json.dumps([msgspec.to_builtins(each) for each in found], indent=2))
    else:
        print("\n\n".join("\n".join(described(each)) for each in found))
    return OK


def described(found: Found) -> Iterator[str]:
    """An entry for people, a fact a line."""
    entry = found.entry
    yield f"{found.kind}/{found.name}  ({entry.mode}, from {found.source})"
    yield f"  window        {_tokens(entry.window_tokens)}"
    yield f"  output        {_tokens(entry.output_tokens_max)}"
    yield f"  tokenizer     {entry.tokenizer or 'unknown'}"
    if entry.images:
        yield f"  images        {entry.images}"
    if entry.capabilities:
        yield f"  can           {', '.join(entry.capabilities)}"
    if entry.deprecated_on:
        yield f"  switched off  {entry.deprecated_on}"
    if entry.price is None:
        yield "  price         unpriced"
        return
    yield from _price(entry.price, "price")


def _price(price: Price, label: str) -> Iterator[str]:
    parts = [
        f"{usd(amount)} {what}"
        for what, amount in (
            ("in", price.input_nanousd_per_mtok),
            ("out", price.output_nanousd_per_mtok),
            ("cached", price.cached_input_nanousd_per_mtok),
            ("cache write", price.cache_write_nanousd_per_mtok),
            ("cache write 1h", price.cache_write_1h_nanousd_per_mtok),
            ("audio in", price.audio_input_nanousd_per_mtok),
            ("audio out", price.audio_output_nanousd_per_mtok),
            ("reasoning", price.reasoning_nanousd_per_mtok),
        )
        if amount is not None
    ]
    yield f"  {label:13} {', '.join(parts)} a million tokens"
    if price.search_nanousd and label == "price":
        yield f"  search        {usd(price.search_nanousd)} each"
    for tier in price.tiers:
        yield from _price(tier.price, f"above {tier.above_tokens}")
    for name in ("batch", "flex", "priority"):
        service: Price | None = getattr(price, name)
        if service is not None:
            yield from _price(service, name)


def _tokens(count: int | None) -> str:
    return "unknown" if count is None else f"{count} tokens"


# -- diff ------------------------------------------------------------------------------


def _diff(args: argparse.Namespace) -> int:
    old, new = _named(args.old), _named(args.new)
    lines = list(diff(old, new))
    print("\n".join([*lines, f"{len(lines)} models differ"]))
    return OK


def _named(name: str) -> Catalogue:
    if name == "shipped":
        return files.shipped()
    return parsed(_file(Path(name)), Path(name).name)


# -- update ----------------------------------------------------------------------------


def _update(args: argparse.Namespace) -> int:
    source: str = args.source
    wanted: str | None = args.sha256
    if wanted is not None and not _SHA256.fullmatch(wanted.lower()):
        complain("--sha256 takes 64 hexadecimal digits")
        return USAGE
    if not args.state_dir.is_dir():
        complain(f"{args.state_dir} is no folder; name the gateway's --state-dir")
        return USAGE
    data = fetch(source) if "://" in source else _file(Path(source))
    sha256 = hashlib.sha256(data).hexdigest()
    print(f"{source}: {len(data)} bytes, sha256 {sha256}")
    if wanted is not None and sha256 != wanted.lower():
        raise BadCatalogue("the source has another hash than --sha256; nothing changed")
    new = parsed(data, source.rpartition("/")[2])
    target = args.state_dir / files.REFRESHED
    old = files.read(target) if target.exists() else files.shipped()
    if not args.force:
        _refuse_shrunk(old, new)
    lines = list(diff(old, new))
    print("\n".join(lines[:SHOWN_MAX]))
    if len(lines) > SHOWN_MAX:
        print(f"… {len(lines) - SHOWN_MAX} more")
    written = files.write(target, new)
    print(f"{target}: {len(lines)} models differ, sha256 {written}")
    if new.released_on < files.shipped().released_on:
        print(
            f"note: it is of {new.released_on}; the shipped one is newer and is used "
            "first"
        )
    print("note: a running gateway reads it when it is started again")
    return OK


def parsed(data: bytes, name: str) -> Catalogue:
    """A catalogue of ours, or made from the public list. Raises BadCatalogue."""
    text = files.unpacked(data)
    try:
        return files.decode(text)
    except BadCatalogue as ours:
        try:
            return from_litellm(
                text,
                source=name,
                sha256=hashlib.sha256(data).hexdigest(),
                released_on=datetime.now(UTC).date().isoformat(),
            )
        except BadSource as theirs:
            raise BadCatalogue(f"{name} {ours}, and it {theirs}") from None


def _refuse_shrunk(old: Catalogue, new: Catalogue) -> None:
    """A list that lost half its models or a whole provider is a broken download."""
    was = sum(map(len, old.kinds.values()))
    now = sum(map(len, new.kinds.values()))
    gone = sorted(old.kinds.keys() - new.kinds.keys())
    if now < max(MODELS_MIN, was // 2) or gone:
        lost = f", and none of {', '.join(gone)}" if gone else ""
        raise BadCatalogue(
            f"the source has {now} models where {was} were known{lost}; nothing "
            "changed; --force takes it all the same"
        )


def _file(path: Path) -> bytes:
    if path.stat().st_size > files.FILE_BYTES_MAX:
        raise BadCatalogue(f"{path.name} has more than {files.FILE_BYTES_MAX} bytes")
    return path.read_bytes()


def fetch(url: str) -> bytes:
    """A file from the network, within bounds. Raises Unreachable."""
    import httpx  # noqa: PLC0415 - slow to import, and only for this

    if not url.startswith("https://"):
        raise Unreachable("prices come by https:// only, or from a file")
    try:
        with (
            httpx.Client(
                timeout=FETCH_S, follow_redirects=True, max_redirects=REDIRECTS_MAX
            ) as client,
            client.stream("GET", url) as response,
        ):
            if response.url.scheme != "https":
                raise Unreachable(f"{url} leads away from https")
            if not response.is_success:
                raise Unreachable(f"{url} answered {response.status_code}")
            data = bytearray()
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > files.FILE_BYTES_MAX:
                    raise Unreachable(
                        f"{url} has more than {files.FILE_BYTES_MAX} bytes"
                    )
            return bytes(data)
    except httpx.HTTPError as error:
        raise Unreachable(f"{url} cannot be fetched: {type(error).__name__}") from None
