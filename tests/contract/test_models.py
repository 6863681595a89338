"""What every registered model must satisfy; the list comes from the registry."""

import dataclasses
import io
import math
import random

import numpy as np
import pytest
import torch

from snrkit.cli.settings import options_of
from snrkit.core.streams import Streams
from snrkit.diagnostics.measure import measure
from snrkit.errors import CapabilityError, SpecError
from snrkit.evaluation.bounds import evaluate
from snrkit.evaluation.reconstruct import reconstruct
from snrkit.models import MODELS
from snrkit.models.base import LatentModel, build_model
from snrkit.models.calling import parameters_of
from snrkit.models.draw import drawn
from snrkit.models.summary import DataSummary
from snrkit.specs.fields import attributes
from snrkit.specs.run import ModelSpec, RunSpec
from snrkit.trial.findings import Findings
from snrkit.trial.opening import opened
from tests.zoo import B, K, M, images, numbers, sentences

PIXELS = 9
# Sizes that keep the checks quick, and each way of ours to be a model; what is not here is built as it comes.
OPTIONS = {
    "conv": [{"channels": [3, 4], "kernel": 3, "hidden": 6, "latent": 4}],
    "draw": [{"steps": 2, "hidden": 5, "latent": 3, "read": N, "write": N} for N in (2, 0)],
    "flow": [
        {"kind": kind, "layers": layers, "hidden": [7, 6], "latent": 4}
        for kind, layers in (("planar", 3), ("radial", 3), ("planar", 0))
    ],
    "mlp": [{"hidden": [7, 6], "latent": 4}],
    "hierarchical": [
        {"latents": [3, 1], "hidden": [[7, 6], [5]]},
        {"latents": [4, 3, 2], "hidden": [[7], [5], [6]], "scale": "exp"},
    ],
    "random-weights": [
        {"random": which, "hidden": 7, "latent": 4, "initial_scale": 1.0} for which in ("both", "recognition")
    ],
    "sentence": [{"embed": 3, "hidden": 6, "latent": 4, "keep": keep} for keep in (1.0, 0.6, 0.0)],
    "sbn": [{"widths": [6, 2]}, {"widths": [5, 4, 3], "nonlinear": [7], "centre": True}],
}
CASES = [(name, options) for name in MODELS.names for options in OPTIONS.get(name, [{}])]
every = pytest.mark.parametrize(
    ("name", "options"), CASES, ids=lambda v: v if isinstance(v, str) else " ".join(map(str, v.values()))
)


def data_of(name, options):
    """Pixels, real-valued data or sentences, the first that a model takes; with the summary that it is built from."""
    real = 1.5 * numbers(1, B, PIXELS)
    tokens, words = sentences(length=PIXELS)
    for x, is_real, known in ((images(pixels=PIXELS), False, ()), (real, True, ()), (tokens, True, words)):
        summary = DataSummary(x.mean(0), real=is_real, words=known, image_shape=None if known else (3, 3))
        try:
            build_model(ModelSpec(name=name, options=options), summary, 0)
        except SpecError:
            continue
        return x, summary
    raise AssertionError(f"{name} takes neither pixels nor real-valued data nor sentences")


@pytest.fixture(scope="module")
def built():
    """Model (float64, seed 3) and data of each case, built once; no test changes them."""
    known = {}

    def of(name, options):
        key = name, repr(options)
        if key not in known:
            x, summary = data_of(name, options)
            known[key] = build_model(ModelSpec(name=name, options=options), summary, 3).double(), x
        return known[key]

    return of


def noise_of(model, x, seed, *shape):
    return numbers(seed, *shape, *model.noise_shape(x))


def has_path(model, x):
    """Whether the proposal's samples are differentiable in its parameters."""
    return getattr(model.proposal(x), "reparameterised", True)


def state_of_generators():
    return torch.get_rng_state().numpy().tobytes(), repr(np.random.get_state()), random.getstate()


