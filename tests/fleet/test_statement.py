"""Whether a model on a worker is the one that was sent: rounding does not tell two apart, and anything else does."""

import math

import pytest
import torch

from snrkit.errors import SpecError
from snrkit.trial.statement import Said, require_stated, said_of
from tests.zoo import toy


def test_the_same_sums_in_another_order_are_the_same_model_at_the_edge_of_a_digit_too():
    one = Said("a.Model", [-3621.4499, 2.0], [3.0, 1.0])
    require_stated(one.plain, Said("a.Model", [-3621.4501, 2.0], [3.0, 1.00001]))
    assert str(one) != str(Said("a.Model", [-3621.4501, 2.0], [3.0, 1.00001]))


@pytest.mark.parametrize(
    "other",
    [
        Said("a.Model", [-3625.0, 2.0], [3.0, 1.0]),
        Said("a.Model", [-3621.4499, 2.1], [3.0, 1.0]),
        Said("a.Model", [-3621.4499, 2.0], [3.0, 1.001]),
        Said("a.Model", [-3621.4499, 2.0], [3.0]),
        Said("a.Model", [-math.inf, 2.0], [3.0, 1.0]),
        Said("a.Model", [math.nan, 2.0], [3.0, 1.0]),
        Said("b.Model", [-3621.4499, 2.0], [3.0, 1.0]),
    ],
)
def test_another_model_is_refused(other):
    with pytest.raises(SpecError, match="is another one on a worker"):
        require_stated(Said("a.Model", [-3621.4499, 2.0], [3.0, 1.0]).plain, other)
    with pytest.raises(SpecError, match="is another one on a worker"):
        require_stated(other.plain, Said("a.Model", [-3621.4499, 2.0], [3.0, 1.0]))


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_no_number_is_the_same_on_both_sides(value):
    require_stated(Said("a.Model", [value, 2.0], [value]).plain, Said("a.Model", [value, 2.00001], [value]))


def test_a_model_says_the_same_twice_and_another_one_does_not():
    model, x = toy()
    said = said_of(model, x)
    require_stated(said.plain, said_of(model, x))
    with torch.no_grad():
        next(model.parameters()).mul_(1.01)
    with pytest.raises(SpecError):
        require_stated(said.plain, said_of(model, x))
