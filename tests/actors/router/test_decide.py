"""Decisions: gates hold, the better one wins without herding, a line replays."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from actors.ledger.messages import Price
from actors.provider.messages import Load
from actors.router import policy
from actors.router.book import Book
from actors.router.messages import (
    Deployment,
    DeploymentFacts,
    MakePlan,
    NoRoute,
    Observed,
    Plan,
    Prefer,
    RoutePolicy,
    RouteTable,
    Share,
    SitePolicy,
    Weights,
    Wishes,
)
from actors.router.wishes import resolve

NAMES = ("a", "b", "c", "d")
USD = 10**9


def deployment(name: str) -> Deployment:
    return Deployment(name, "m")


def table(
    facts: dict[str, DeploymentFacts] | None = None,
    *,
    names: tuple[str, ...] = NAMES,
    wishes: Wishes | None = None,
    site: SitePolicy | None = None,
    **policy_of: object,
) -> RouteTable:
    return RouteTable(
        routes={"fast": tuple(map(deployment, names)), "wide": (deployment("w"),)},
        sites={"acme": site or SitePolicy("acme")},
        facts={deployment(n): f for n, f in (facts or {}).items()},
        policies={
            "fast": RoutePolicy(wishes or Wishes(prefer="balanced"), **policy_of)  # type: ignore[arg-type]
        },
        aliases={"quick": "fast"},
    )


def ask(**changes: object) -> MakePlan:
    given_: dict[str, object] = {
        "site": "acme",
        "model": "fast",
        "dialect": "openai-chat",
        "prompt_tokens": 1000,
        "output_tokens_max": 500,
        "needs": frozenset(),
        "stream": True,
        "affinity": 0,
    }
    return MakePlan(**{**given_, **changes})  # type: ignore[arg-type]


def seen(name: str, **changes: object) -> Observed:
    given_: dict[str, object] = {
        "deployment": deployment(name),
        "outcome": "ok",
        "prompt_tokens": 1000,
        "output_tokens": 100,
        "first_content_s": 0.5,
        "total_s": 2.5,
        "model": "fast",
    }
    return Observed(**{**given_, **changes})  # type: ignore[arg-type]


def taught(book: Book, names: tuple[str, ...] = NAMES, now: float = 100.0) -> Book:
    """Everybody has answered a few calls, equally well."""
    for name in names:
        for _ in range(5):
            book.observe(seen(name), now)
    return book


def plan_of(book: Book, now: float = 101.0, seed: int = 1, **changes: object) -> Plan:
    plan = policy.plan(book, ask(**changes), now, Random(seed))
    assert isinstance(plan, Plan)
    return plan


def firsts(book: Book, count: int = 400, **changes: object) -> Counter[str]:
    rng = Random(3)
    chosen: Counter[str] = Counter()
    for _ in range(count):
        plan = policy.plan(book, ask(**changes), 101.0, rng)
        assert isinstance(plan, Plan)
        chosen[plan.candidates[0].deployment.provider] += 1
    return chosen


PRICES = st.one_of(st.none(), st.integers(0, 20 * USD).map(lambda p: Price(p, 2 * p)))
FACTS = st.builds(
    DeploymentFacts,
    window_tokens=st.one_of(st.none(), st.integers(100, 200_000)),
    price=PRICES,
    capabilities=st.one_of(
        st.none(), st.frozensets(st.sampled_from(["tools", "images"]))
    ),
    region=st.sampled_from(["", "eu", "us"]),
)
WISHES = st.builds(
    Wishes,
    prefer=st.sampled_from(["ordered", "cheapest", "fastest", "balanced"]),
    latency_slo_s=st.one_of(st.none(), st.floats(0.1, 60)),
    cost_nanousd_max=st.one_of(st.none(), st.integers(0, USD)),
    regions=st.sampled_from([(), ("eu",), ("eu", "us")]),
)


@given(
    facts=st.fixed_dictionaries(dict.fromkeys(NAMES, FACTS)),
    wishes=WISHES,
    capped=st.booleans(),
    needs=st.frozensets(st.sampled_from(["tools", "images"])),
    prompt=st.integers(1, 300_000),
    output=st.one_of(st.none(), st.integers(1, 8000)),
    seed=st.integers(0, 1000),
)
def test_a_candidate_that_fails_a_gate_is_in_no_plan(
    *,
    facts: dict[str, DeploymentFacts],
    wishes: Wishes,
    capped: bool,
    needs: frozenset[str],
    prompt: int,
    output: int | None,
    seed: int,
) -> None:
    """Checked against the rules as routing says them, not against the gates' code."""
    site = SitePolicy("acme", capped=capped)
    book = Book(table(facts, wishes=wishes, site=site))
    asked = ask(prompt_tokens=prompt, output_tokens_max=output, needs=needs)
    explained = policy.explain(book, asked, 1.0, Random(seed))
    plan = explained.plan
    candidates = plan.candidates if isinstance(plan, Plan) else ()
    bound = output if output is not None else (4096 if capped else None)

    for one in candidates:
        known = facts[one.deployment.provider]
        if known.window_tokens is not None:
            assert prompt + (bound or 0) <= known.window_tokens
        if known.capabilities is not None:
            assert needs <= known.capabilities
        if wishes.regions:
            assert known.region in wishes.regions
        if capped or wishes.cost_nanousd_max is not None:
            assert known.price is not None
        if wishes.cost_nanousd_max is not None and known.price is not None:
            least = prompt * known.price.input_nanousd_per_mtok
            least += (bound or 0) * known.price.output_nanousd_per_mtok
            assert least / 1e6 <= wishes.cost_nanousd_max
    # Nobody is lost: each is a candidate or dropped, with a reason.
    told = {c.deployment for c in candidates} | {g.deployment for g in plan.gated}
    assert told == set(map(deployment, NAMES))
    assert all(g.why for g in plan.gated)
    # And the line in the log gives the very same plan.
    assert policy.replay(explained.line) == plan