@every
def test_log_weights_are_a_function_of_their_own_point_and_noise(built, name, options):
    """To the bit of the same call, and but for rounding of the points one by one and the samples in another order."""
    model, x = built(name, options)
    noise = noise_of(model, x, 5, B, M, K)
    weights, again = model(x, noise, path=True), model(x, noise.clone(), path=True)
    for part in ("log_p", "log_q", "log_q_path"):
        assert getattr(weights, part).shape == (B, M, K)
        assert torch.equal(getattr(weights, part), getattr(again, part))
    assert model(x, noise).log_q_path is None
    torch.testing.assert_close(weights.log_q_path, weights.log_q)
    alone = torch.cat([model(x[i : i + 1], noise[i : i + 1]).log_w for i in range(B)])
    torch.testing.assert_close(alone, weights.log_w)
    torch.testing.assert_close(model(x, noise.flip(2).flip(1)).log_w.flip(2).flip(1), weights.log_w)
    moved = noise.clone()
    moved[1, 1, 2] *= -1
    changed = (model(x, moved).log_w - weights.log_w).abs() > 1e-9
    assert changed.nonzero().tolist() == [[1, 1, 2]]


@every
def test_each_parameter_is_of_one_network_and_is_reached(built, name, options):
    model, x = built(name, options)
    found = model.networks(x)
    assert set(found) == set(parameters_of(model))
    assert set(found.values()) == {"inference", "generative"}
    weights = model(x, noise_of(model, x, 6, B, M, K))
    gradients = torch.autograd.grad(weights.log_w.sum(), list(model.parameters()))
    assert all(bool((gradient != 0).any()) for gradient in gradients)


@every
def test_the_path_density_moves_with_z_alone(built, name, options):
    """d log q / d phi is the path derivative and the score at fixed z, of every parameter."""
    model, x = built(name, options)
    own = [p for n, p in parameters_of(model).items() if model.networks(x)[n] == "inference"]
    posterior, noise = model.proposal(x), noise_of(model, x, 7, B, M, K)
    draw = drawn(posterior, noise, path=True)
    held = drawn(model.proposal(x), noise, path=False)
    assert torch.equal(held.z, draw.z)
    torch.testing.assert_close(held.log_q, draw.log_q)

    def derivatives(value):
        if not value.requires_grad:  # of discrete samples: there is no path
            return [torch.zeros_like(parameter) for parameter in own]
        return torch.autograd.grad(value.sum(), own, retain_graph=True, materialize_grads=True)

    values = draw.log_q, draw.log_q_path, posterior.log_prob(draw.z.detach())
    total, path, score = (derivatives(value) for value in values)
    for whole, left, right in zip(total, path, score, strict=True):
        torch.testing.assert_close(whole, left + right)
        assert (left.abs().max() > 0) == has_path(model, x)


