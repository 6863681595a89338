"""What a loss reaches in odd places, and what batches come from: left as it was, and never in the way."""

import functools
import weakref
from collections import Counter, OrderedDict
from collections.abc import MutableMapping
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

import snrkit
from snrkit.errors import SpecError
from tests.losses import zoo

FEW = 12
STATES = zoo.data(16, 4)


def square(model, x):
    return model(x + 0.3 * torch.randn_like(x)).square().mean()


def mlp():
    return zoo.made(lambda: zoo.mlp(4, 3))


class Twice:
    """Counts in its class."""

    count = 0

    @staticmethod
    def up():
        Twice.count += 1
        return Twice.count


class Hidden:
    """Counts in a slot of its own."""

    __slots__ = ("__count",)

    def __init__(self):
        self.__count = 0

    def up(self):
        self.__count += 1
        return self.__count

    def told(self):
        return self.__count


class Long(list):
    """A list with a place."""

    place = 0


def places(way):
    """What counts its calls, and what tells how many there were."""
    if way == "function":

        def up():
            up.count += 1
            return up.count

        up.count = 0
        return up, lambda: up.count
    if way == "keyword":

        def kept(*, held={"count": 0}):  # noqa: B006 (as people do)
            held["count"] += 1
            return held["count"]

        return kept, lambda: kept.__kwdefaults__["held"]["count"]
    if way == "class":
        two = Twice()
        return two.up, lambda: Twice.count
    if way == "slot":
        hidden = Hidden()
        return hidden.up, hidden.told
    if way == "list":
        long = Long()

        def further():
            long.place += 1
            return long.place

        return further, lambda: long.place
    held = {"counter": Counter(n=0), "ordered": OrderedDict(n=0)}[way]

    def counted():
        held["n"] += 1
        return held["n"]

    return counted, lambda: held["n"]


@pytest.mark.parametrize("way", ["function", "keyword", "class", "slot", "list", "counter", "ordered"])
def test_a_count_in_an_odd_place_begins_anew_in_every_draw(way):
    up, told = places(way)
    table = snrkit.measure_loss(lambda m, x: square(m, x) * up(), mlp(), STATES, draws=FEW)
    assert table.value.tolist() == snrkit.measure_loss(square, mlp(), STATES, draws=FEW).value.tolist()
    assert told() == 0


def test_a_generator_behind_three_decorators_is_put_back():
    generator = np.random.default_rng(0)
    state = generator.bit_generator.state

    def loss(model, x):
        return square(model, x) * float(generator.normal() + 3)

    def wrapped(function):
        @functools.wraps(function)
        def within(*given):
            return function(*given)

        return within

    snrkit.measure_loss(wrapped(wrapped(wrapped(loss))), mlp(), STATES, draws=FEW)
    assert generator.bit_generator.state == state


class Sampler(nn.Module):
    """Gives one batch after another."""

    def __init__(self):
        super().__init__()
        self.place, self.random = 0, np.random.default_rng(0)

    def sample(self):
        self.place += 1
        self.random.normal()
        return STATES + self.place


@pytest.mark.parametrize("normalised", [False, True])
def test_a_module_that_draws_batches_goes_on_and_is_left(normalised):
    sampler, seen = Sampler(), []
    state = sampler.random.bit_generator.state
    model = nn.Sequential(nn.BatchNorm1d(4), mlp()) if normalised else mlp()
    snrkit.measure_loss(square, model, sampler.sample, draws=FEW)
    assert (sampler.place, sampler.random.bit_generator.state) == (0, state)
    places = weakref.WeakKeyDictionary({sampler: seen})  # which nothing looks into
    snrkit.measure_loss(square, model, lambda: _noted(sampler, places), draws=FEW)
    assert seen == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("normalised", [False, True])
def test_batches_whose_place_the_model_keeps_are_refused(normalised):
    sampler = Sampler()
    model = nn.ModuleDict({"net": nn.Sequential(nn.Linear(4, 3), *([nn.BatchNorm1d(3)] if normalised else []))})
    model.sampler = sampler
    with pytest.raises(SpecError, match="batch: goes on by what the model"):
        snrkit.measure_loss(lambda m, x: square(m["net"], x), model, sampler.sample, draws=FEW)
    assert sampler.place == 0


def _noted(sampler, places):
    drawn = sampler.sample()
    places[sampler].append(sampler.place)
    return drawn


class Odd(MutableMapping):
    """A mapping whose copies share its entries."""

    def __init__(self, held):
        self.held = held

    def __getitem__(self, name):
        return self.held[name]

    def __setitem__(self, name, value):
        self.held[name] = value

    def __delitem__(self, name):
        del self.held[name]

    def __iter__(self):
        return iter(self.held)

    def __len__(self):
        return len(self.held)


@dataclass
class Node:
    """A point that knows where it is from."""

    x: torch.Tensor
    parent: object = None


def test_batches_that_hold_themselves_or_share_their_entries_are_measured_and_left():
    node, odd = Node(STATES), Odd({"x": STATES})
    node.parent = node
    plain = snrkit.measure_loss(square, mlp(), STATES, draws=FEW).value.tolist()
    for batch, loss in ((node, lambda m, b: square(m, b.parent.x)), (odd, lambda m, b: square(m, b["x"]))):
        table = snrkit.measure_loss(loss, mlp(), batch, draws=FEW)
        assert table.value.tolist() == plain
        assert not table.attrs["remarks"]  # its precision was checked too
    assert odd["x"] is STATES
    assert node.x is STATES


class Unbound:
    """Stands for an object that there is only at times, as those of web frameworks do."""

    @property
    def __class__(self):
        raise RuntimeError("out of context")


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested")
def test_what_cannot_be_asked_or_compared_is_not_in_the_way():
    gone, unbound, lost = weakref.proxy(Sampler()), Unbound(), STATES.clone()
    lost[0, 0] = torch.nan
    nested = torch.nested.nested_tensor([torch.ones(2, 4), torch.ones(3, 4)])

    def loss(model, batch):
        assert (gone, unbound, nested)[2] is nested
        return square(model, batch.x.nan_to_num() + lost.nan_to_num())

    table = snrkit.measure_loss(loss, mlp(), Node(lost, weakref.proxy(Sampler())), draws=FEW)
    assert "outside of the model" not in " ".join(table.attrs["remarks"])