@given(
    events=st.lists(
        st.tuples(
            st.sampled_from([*NAMES, "new", "w"]),
            st.sampled_from(["ok", "failed", "slow", "throttled", "key", "cancelled"]),
            st.floats(0.0, 1e6),
            st.integers(0, 2**40),
            st.floats(0.0, 5e4),
        ),
        max_size=30,
    ),
    wishes=WISHES,
    shut=st.dictionaries(st.sampled_from(NAMES), st.none() | st.floats(0, 1e9)),
    prompt=st.integers(1, 2**40),
    seed=st.integers(0, 1000),
)
def test_any_decision_replays_from_its_line_to_the_letter(
    *,
    events: list[tuple[str, str, float, int, float]],
    wishes: Wishes,
    shut: dict[str, float | None],
    prompt: int,
    seed: int,
) -> None:
    """Whatever was learned, whoever waits; with canaries, mirrors and fallbacks."""
    book = Book(
        table(
            wishes=wishes,
            canary=(Share(deployment("new"), 30.0),),
            mirror=(Share(deployment("w"), 30.0),),
            context_fallbacks=("wide",),
        )
    )
    load = Load(in_flight_max=2, in_flight=2, queued=9, waiting={1: (1.0, 1.0 + 1e-9)})
    book.opened("b", load)
    now = 100.0
    for name, outcome, seconds, tokens, later in events:
        now += later
        book.observe(
            seen(
                name,
                outcome=outcome,
                first_content_s=seconds / 2,
                total_s=seconds,
                prompt_tokens=tokens,
            ),
            now,
        )
    for name, until in shut.items():
        book.shut(name, until)
    explained = policy.explain(book, ask(prompt_tokens=prompt), now, Random(seed))

    assert policy.replay(explained.line) == explained.plan


def test_one_seed_and_one_book_give_one_plan() -> None:
    plans = {
        tuple(str(c.deployment) for c in plan_of(taught(Book(table()))).candidates)
        for _ in range(5)
    }

    assert len(plans) == 1


def test_ordered_is_the_default_and_keeps_the_written_order() -> None:
    book = taught(Book(table(wishes=Wishes())))
    for _ in range(20):
        book.observe(seen("a", outcome="failed", first_content_s=None), 100.0)

    plan = plan_of(book)

    assert [c.deployment.provider for c in plan.candidates] == list(NAMES)


def test_equals_share_the_traffic() -> None:
    chosen = firsts(taught(Book(table())))

    assert set(chosen) == set(NAMES)
    assert min(chosen.values()) > 60


def test_a_slow_one_is_left_out_at_once_and_by_every_size() -> None:
    book = taught(Book(table()))
    for _ in range(4):
        book.observe(seen("a", first_content_s=8.0, total_s=20.0), 100.5)

    assert firsts(book, prompt_tokens=40_000)["a"] <= 8  # The exploring share.


def test_the_presets_mean_what_they_say() -> None:
    prices = {n: DeploymentFacts(price=Price(i * USD, i * USD))
              for i, n in enumerate(NAMES, 1)}  # fmt: skip

    def winner(prefer: Prefer) -> str:
        book = taught(Book(table(prices, wishes=Wishes(prefer=prefer))))
        for _ in range(5):
            book.observe(seen("d", first_content_s=0.25, total_s=1.2), 100.0)
        return firsts(book).most_common(1)[0][0]

    assert winner("cheapest") == "a"
    assert winner("fastest") == "d"


