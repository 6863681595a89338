"""What a loss keeps from one call to the next, wherever it does: every draw begins with it as it is, and it is left so."""

import argparse
import types
from collections import Counter, deque
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

import snrkit
from snrkit.errors import ModelError, SpecError
from tests.losses import zoo

FEW = 12
STATES = zoo.data(16, 4)
COUNT = 0


def square(model, x):
    return model(x + 0.3 * torch.randn_like(x)).square().mean()


class Net(nn.Module):
    """A network that keeps a number in some way, which each call makes larger and multiplies its result with."""

    def __init__(self, way):
        super().__init__()
        self.body, self.way, self.number = zoo.mlp(4, 3), way, 0.0
        self.held = {"number": 0.0, "list": [0.0], "array": np.zeros(1), "queue": deque([0.0], 1)}
        self.state = None
        self.space = types.SimpleNamespace(number=0.0)
        self.register_buffer("buffer", torch.zeros(()))
        self.frozen = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, x):
        return self.body(x) * self.moved()

    def moved(self):
        if self.way == "attribute":
            self.number += 1
            return self.number
        if self.way == "tensor":  # None before the first call, as a recurrent state is
            self.state = torch.ones(()) if self.state is None else self.state + 1
            return self.state
        if self.way == "object":
            self.space.number += 1
            return self.space.number
        if self.way in ("buffer", "frozen"):
            tensor = getattr(self, self.way)
            tensor.data = tensor.data + 1
            return tensor.detach().clone()
        return advanced(self.held, self.way)


def advanced(held, way):
    """Move what is held on, in place or not, and tell its number."""
    if way == "number":
        held["number"] += 1
        return held["number"]
    if way == "queue":
        held["queue"].append(held["queue"][0] + 1)
        return held["queue"][0]
    held[way][0] += 1
    return float(held[way][0])


WITHIN = ["attribute", "tensor", "object", "buffer", "frozen", "number", "list", "array", "queue"]


def told(model):
    state = None if model.state is None else float(model.state)
    held = repr(model.held), model.space.number, model.number
    return *held, state, float(model.buffer), float(model.frozen)


@pytest.mark.parametrize("way", WITHIN)
def test_what_a_module_keeps(way):
    model = zoo.made(lambda: Net(way))
    before = told(model)
    table = snrkit.measure_loss(square, model, STATES, draws=FEW)
    plain = snrkit.measure_loss(square, model.body, STATES, draws=FEW)
    read = [found.query("block == 'all'").value.tolist() for found in (table, plain)]
    assert read[0] == read[1]
    assert told(model) == before
    assert "not reproducible" not in table.method.iloc[0]


class Agent:
    """What people make of their own: no module, but with modules, counters and a generator in it."""

    def __init__(self):
        self.steps, self.mean, self.log = 0, torch.zeros(4), []
        self.target, self.random = nn.Linear(3, 1).requires_grad_(False), np.random.default_rng(0)

    def factor(self, x):
        self.steps += 1
        self.mean += x.mean(dim=0) / self.steps
        self.log.append(self.steps)
        self.target.bias.data.add_(1.0)
        self.target.training = False
        self.random.normal()
        return self.steps

    def loss(self, model, x):
        return square(model, x) * self.factor(x)


AGENT = Agent()


def outside(way):
    """A loss that keeps a number outside of the model, and what tells it."""
    held, number, tensor = {"list": [0.0], "array": np.zeros(1), "number": 0.0}, 0, torch.zeros(())

    def by_closure(model, x):
        nonlocal number
        number += 1
        return square(model, x) * number

    def by_global(model, x):
        global COUNT  # noqa: PLW0603 (as people do)
        COUNT += 1
        return square(model, x) * COUNT

    def by_tensor(model, x):
        tensor.add_(1)
        return square(model, x) * tensor.item()

    def within(model, x):
        def inner():
            return AGENT.factor(x)

        return square(model, x) * inner()

    losses = {
        "variable": by_closure, "global": by_global, "tensor": by_tensor, "object": within, "method": AGENT.loss,
        "wrapped method": lambda model, x: AGENT.loss(model, x) + 0,
    }  # fmt: skip
    loss = losses.get(way, lambda model, x: square(model, x) * advanced(held, way))

    def say():
        state = AGENT.random.bit_generator.state["state"]["state"]
        agent = AGENT.steps, AGENT.mean.tolist(), list(AGENT.log), AGENT.target.bias.tolist(), AGENT.target.training
        return repr(held), number, COUNT, float(tensor), agent, state

    return loss, say


