"""Steps in several passes against the plain gradient, with the noise of a step in one pass."""

import math

import pytest
import torch

import snrkit.estimators.passes as module
from snrkit.core.streams import Streams
from snrkit.errors import CapabilityError, ResourceError
from snrkit.estimators.base import build_estimator
from snrkit.estimators.passes import Passes
from snrkit.evaluation.cost import step_seconds
from snrkit.training.ensemble import Ensemble
from tests.support.gradients import gradients
from tests.support.training import trainer
from tests.zoo import hierarchical, images, mlp, toy, users

CPU = torch.device("cpu")
B, M, K = 5, 2, 7
ESTIMATORS = ("vae", "iwae", "miwae", "ciwae", "piwae", "dreg", "stl")


@pytest.mark.rest_slow
@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("samples", [1, 3, M * K, 2 * M * K + 1], ids=str)
@pytest.mark.parametrize("make", [mlp, hierarchical, users])
def test_passes_give_the_plain_gradient_and_bound(make, samples, name):
    model, x, estimator = make(), images(points=B), build_estimator(name, {})
    networks, named = model.networks(x), dict(model.named_parameters())
    generative, inference = ([named[n] for n, w in networks.items() if w == k] for k in ("generative", "inference"))
    shape = model.noise_shape(x)
    weights = model(
        x, Streams(3).normal("p", (0,), (B, M, K, *shape), dtype=x.dtype, device=CPU), path=estimator.needs.path
    )
    expected = gradients(estimator, weights, list(generative), list(inference))
    passes = Passes(M, K, shape, max(1, samples // (M * K)), samples)
    noise = passes.noise(Streams(3), "p", 0, B, x.dtype, CPU)
    wanted = {"generative": generative, "inference": inference}
    found, bound = passes.step(estimator.objective, model, x, {"shared": noise}.__getitem__, wanted)
    for network, gradients_ in zip(wanted, expected, strict=True):
        torch.testing.assert_close(found[network], gradients_, rtol=1e-9, atol=1e-12)
    assert float(bound) == pytest.approx(float(estimator.bound(weights.log_w.detach()).mean()), rel=1e-12)


def test_the_decision_is_made_by_what_autograd_keeps(monkeypatch):
    model, x = toy()
    saved = module.bytes_per_sample(model, build_estimator("iwae", {}), x, x)
    assert 2 * 4 * 8 <= saved <= 10 * 4 * 8  # at least two residuals of 4 latents
    each = saved + 8 * (2 * 4 + module._HELD)
    monkeypatch.setattr(module, "BUDGET", 100 * each)
    iwae = build_estimator("iwae", {})
    assert Passes.needed(model, iwae, x, batch=5, M=2, K=10) is None
    assert Passes.needed(model, iwae, x, batch=5, M=2, K=11) == Passes(2, 11, (4,), 5, 2048)
    assert Passes.needed(model, iwae, x, batch=5, M=2, K=2000) == Passes(2, 2000, (4,), 1, 2048)
    model.independent_points = False
    assert Passes.needed(model, iwae, x, batch=5, M=2, K=2000).points == 5


class Counting(torch.nn.Module):
    """Counts its calls in a buffer and draws from the global generator, as BatchNorm and Dropout do."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return x + torch.rand(())


def test_looking_for_passes_leaves_model_and_generators_alone():
    model = mlp()
    model.encoder.insert(0, Counting())
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    Passes.needed(model, build_estimator("iwae", {}), images(), 2, 1, 3)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


SETTINGS = [
    {},
    {"update": {"order": "encoder-first", "samples": "separate"}},
    {"estimator": {"name": "ciwae", "M": 2, "K": 4, "options": {"beta": 0.5}}, "beta": {"learn": "free", "lr": 0.01}},
]


@pytest.mark.rest_slow
@pytest.mark.parametrize("settings", SETTINGS, ids=["joint", "in-turn", "learnt"])
def test_a_run_in_passes_is_the_run_in_one(small, go, monkeypatch, settings):
    spec = small(dtype="float64", **settings)
    whole = go(spec, "whole")
    monkeypatch.setattr(module, "BUDGET", 1)
    monkeypatch.setattr(module, "_ROWS", 3)
    parts = go(spec, "parts")
    for key, value in whole.model.items():
        torch.testing.assert_close(parts.model[key], value, rtol=1e-9, atol=1e-9)
    assert parts.running == pytest.approx(whole.running)
    # And it goes on to the same bits.
    go(small(dtype="float64", epochs=2, **settings), "cut")
    again = go(spec, "cut", resume=True)
    assert all(torch.equal(again.model[key], value) for key, value in parts.model.items())


def test_passes_are_only_taken_where_they_are_needed(small, tmp_path):
    assert trainer(small(), tmp_path).feed.passes is None
    much = trainer(small(estimator={"name": "iwae", "K": 10_000_000}), tmp_path)
    assert much.feed.passes == Passes(1, 10_000_000, (3,), 1, 2048)


def test_what_cannot_be_held_is_refused_and_leaves_nothing(small, go, tmp_path):
    with pytest.raises(
        ResourceError, match=r"estimator.K: 10,000,000,000,000 samples .* TB of memory, and .* free; take"
    ):
        go(small(estimator={"name": "iwae", "K": 10**13}))
    assert not list(tmp_path.iterdir())


def test_a_step_for_which_there_is_no_memory(small, tmp_path, monkeypatch):
    own = trainer(small(), tmp_path)
    own.begin_epoch()
    before = {k: v.clone() for k, v in own.model.state_dict().items()}

    def full(*args, **kwargs):
        raise RuntimeError(
            "[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."
        )

    monkeypatch.setattr(own.model, "forward", full)
    with pytest.raises(ResourceError, match="steps on 5 data points of 8 samples; take smaller steps"):
        own.take_step()
    assert own.step == 0
    assert all(torch.equal(before[k], v) for k, v in own.model.state_dict().items())


def test_runs_in_passes_do_not_stand_side_by_side(small, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BUDGET", 1)
    with pytest.raises(CapabilityError, match="one by one"):
        Ensemble([trainer(small(), tmp_path), trainer(small(seed=1), tmp_path)], tmp_path / "marker")


def test_cost_is_that_of_the_passes(monkeypatch):
    model, x = toy()
    monkeypatch.setattr(module, "BUDGET", 1)
    asked = []
    take = Passes.step
    monkeypatch.setattr(Passes, "step", lambda *args: (asked.append(args[0].K), take(*args))[1])
    assert math.isfinite(step_seconds(model, build_estimator("iwae", {}), x, 1, 9))
    assert set(asked) == {9}
