"""Finding models: spellings, layers, and what is not found."""

import gzip
from pathlib import Path

import pytest

from actors.ledger.messages import Price, PriceTier
from actors.router.catalogue import files
from actors.router.catalogue.diff import diff
from actors.router.catalogue.files import BadCatalogue
from actors.router.catalogue.lookup import Lookup
from actors.router.catalogue.names import spellings
from actors.router.catalogue.rules import RULES
from actors.router.catalogue.schema import SCHEMA, Catalogue, Entry
from actors.router.tokens.families import FAMILIES
from actors.router.tokens.tally import RULE_UNKNOWN

PROFILE = "arn:aws:bedrock:us-east-1:123:inference-profile"
SHIPPED = Lookup([files.shipped()])


def catalogue(
    kind: str = "openai", released_on: str = "2026-01-01", **models: Entry
) -> Catalogue:
    return Catalogue(SCHEMA, "test", "", released_on, {kind: models})


@pytest.mark.parametrize(
    ("kind", "asked", "found"),
    [
        ("openai", "gpt-5", "gpt-5"),
        ("openai", " GPT-5 ", "gpt-5"),
        ("openai", "openai/gpt-5", "gpt-5"),
        ("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("openai", "gpt-5-2031-01-01", "gpt-5"),
        ("anthropic", "claude-sonnet-4-5-20991231", "claude-sonnet-4-5"),
        ("gemini", "models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("vertex", "publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("together", "deepseek-ai/DeepSeek-R1-0528", "deepseek-ai/deepseek-r1-0528"),
        (
            "bedrock",
            f"{PROFILE}/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        (
            "bedrock",
            "anthropic.claude-sonnet-4-5-20250929",
            "anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
    ],
)
def test_a_model_is_found_however_it_is_written(
    kind: str, asked: str, found: str
) -> None:
    entry = SHIPPED.find(kind, asked)
    assert entry is not None
    assert entry.name == found


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("openai", "gpt-nobody"),
        ("openai", ""),
        (
            "openai",
            "ft:gpt-5:somebody::id",
        ),  # Fine-tuned ones cost more than their base.
        ("openai", "gpt-5-mini-and-more"),
        ("openai-compatible", "gpt-5"),
        ("vllm", "gpt-5"),
        ("azure", "my-own-name-for-a-deployment"),
        ("openrouter", "gpt-5"),
    ],
)
def test_an_unknown_model_stays_unknown(kind: str, model: str) -> None:
    """It is unpriced: a guess would bill somebody else's price."""
    assert SHIPPED.find(kind, model) is None


def test_no_spelling_is_tried_twice() -> None:
    names = list(spellings("bedrock", "us.anthropic.claude-x-v1:0"))
    assert len(names) == len(set(names))


def test_a_profile_for_an_unlisted_place_costs_as_the_dearest_listed() -> None:
    """Bedrock charges some places a tenth more: a hold must not be short."""
    base, dear = Entry(price=Price(10, 20)), Entry(price=Price(11, 22))
    models = {"anthropic.c-v1:0": base, "us.anthropic.c-v1:0": dear}
    found = Lookup([catalogue("bedrock", **models)])
    entries = [
        found.find("bedrock", name)
        for name in ("anthropic.c-v1:0", "us.anthropic.c-v1:0", "jp.anthropic.c-v1:0")
    ]
    prices = [one.entry.price for one in entries if one is not None]
    assert prices == [base.price, dear.price, dear.price]


def test_the_newer_catalogue_is_asked_first() -> None:
    """A refreshed file must not hide what a newer version of the gateway ships."""
    old = catalogue(released_on="2026-01-01", x=Entry(window_tokens=1), y=Entry())
    new = catalogue(released_on="2026-02-01", x=Entry(window_tokens=2))
    for layers in ([old, new], [new, old]):
        found = Lookup(layers)
        x, y = found.find("openai", "x"), found.find("openai", "y")
        assert x is not None
        assert x.entry.window_tokens == 2
        assert y is not None


def test_a_name_counts_where_the_catalogue_does_not_know_it() -> None:
    stick = SHIPPED.yardstick("vllm", "meta-llama/Llama-3.3-70B-Instruct")
    assert stick.family.name == "llama3"
    assert stick.images == RULE_UNKNOWN


def test_the_shipped_catalogue_is_whole() -> None:
    shipped = files.shipped()
    assert sum(map(len, shipped.kinds.values())) > 1500
    assert len(files.encode(shipped)) < 200_000
    for kind, models in shipped.kinds.items():
        assert models, kind
        for name, entry in models.items():
            assert entry.tokenizer in FAMILIES, name
            assert not entry.images or entry.images in RULES, name
            assert entry.price != Price(0, 0), name
    priced = [e for e in shipped.kinds["openai"].values() if e.price is not None]
    assert len(priced) > 100


@pytest.mark.parametrize(
    ("kind", "model", "took", "gave"),
    [
        ("openai", "gpt-4o", 2.5, 10),
        ("openai", "gpt-5", 1.25, 10),
        ("anthropic", "claude-sonnet-4-5", 3, 15),
        ("gemini", "gemini-2.5-pro", 1.25, 10),
    ],
)
def test_well_known_prices_are_as_published(
    kind: str, model: str, took: float, gave: float
) -> None:
    found = SHIPPED.find(kind, model)
    assert found is not None
    assert found.entry.price is not None
    assert found.entry.price.input_nanousd_per_mtok == took * 10**9
    assert found.entry.price.output_nanousd_per_mtok == gave * 10**9


def test_a_file_is_the_same_for_the_same_content(tmp_path: Path) -> None:
    path = tmp_path / files.REFRESHED
    made = catalogue(b=Entry(window_tokens=1), a=Entry(price=Price(1, 2)))
    sha256 = files.write(path, made)
    assert files.read(path) == made
    assert files.write(path, made) == sha256
    assert [one.name for one in tmp_path.iterdir()] == [files.REFRESHED]
    assert files.lookup(tmp_path).find("openai", "a") is not None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"\x1f\x8b broken",
        gzip.compress(b"{}")[:-4],
        files.encode(Catalogue(SCHEMA + 1, "", "", "", {})),
        gzip.compress(bytes(files.JSON_BYTES_MAX + 1), 1),
    ],
    ids=["empty", "other", "damaged", "cut", "of another schema", "a bomb"],
)
def test_a_bad_file_is_refused(data: bytes) -> None:
    with pytest.raises(BadCatalogue):
        files.decode(data)