def test_within_the_slo_quicker_is_no_better() -> None:
    prices = {
        "a": DeploymentFacts(price=Price(USD, USD)),
        "b": DeploymentFacts(price=Price(3 * USD, 3 * USD)),
    }
    wishes = Wishes(weights=Weights(latency=3, price=1), latency_slo_s=30.0)
    book = taught(Book(table(prices, names=("a", "b"), wishes=wishes)))
    for _ in range(10):
        book.observe(seen("b", first_content_s=0.1, total_s=0.5), 100.0)

    assert firsts(book).most_common(1)[0][0] == "a"


def test_a_call_that_waits_too_long_is_news_before_it_ends() -> None:
    book = taught(Book(table()))
    load = Load(in_flight_max=10)
    book.opened("a", load)
    load.waiting[1] = (50.0, 52.0)  # Due at 52, and it is 101.

    assert firsts(book)["a"] <= 8


def test_an_open_provider_comes_last_with_the_time_of_its_return() -> None:
    book = taught(Book(table()))
    book.shut("a", 110.0)

    plan = plan_of(book)

    assert plan.candidates[-1].deployment == deployment("a")
    [gated] = plan.gated
    assert (gated.gate, gated.why) == ("open", "for 9.0 s")


def test_probation_gets_one_call_and_no_more() -> None:
    """And of the small ones, when there are others: it may fail."""
    book = taught(Book(table()))
    firsts(book)
    load = Load(in_flight_max=10, probation=True)
    book.opened("a", load)

    probe = plan_of(book, prompt_tokens=10)
    assert probe.candidates[0].deployment == deployment("a")
    assert probe.candidates[0].probe
    load.probing = True
    plan = plan_of(book, prompt_tokens=10)
    assert plan.candidates[0].deployment != deployment("a")
    assert plan.candidates[-1].deployment == deployment("a")


def test_probes_are_a_bounded_share() -> None:
    book = Book(table())
    taught(book, ("a", "b", "c"))  # Nobody knows d.
    rng = Random(5)
    probes = 0
    for step in range(2000):
        plan = policy.plan(book, ask(), 101.0 + step, rng)
        assert isinstance(plan, Plan)
        probes += plan.candidates[0].probe

    assert 0 < probes <= 2000 * 0.05 + 3


def test_the_next_turn_goes_where_its_beginning_is_cached() -> None:
    price = Price(10 * USD, 10 * USD, cached_input_nanousd_per_mtok=USD)
    facts = {name: DeploymentFacts(price=price) for name in NAMES}
    book = taught(Book(table(facts)))
    for name in NAMES * 3:
        book.observe(seen(name, prompt_tokens=20_000), 100.4)
    book.observe(seen("c", prompt_tokens=20_000, affinity=77), 100.5)
    book.observe(
        seen("c", prompt_tokens=21_000, cached_tokens=20_000, affinity=77), 100.6
    )

    warm = firsts(book, prompt_tokens=22_000, affinity=77)
    cold = firsts(book, prompt_tokens=22_000, affinity=78)

    assert warm["c"] > 380
    assert cold["c"] < 200


def test_canaries_get_their_share_and_nothing_else() -> None:
    canary = (Share(deployment("new"), 10.0),)
    book = taught(Book(table(canary=canary)), (*NAMES, "new"))

    chosen = firsts(book, 1000)

    assert 70 <= chosen["new"] <= 130
    plan = plan_of(book, seed=2)
    if plan.candidates[0].deployment.provider != "new":
        assert deployment("new") not in [c.deployment for c in plan.candidates]


def test_a_canarys_share_holds_to_the_percent() -> None:
    """Over ten thousand requests within four standard deviations, by ranking or not."""
    for prefer in ("ordered", "balanced"):
        book = taught(
            Book(
                table(
                    wishes=Wishes(prefer=prefer),
                    canary=(Share(deployment("new"), 5.0), Share(deployment("w"), 1.0)),
                )
            ),
            (*NAMES, "new", "w"),
        )
        chosen = firsts(book, 10_000)
        assert abs(chosen["new"] - 500) <= 4 * 22
        assert abs(chosen["w"] - 100) <= 4 * 10


def test_an_unknown_canary_does_not_make_the_others_herd() -> None:
    """It waits for its share; the others are chosen as if it were not there."""
    canary = (Share(deployment("new"), 1.0),)
    chosen = firsts(taught(Book(table(canary=canary))), 2000)

    assert min(chosen[name] for name in NAMES) > 350


