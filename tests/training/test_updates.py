"""Order of the networks' steps and separate samples, against the formulas written out."""

import pytest
import torch

from snrkit.core.streams import Streams
from snrkit.data import load
from snrkit.errors import SpecError
from snrkit.estimators.base import build_estimator
from snrkit.specs.run import UpdateSpec
from snrkit.training.step import _move, turns
from tests.support.gradients import gradients
from tests.support.training import trainer

PIWAE = {"name": "piwae", "M": 2, "K": 4}


def points(spec):
    return torch.from_numpy(load(spec.data, None).train[:5])


def state(owner):
    return [parameter.detach().clone() for parameter in owner.state.trained]


def twin_step(twin, x, order, noises):
    """The same with two Adams, one per network, and plain autograd."""
    adam = twin.spec.optimiser
    networks = twin.state.networks
    optimisers = {
        name: torch.optim.Adam(own, lr=adam.lr, betas=adam.betas, eps=adam.eps, maximize=True)
        for name, own in networks.items()
    }
    for name in order:
        weights = twin.model(x, noises[name])
        found = gradients(twin.estimator, weights, networks["generative"], networks["inference"])
        for parameter, gradient in zip(networks[name], found[name == "inference"], strict=True):
            parameter.grad = gradient
        if adam.clip is not None:
            torch.nn.utils.clip_grad_norm_(networks[name], adam.clip)
        optimisers[name].step()
    return [optimisers[name].state[own]["exp_avg"] for name in ("generative", "inference") for own in networks[name]]


@pytest.mark.parametrize("order", ["encoder-first", "decoder-first"])
@pytest.mark.parametrize("samples", ["shared", "separate"])
def test_the_second_network_sees_the_first_one_moved(small, tmp_path, order, samples):
    spec = small(estimator=PIWAE, dtype="float64", update={"order": order, "samples": samples})
    own, twin = trainer(spec, tmp_path), trainer(spec, tmp_path)
    x = points(spec)
    noises = {"generative": own.feed.noise("train", len(x))}
    noises["inference"] = own.feed.noise("train-inference", len(x)) if samples == "separate" else noises["generative"]
    own._step(x)
    names = ("inference", "generative") if order == "encoder-first" else ("generative", "inference")
    twin_step(twin, x, names, noises)
    assert all(torch.equal(a, b) for a, b in zip(state(own), state(twin), strict=True))


def test_separate_samples_at_the_same_parameters(small, tmp_path):
    spec = small(estimator=PIWAE, dtype="float64", update={"samples": "separate"})
    own, twin = trainer(spec, tmp_path), trainer(spec, tmp_path)
    x = points(spec)
    before = twin.model(x, twin.feed.noise("train", len(x))), twin.model(x, twin.feed.noise("train-inference", len(x)))
    (mu,), _ = gradients(twin.estimator, before[0], twin.state.networks["generative"], [])
    _, (A, b) = gradients(twin.estimator, before[1], [], twin.state.networks["inference"])
    bound = own._step(x)
    for parameter, gradient in zip([own.model.mu, own.model.A, own.model.b], (mu, A, b), strict=True):
        assert torch.equal(parameter.grad, gradient)
    assert bound == pytest.approx(float(twin.estimator.bound(before[0].log_w.detach()).mean()), rel=1e-12)


CLIPPED = {"eps": 1.0, "clip": 0.01}


# torch divides by the norm plus 1e-6.
def close(one, other):
    return all(torch.allclose(a, b, rtol=1e-3, atol=0) for a, b in zip(one, other, strict=True))


def test_the_gradient_of_both_networks_is_clipped_as_one(small, tmp_path):
    specs = [small(estimator=PIWAE, dtype="float64", optimiser=own) for own in (CLIPPED, {"eps": 1.0})]
    own, twin = (trainer(spec, tmp_path) for spec in specs)
    x = points(specs[0])
    own._step(x)
    twin._step(x)
    whole = torch.nn.utils.clip_grad_norm_(twin.state.trained, 0.01)
    assert whole > 0.1
    assert close([p.grad for p in own.state.trained], [p.grad for p in twin.state.trained])
    assert sum(float(p.grad.square().sum()) for p in own.state.trained) == pytest.approx(1e-4)