@pytest.mark.parametrize(
    "entry",
    [
        Entry(window_tokens=0),
        Entry(window_tokens=-1),
        Entry(output_tokens_max=10**30),
        Entry(price=Price(-1, 5)),
        Entry(price=Price(1, 10**30)),
        Entry(price=Price(1, 5, cached_input_nanousd_per_mtok=-1)),
        Entry(price=Price(1, 5, search_nanousd=-1)),
        Entry(price=Price(1, 5, tiers=(PriceTier(5, Price(1, 1)),) * 2)),
        Entry(price=Price(1, 5, tiers=(PriceTier(5, Price(-1, 1)),))),
        Entry(price=Price(1, 5, batch=Price(1, -5))),
        Entry(price=Price(1, 5, batch=Price(1, 5, flex=Price(1, 5)))),
    ],
    ids=str,
)
def test_a_file_that_cannot_be_right_is_refused(entry: Entry) -> None:
    """No model pays its users back, none has room for nothing."""
    data = files.encode(Catalogue(SCHEMA, "s", "", "", {"openai": {"m": entry}}))
    with pytest.raises(BadCatalogue, match="openai/m has "):
        files.decode(data)


def test_a_difference_names_what_came_went_and_changed() -> None:
    old = catalogue(
        gone=Entry(), same=Entry(), dear=Entry(price=Price(10**9, 2 * 10**9))
    )
    new = catalogue(
        come=Entry(window_tokens=5),
        same=Entry(),
        dear=Entry(price=Price(10**9, 3 * 10**9), window_tokens=1_000_000),
    )
    assert list(diff(old, new)) == [
        "+ openai/come  window 5, unpriced",
        "~ openai/dear  window_tokens none -> 1000000; output $2 -> $3",
        "- openai/gone  window ?, unpriced",
    ]
    assert not list(diff(old, old))
