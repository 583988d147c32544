"""Settings as forms: what is shown, what is changed, and what stays as it was typed."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.console import forms, objects
from gateway.console.forms import Field
from gateway.console.pages.site_settings import typed_ladder

MONEY = Field("spend_usd_max", "Spend", "money")
EVERY = tuple(field for section in objects.SITE for field in section.fields)


def test_an_empty_field_takes_its_setting_away() -> None:
    """A merge patch with null (RFC 7396)."""
    assert forms.patch_of((MONEY,), {"spend_usd_max": [" "]}) == {"spend_usd_max": None}


@given(st.decimals(min_value=0, max_value=10**9, places=6, allow_nan=False))
def test_money_is_sent_as_it_was_typed(amount: object) -> None:
    """A price is no float."""
    made = forms.patch_of((MONEY,), {"spend_usd_max": [str(amount)]})

    assert msgspec.json.encode(made) == f'{{"spend_usd_max":{amount}}}'.encode()


@given(st.text(max_size=40))
def test_whatever_was_typed_makes_a_patch_that_can_be_sent(text: str) -> None:
    """What is no number is refused by the admin API, in its words."""
    typed = {field.path: [text] for field in EVERY}

    made = msgspec.json.encode(forms.patch_of(EVERY, typed))

    assert msgspec.json.decode(made).keys() == {
        field.path.partition(".")[0] for field in EVERY
    }


def test_fields_below_a_table_change_nothing_beside_them() -> None:
    field = Field("routing.weights.price", "Price", "whole")

    made = forms.patch_of((field,), {"routing.weights.price": ["3"]})

    assert made == {"routing": {"weights": {"price": 3}}}


@pytest.mark.parametrize(("ticked", "sent"), [("yes", None), ("", False)])
def test_a_box_that_is_as_the_default_says_nothing(ticked: str, sent: object) -> None:
    field = Field("pacing", "Pacing", "yes", default=True)

    assert forms.patch_of((field,), {"pacing": [ticked]}) == {"pacing": sent}


def test_what_somebody_else_has_saved_stands_beside_what_was_typed() -> None:
    (shown,) = forms.shown(
        (MONEY,), {"spend_usd_max": 7}, typed={"spend_usd_max": ["9"]}, told=True
    )

    assert shown.value == "9"
    assert shown.theirs == "7"


def test_a_problem_finds_its_field_also_within_a_list() -> None:
    problem = {"errors": [{"path": "$.settings.models[2]", "message": "is no name"}]}

    assert forms.problems_of(problem) == {"models": "is no name"}


def test_a_ladder_is_its_rows_lowest_first_without_empty_ones() -> None:
    form = {
        "name-0": ["late"],
        "from_percent-0": ["90"],
        "refuse-0": ["yes"],
        "name-1": [""],
        "from_percent-1": [""],
        "name-2": ["soon"],
        "from_percent-2": ["50"],
        "prefer_cheap-2": ["yes"],
        "name-x": ["no row"],
    }

    assert typed_ladder(form) == [
        {"name": "soon", "from_percent": 50, "prefer_cheap": True},
        {"name": "late", "from_percent": 90, "refuse": True},
    ]