@pytest.mark.parametrize("order", ["encoder-first", "decoder-first"])
def test_in_turn_the_gradient_of_what_moves_is_clipped(small, tmp_path, order):
    spec = small(estimator=PIWAE, dtype="float64", update={"order": order}, optimiser=CLIPPED)
    own, twin = trainer(spec, tmp_path), trainer(spec, tmp_path)
    x = points(spec)
    noise = own.feed.noise("train", len(x))
    own._step(x)
    names = ("inference", "generative") if order == "encoder-first" else ("generative", "inference")
    assert close(own.state.moments("exp_avg"), twin_step(twin, x, names, dict.fromkeys(names, noise)))
    assert [float(own.state.optimiser.state[p]["exp_avg"].norm()) for p in own.state.networks["generative"]] == [
        pytest.approx(0.01 * 0.1)  # Adam's first moment is a tenth of the gradient
    ]


def test_a_gradient_that_is_short_enough_is_left_as_it_is(small, go):
    ends = [go(small(optimiser=own), f"{i}").model for i, own in enumerate([{}, {"clip": 1e6}])]
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_a_tensor_that_is_the_gradient_of_two_parameters_is_clipped_once(small, tmp_path):
    spec = small(dtype="float64", optimiser=CLIPPED)
    own = trainer(spec, tmp_path)
    shared = torch.ones(3, dtype=torch.float64)
    for parameter in own.state.trained:
        parameter.grad = shared.expand_as(parameter)
    _move(own.state)
    assert sum(float(p.grad.square().sum()) for p in own.state.trained) == pytest.approx(1e-4)


@pytest.mark.parametrize("clip", [0, -1.0, float("inf"), "much"])
def test_what_no_gradient_can_be_clipped_to(small, clip):
    with pytest.raises(SpecError, match=r"optimiser\.clip"):
        small(optimiser={"clip": clip})


def test_clipping_names_a_run(small):
    names = [small(optimiser=own).identity() for own in ({}, {"clip": None}, {"clip": 5.0}, {"clip": 6.0})]
    assert names[0] == names[1]
    assert len(set(names)) == 3


def test_one_adam_over_both_networks_is_two_adams():
    """Disjoint parameters, steps taken together: the same to the last bit, so a second optimiser is not offered."""

    def parameters():
        return [torch.linspace(-1, 1, n, dtype=torch.float32).requires_grad_() for n in (7, 5)]

    one, two = parameters(), parameters()
    joint = torch.optim.Adam(one, lr=0.01, maximize=True)
    split = [torch.optim.Adam([p], lr=0.01, maximize=True) for p in two]
    for step in range(50):
        for p, q in zip(one, two, strict=True):
            p.grad = torch.sin(p.detach() * (step + 1))
            q.grad = torch.sin(q.detach() * (step + 1))
        joint.step()
        for optimiser in split:
            optimiser.step()
    assert all(torch.equal(p, q) for p, q in zip(one, two, strict=True))
    assert not torch.equal(one[0], parameters()[0])


def test_a_random_order_is_fair_and_a_function_of_the_step():
    spec = UpdateSpec(order="random")
    first = [turns(spec, Streams(3), step)[0] == ("inference",) for step in range(400)]
    assert first == [turns(spec, Streams(3), step)[0] == ("inference",) for step in range(400)]
    assert abs(sum(first) - 200) < 4 * 10  # standard deviation 10


@pytest.mark.rest_slow
@pytest.mark.parametrize(
    "update",
    [{"order": "encoder-first"}, {"order": "random", "samples": "separate"}, {"samples": "separate"}],
    ids=str,
)
@pytest.mark.parametrize("name", ["piwae", "dreg"])
def test_a_resumed_run_is_the_same_run(small, go, update, name):
    changes = {"update": update, "estimator": {"name": name, "M": 2, "K": 4}, "optimiser": {"clip": 0.5}}
    whole = go(small(**changes), "whole")
    go(small(**changes, epochs=2), "parts")
    parts = go(small(**changes), "parts", resume=True)
    assert all(torch.equal(whole.model[key], parts.model[key]) for key in whole.model)


def test_the_options_change_training(small, go):
    variants = [{}, {"order": "encoder-first"}, {"order": "decoder-first"}, {"samples": "separate"}]
    ends = [go(small(update=update, epochs=1), f"run{i}").model["b"] for i, update in enumerate(variants)]
    assert len({tuple(end.tolist()) for end in ends}) == len(variants)


def test_every_estimator_takes_them(small, tmp_path):
    for name in ("vae", "iwae", "miwae", "ciwae", "piwae", "dreg", "stl"):
        spec = small(estimator={"name": name, "M": 2, "K": 4}, update={"order": "encoder-first"})
        own = trainer(spec, tmp_path)
        before = state(own)
        own._step(points(spec).float())
        assert all(not torch.equal(a, b) for a, b in zip(before, state(own), strict=True)), name
    assert build_estimator("piwae", {}).name == "piwae"
