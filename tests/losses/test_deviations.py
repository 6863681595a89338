"""Draws written less the first of their block: whatever the loss does to give its gradient, in few pieces and in many."""

import pytest
import torch
from torch.nn import functional

from snrkit.losses import gradient
from snrkit.losses.gradient import Gradient
from snrkit.losses.parameters import trained
from tests.losses import zoo


def scalar(model, batch):
    return functional.dropout(model(batch), 0.5).square().mean()


def backward(model, batch):
    scalar(model, batch).backward()


def groups(model, batch):
    return {"one": scalar(model, batch), "two": scalar(model, batch.flip(0)).exp()}


@pytest.mark.parametrize("small", [0, 2**16])
@pytest.mark.parametrize(("kind", "loss"), [("scalar", scalar), ("backward", backward), ("groups", groups)])
def test_a_gradient_less_an_origin_is_their_difference(kind, loss, small, monkeypatch):
    monkeypatch.setattr(gradient, "_SMALL", small)
    model, x = zoo.made(lambda: zoo.mlp(4, 5, 2)), zoo.data(3, 4)
    own = trained(model, {"one": model[0], "two": model[-1]} if kind == "groups" else None)
    of = Gradient("loss", loss, own, model, kind)
    whole, less = (torch.empty(own.layout.size) for _ in range(2))
    origin = zoo.data(own.layout.size, seed=2)
    torch.manual_seed(1)
    of.into(whole, x)
    torch.manual_seed(1)
    of.into(less, x, origin=origin)
    assert torch.equal(less, whole - origin)