def test_a_canary_that_is_out_of_use_is_nobodys_fallback() -> None:
    book = taught(Book(table(canary=(Share(deployment("new"), 50.0),))))
    book.shut("new", 500.0)

    for seed in range(20):
        plan = plan_of(book, seed=seed)
        assert deployment("new") not in [c.deployment for c in plan.candidates]


def test_with_nothing_else_left_a_canary_serves() -> None:
    facts = {name: DeploymentFacts(window_tokens=10) for name in NAMES}
    book = Book(table(facts, canary=(Share(deployment("new"), 1.0),)))

    assert plan_of(book).candidates[0].deployment == deployment("new")


def test_a_mirror_is_beside_the_plan_never_in_it() -> None:
    book = taught(Book(table(mirror=(Share(deployment("new"), 100.0),))))

    plan = plan_of(book)

    assert plan.mirror is not None
    assert plan.mirror.deployment == deployment("new")
    assert deployment("new") not in [c.deployment for c in plan.candidates]


def test_a_mirror_that_is_a_fallback_too_stays_one() -> None:
    mirror = (Share(deployment("w"), 100.0),)
    book = taught(Book(table(mirror=mirror, fallbacks=("wide",))))

    plan = plan_of(book)

    assert plan.mirror is not None
    assert deployment("w") in [c.deployment for c in plan.candidates]


def test_a_prompt_that_fits_nobody_goes_to_the_larger_window() -> None:
    facts = {name: DeploymentFacts(window_tokens=8000) for name in NAMES}
    book = Book(table(facts, context_fallbacks=("wide",)))

    short, long = plan_of(book), plan_of(book, prompt_tokens=50_000)

    assert [c.on for c in short.candidates] == ["any"] * 4 + ["context"]
    assert [c.deployment for c in long.candidates] == [deployment("w")]


def test_a_request_that_nobody_may_serve_is_told_why() -> None:
    facts = {name: DeploymentFacts(window_tokens=8000) for name in NAMES}
    refused = policy.plan(Book(table(facts)), ask(prompt_tokens=9000), 1.0, Random(1))

    assert isinstance(refused, NoRoute)
    assert (refused.status, refused.code) == (400, "context_length_exceeded")
    assert {g.gate for g in refused.gated} == {"window"}


def test_each_gate_is_named_with_how_many_it_dropped() -> None:
    """Two are too small and two elsewhere: shortening the prompt alone will not do."""
    facts = {
        "a": DeploymentFacts(window_tokens=8000, region="eu"),
        "b": DeploymentFacts(window_tokens=8000, region="eu"),
        "c": DeploymentFacts(region="us"),
        "d": DeploymentFacts(region="eu", capabilities=frozenset()),
    }
    wishes = Wishes(prefer="balanced", regions=("eu",))
    asked = ask(prompt_tokens=9000, needs=frozenset({"tools"}))
    refused = policy.plan(Book(table(facts, wishes=wishes)), asked, 1.0, Random(1))

    assert isinstance(refused, NoRoute)
    assert (refused.status, refused.code) == (400, "context_length_exceeded")
    told = refused.message
    assert "2 of its 4 deployments are not large enough" in told
    assert "1 of its 4 deployments is not able to do" in told
    assert "1 of its 4 deployments is not in a region" in told


def test_routes_that_fall_back_on_each_other_end() -> None:
    """Each deployment is in a plan once, however the names lead round."""
    made = replace(
        table(fallbacks=("wide",), context_fallbacks=("wide", "fast")),
        policies={
            "fast": RoutePolicy(fallbacks=("wide",), context_fallbacks=("wide",)),
            "wide": RoutePolicy(fallbacks=("fast",), content_fallbacks=("fast",)),
        },
    )
    for model in ("fast", "wide"):
        plan = plan_of(Book(made), model=model)
        found = [c.deployment.provider for c in plan.candidates]
        assert sorted(found) == sorted({*NAMES, "w"})


def test_an_alias_is_its_model() -> None:
    assert plan_of(Book(table()), model="quick").model == "fast"


def test_wishes_narrow_and_never_widen() -> None:
    site = Wishes(prefer="cheapest", cost_nanousd_max=5, regions=("eu",))
    route = Wishes(prefer="fastest", cost_nanousd_max=9, regions=("us",))

    both, _ = resolve(site, route)

    assert (both.prefer, both.cost_nanousd_max) == ("fastest", 5)
    assert both.regions not in ((), ("us",))


def test_what_was_learned_survives_a_reload() -> None:
    book = taught(Book(table()))
    for _ in range(4):
        book.observe(seen("a", first_content_s=8.0, total_s=20.0), 100.5)
    book.set_table(table())

    assert firsts(book)["a"] <= 8