OUTSIDE = ["list", "array", "number", "variable", "global", "tensor", "object", "method", "wrapped method"]


@pytest.mark.parametrize("way", OUTSIDE)
def test_what_a_loss_keeps_outside_of_the_model(way):
    model, (loss, say) = zoo.made(lambda: zoo.mlp(4, 3)), outside(way)
    before = say()
    table = snrkit.measure_loss(loss, model, STATES, draws=FEW)
    assert table.value.tolist() == snrkit.measure_loss(square, model, STATES, draws=FEW).value.tolist()
    assert say() == before
    assert "outside of the model" in " ".join(table.attrs["remarks"])


def test_counts_and_iterators_of_ones_own():
    """A Counter is given its counts back; an iterator with workers goes on as it was left, for nothing can put it back."""
    loader = torch.utils.data.DataLoader(STATES, 4, num_workers=1)
    held, settings = types.SimpleNamespace(seen=Counter(calls=3), batches=iter(loader)), argparse.Namespace(step=0)

    def loss(model, x):
        held.seen["calls"] += 1
        settings.step += 1
        return square(model, x) * (held.seen["calls"] - 3) * settings.step

    def with_batches(model):
        return square(model, next(held.batches))

    model = zoo.made(lambda: zoo.mlp(4, 3))
    table = snrkit.measure_loss(loss, model, STATES, draws=FEW)
    assert table.value.tolist() == snrkit.measure_loss(square, model, STATES, draws=FEW).value.tolist()
    assert (held.seen, settings.step) == (Counter(calls=3), 0)
    with pytest.raises(ModelError, match="StopIteration"):
        snrkit.measure_loss(with_batches, model, draws=FEW)


def test_data_sets_are_not_copied(monkeypatch):
    monkeypatch.setattr("snrkit.losses.keeping._SMALL", 100)
    monkeypatch.setattr("snrkit.losses.keeping._ALL", 250)
    several, large = {name: np.zeros(90) for name in "abcd"}, np.zeros(101)

    def loss(model, x):
        for array in (*several.values(), large):
            np.add(array, 1, out=array)
        return square(model, x)

    snrkit.measure_loss(loss, zoo.made(lambda: zoo.mlp(4, 3)), STATES, draws=FEW)
    assert [bool(array.any()) for array in several.values()] == [False, False, True, True]
    assert large.any()


def test_hooks_that_remember_are_left_too():
    model, seen = zoo.made(lambda: zoo.mlp(4, 3)), []
    model[0].register_forward_hook(lambda *given: seen.append(given[2]))
    snrkit.measure_loss(square, model, STATES, draws=FEW)
    assert seen == []


class Environment:
    """One that goes on from where it stands, as those of libraries do, with a generator of its own."""

    def __init__(self):
        self.random, self.place = np.random.default_rng(1), np.ones(4)

    def reset(self):
        self.place = self.random.normal(size=4)

    def step(self, push):
        self.place = 0.9 * self.place + self.random.normal(size=4) + push
        return self.place


def test_an_environment_goes_on_from_where_it_stands_in_every_draw(monkeypatch):
    # As if it were a library's: its class is no user's.
    monkeypatch.setattr("snrkit.models.inside.is_local", lambda module: False)
    place = Environment()

    def loss(model):
        first = torch.as_tensor(place.place, dtype=torch.float32)
        return (model(first) - torch.as_tensor(place.step(0.1)[:3], dtype=torch.float32)).square().mean()

    kept, state = place.place, place.random.bit_generator.state
    table = snrkit.measure_loss(loss, zoo.made(lambda: zoo.mlp(4, 3)), draws=FEW)
    variance = table.query("block == 'all' and metric == 'variance'").value.iloc[0]
    assert variance > 0  # its noise goes on
    assert place.place is kept
    assert place.random.bit_generator.state == state


