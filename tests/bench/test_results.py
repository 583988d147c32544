"""RESULTS.md keeps what was measured elsewhere, and in its place."""

from bench.results import PREFACE, renewed


def test_a_measured_section_is_replaced_where_it_stood() -> None:
    old = f"{PREFACE}## One\n\n1\n\n## By hand\n\nkept\n\n## Two\n\n2\n"
    new = renewed(old, {"Two": "22\n", "One": "11\n"})
    assert new == f"{PREFACE}## One\n\n11\n\n## By hand\n\nkept\n\n## Two\n\n22\n"


def test_a_new_section_comes_last() -> None:
    new = renewed(f"{PREFACE}## One\n\n1\n", {"Three": "3"})
    assert new == f"{PREFACE}## One\n\n1\n\n## Three\n\n3\n"


def test_without_results_there_are_those_that_were_measured() -> None:
    assert renewed("", {"One": "1"}) == f"{PREFACE}## One\n\n1\n"