@every
def test_building_is_a_function_of_spec_and_seed_and_leaves_the_global_state(name, options):
    _, summary = data_of(name, options)
    before = state_of_generators()
    one, same, other = (build_model(ModelSpec(name=name, options=options), summary, seed) for seed in (3, 3, 4))
    assert state_of_generators() == before
    pairs = list(zip(one.parameters(), same.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not all(torch.equal(a, c) for a, _, c in pairs)


@every
def test_the_spec_and_the_parameters_are_the_model(built, name, options):
    """Through TOML and through a file of tensors alone, another build gives the same numbers to the bit."""
    model, x = built(name, options)
    spec = RunSpec(model=ModelSpec(name=name, options=options))
    again = RunSpec.from_toml(spec.to_toml(), "test")
    assert again == spec
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    other = build_model(again.model, data_of(name, options)[1], 99).double()
    other.load_state_dict(torch.load(buffer, weights_only=True))
    noise = noise_of(model, x, 8, B, M, K)
    assert torch.equal(other(x, noise).log_w, model(x, noise).log_w)


@every
def test_options_are_explained_and_no_others_are_taken(name, options):
    kind = options_of(name)
    known = kind.model_fields if kind else {}
    assert set(options) <= set(known)
    assert set(known) <= set(attributes(kind) if kind else {}), "each option has a line of its own in the docstring"
    _, summary = data_of(name, options)
    with pytest.raises(SpecError, match=f"{name}.no_such_option"):
        build_model(ModelSpec(name=name, options={**options, "no_such_option": 1}), summary, 0)


@every
def test_float32_is_float64_rounded(name, options):
    x, summary = data_of(name, options)
    model = build_model(ModelSpec(name=name, options=options), summary, 3).float()
    noise = noise_of(model, x.float(), 9, B, M, K)
    single, double = model(x.float(), noise.float()).log_w, model.double()(x, noise.double()).log_w
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    assert ((single.double() - double).abs() <= 1e-4 * double.abs().clamp(min=1)).all()


@every
def test_per_draw_gradients_by_vmap_are_those_of_a_loop(built, name, options):
    model, x = built(name, options)
    noise = noise_of(model, x, 10, 3, B, 1, K)
    parameters = {n: p.detach() for n, p in model.named_parameters()}

    def bound(own, e):
        return torch.func.functional_call(model, own, (x, e)).log_w.logsumexp(-1).mean()

    found = torch.func.vmap(torch.func.grad(bound), (None, 0))(parameters, noise)
    for draw in range(3):
        expected = torch.autograd.grad(bound(dict(model.named_parameters()), noise[draw]), list(model.parameters()))
        for one, other in zip(found.values(), expected, strict=True):
            torch.testing.assert_close(one[draw], other)


@every
def test_the_trial_has_nothing_to_say(built, name, options):
    """Pure, independent, reparameterised or discrete, finite; all generators as before.

    A parameter is in both networks only where the model says to which it counts, and then it is generative.
    """
    model, x = built(name, options)
    before, expected = state_of_generators(), Findings("evaluation", "float64")
    if not has_path(model, x):
        expected = dataclasses.replace(expected, reparameterised=False, why_not=f"that of {name} is discrete")
    if 0 < options.get("keep", 1) < 1:  # words are dropped in training only
        expected = dataclasses.replace(expected, mode_matters=("the model's own code",))
    with opened(model, x, "evaluation") as subject:
        found = subject.findings
    assert dataclasses.replace(found, lacks={}, shared=()) == expected
    assert bool(found.shared) == (type(model).networks is not LatentModel.networks)
    assert state_of_generators() == before


@every
def test_layer_means_are_those_of_the_samples(built, name, options):
    """Over 4,000 samples, layer by layer, in standard errors of their difference: what active units rest on."""
    model, x = built(name, options)
    draws = 4000
    with torch.no_grad():
        posterior, noise = model.proposal(x), noise_of(model, x, 11, B, 1, draws)
        z, means = posterior.sample(noise), posterior.layer_means(noise)
    start = 0
    for mean in means:
        width = mean.shape[-1]
        assert mean.shape[:3] in ((B, 1, 1), (B, 1, draws))
        gap = (z[..., start : start + width] - mean)[:, 0]
        # A layer whose mean has no closed form gives the samples themselves.
        assert (gap.mean(1).abs() <= 4.5 * gap.std(1) / math.sqrt(draws)).all()
        start += width
    assert start <= z.shape[-1]  # what follows are no latents: the noise of weights


@pytest.mark.rest_slow
@every
def test_it_is_measured(built, name, options):
    model, x = built(name, options)
    estimators = ["iwae", "dreg"]
    if not has_path(model, x):
        with pytest.raises(CapabilityError, match=f"that of {name} is discrete"):
            measure(model, x, estimators, K=[2], draws=4)
        estimators = ["rws", "vimco"]
    table = measure(model, x, estimators, K=[2], draws=4, blocks=["inference", "generative"])
    variance = table[table.metric == "variance"]
    assert len(variance) == 2 * len(estimators)
    assert (variance.value > 0).all()


@pytest.mark.rest_slow
@every
def test_it_is_evaluated(built, name, options):
    model, x = built(name, options)
    scores = {score.metric: score for score in evaluate(model, x, 128, Streams(0))}
    assert scores["elbo"].value < scores["iwae_64"].value <= scores["log_p"].value
    assert any(metric.startswith("active_units") for metric in scores)


@every
def test_pixels_are_probabilities_or_reconstruction_says_that_there_are_none(built, name, options):
    model, x = built(name, options)
    if not hasattr(model, "pixel_means"):
        with pytest.raises(CapabilityError, match="pixel_means"):
            reconstruct(model, x, range(B), 2, 2, Streams(0))
        return
    found = reconstruct(model, x, range(B), 3, 2, Streams(0)).query("kind != 'input'")
    pixels = np.stack(found["pixels"])
    assert pixels.shape == (B * 2 * 2, PIXELS)
    assert ((pixels >= 0) & (pixels <= 1)).all()
    assert np.isfinite(found["log_likelihood"]).all()