def test_what_draws_batches_goes_on_while_it_is_measured_and_is_left_as_it_was():
    class Buffer:
        def __init__(self):
            self.random, self.place = np.random.default_rng(0), 0

        def sample(self):
            self.place += 1
            return STATES[self.random.integers(0, 16, 8)] + self.place

    buffer, model = Buffer(), zoo.made(lambda: zoo.mlp(4, 3))
    state = buffer.random.bit_generator.state
    table = snrkit.measure_loss(lambda m, x: m(x).square().mean(), model, buffer.sample, draws=FEW)
    assert table.query("block == 'all' and metric == 'data_variance'").value.iloc[0] > 0
    assert (buffer.place, buffer.random.bit_generator.state) == (0, state)


@dataclass
class Batch:
    """Points with a name, as people have them."""

    x: torch.Tensor
    name: str = "some"


def test_batches_of_any_class_are_looked_into():
    model, batch = zoo.made(lambda: zoo.mlp(4, 3)), Batch(STATES.clone())
    with pytest.raises(SpecError, match="batch: is changed in place"):
        snrkit.measure_loss(lambda m, b: square(m, b.x.add_(1)), model, batch, draws=FEW)
    table = snrkit.measure_loss(lambda m, b: square(m, b.x), model, Batch(STATES), draws=FEW)
    assert not table.attrs["remarks"]  # its precision was checked too
    assert table.value.tolist() == snrkit.measure_loss(square, model, STATES, draws=FEW).value.tolist()
    wanted = STATES.clone().requires_grad_()
    snrkit.measure_loss(lambda m, x: square(m, x).backward(), model, wanted, draws=FEW)
    assert wanted.grad is None


def test_a_seed_within_a_loss_is_told():
    def loss(model, x):
        torch.manual_seed(0)
        return square(model, x)

    table = snrkit.measure_loss(loss, zoo.made(lambda: zoo.mlp(4, 3)), STATES, draws=FEW)
    assert "does it set a seed itself" in " ".join(table.attrs["remarks"])


def emptied(model, x):
    square(model, x).backward()
    value = square(model, x)
    value.backward()
    model.zero_grad()
    return value


@pytest.mark.parametrize(
    ("loss", "error", "words"),
    [
        (emptied, ModelError, "zero_grad before, not after"),
        (lambda m, x: {"loss": square(m, x), "log": {}}, SpecError, r"return its \['loss'\]"),
        (lambda m, x: (square(m, x), {"kl": 0.1}), SpecError, "return its first"),
    ],
)
def test_what_is_returned_amiss_is_told_with_what_to_do(loss, error, words):
    with pytest.raises(error, match=words):
        snrkit.measure_loss(loss, zoo.made(lambda: zoo.mlp(4, 3)), STATES, draws=FEW)


def test_a_moving_average_that_wants_gradients_is_refused_and_measured_once_frozen():
    model, average = zoo.made(lambda: zoo.mlp(4, 3)), zoo.made(lambda: zoo.mlp(4, 3), seed=1)
    before = [p.detach().clone() for p in average.parameters()]

    def loss(model, x):
        with torch.no_grad():
            for mine, theirs in zip(average.parameters(), model.parameters(), strict=True):
                mine.lerp_(theirs, 0.5)
        return (model(x + torch.randn_like(x)) - average(x)).square().mean()

    with pytest.raises(SpecError, match="freeze what is a moving average"):
        snrkit.measure_loss(loss, model, STATES, draws=FEW)
    average.requires_grad_(False)
    first, second = (snrkit.measure_loss(loss, model, STATES, draws=FEW) for _ in range(2))
    assert first.value.equals(second.value)
    assert all(torch.equal(p, was) for p, was in zip(average.parameters(), before, strict=True))
