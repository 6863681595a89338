"""Random weights: local reparameterisation against explicit weight draws, and the model as the package uses it."""

import math

import pytest
import torch
from torch import Tensor

from snrkit.core.streams import Streams
from snrkit.diagnostics.measure import measure
from snrkit.errors import SpecError
from snrkit.estimators.base import build_estimator
from snrkit.evaluation.bounds import evaluate
from snrkit.models.base import build_model
from snrkit.models.random_weights import RandomLinear, RandomNetwork, RandomWeights
from snrkit.models.summary import DataSummary
from snrkit.specs.run import ModelSpec
from tests.support.gradients import value_of
from tests.zoo import B, D, K, M, images, numbers

PIXELS, HIDDEN = 9, 7
EITHER = pytest.mark.parametrize("random", ["both", "recognition"])


def model_of(random: str = "both", initial_scale: float = 1.0) -> RandomWeights:
    """Weights that vary as much as they differ, so that every effect of their noise shows."""
    options = {"random": random, "hidden": HIDDEN, "latent": D, "initial_scale": initial_scale}
    summary = DataSummary(torch.zeros(PIXELS, dtype=torch.float64), real=False)
    model = build_model(ModelSpec(name="random-weights", options=options), summary, 0)
    assert isinstance(model, RandomWeights)
    return model.double()


def layer_of(fan_in: int, fan_out: int) -> RandomLinear:
    """A layer whose scales all differ."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = RandomLinear(fan_in, fan_out, 1.0).double()
    with torch.no_grad():
        layer.weight_log_scale.add_(0.5 * numbers(1, fan_out, fan_in))
        layer.bias_log_scale.add_(0.5 * numbers(2, fan_out))
    return layer


def noise_of(seed: int, model: RandomWeights, *shape: int) -> Tensor:
    return numbers(seed, *shape, *model.noise_shape(images(pixels=PIXELS)))


def test_moments_of_preactivations_are_exact():
    """E and Var of sum_i w_i h_i + b written out over the independent weights."""
    layer, h = layer_of(5, 3), numbers(3, 4, 5)
    mean, scale = layer.moments(h)
    for row in range(4):
        for unit in range(3):
            deviations = layer.weight_log_scale[unit].exp() * h[row]
            variance = (deviations**2).sum() + layer.bias_log_scale[unit].exp() ** 2
            torch.testing.assert_close(scale[row, unit] ** 2, variance)
            value = (layer.weight_mean[unit] * h[row]).sum() + layer.bias_mean[unit]
            torch.testing.assert_close(mean[row, unit], value)


def test_drawn_weights_give_these_preactivations():
    """Mean and variance over 20,000 explicit weight draws, in standard errors; the units are uncorrelated."""
    layer, h, draws = layer_of(5, 3), numbers(4, 5), 20_000
    weight, bias = torch.func.vmap(layer.draw)(numbers(5, draws, 3, 6))
    found = (weight @ h + bias).detach()
    mean, scale = (part.detach() for part in layer.moments(h))
    assert ((found.mean(0) - mean).abs() < 4 * scale / math.sqrt(draws)).all()
    assert ((found.var(0) / scale**2 - 1).abs() < 4 * math.sqrt(2 / draws)).all()
    correlation = torch.corrcoef(found.T) - torch.eye(3, dtype=found.dtype)
    assert (correlation.abs() < 4 / math.sqrt(draws)).all()


def explicit_network(network: RandomNetwork, h: Tensor, noise: Tensor) -> Tensor:
    """One weight tensor per layer for one row ``[in]``, multiplied out."""
    hidden, fan_in = network.hidden.weight_mean.shape
    first, second = noise[: hidden * (fan_in + 1)], noise[hidden * (fan_in + 1) :]
    weight, bias = network.hidden.draw(first.view(hidden, fan_in + 1))
    units = torch.tanh(weight @ h + bias)
    weight, bias = network.output.draw(second.view(-1, hidden + 1))
    return weight @ units + bias


def explicit_log_w(model: RandomWeights, x: Tensor, rows: int) -> Tensor:
    """log p(x|z, w) + log p(z) - log q(z|x, w) of one point under ``rows`` explicit draws of all weights."""
    sizes = [
        sum(p.numel() for n, p in part.named_parameters() if "mean" in n) for part in (model.encoder, model.decoder)
    ]

    def one(latent: Tensor, phi: Tensor, theta: Tensor) -> Tensor:
        loc, raw = explicit_network(model.encoder, x, phi).chunk(2)
        q = torch.distributions.Normal(loc, torch.nn.functional.softplus(raw), validate_args=False)
        z = loc + q.scale * latent
        logits = explicit_network(model.decoder, z, theta)
        log_p = -torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        prior = torch.distributions.Normal(0.0, 1.0, validate_args=False)
        return log_p + prior.log_prob(z).sum() - q.log_prob(z).sum()

    noise = [numbers(seed, rows, size) for seed, size in enumerate((D, *sizes), start=10)]
    with torch.no_grad():
        return torch.func.vmap(one)(*noise)


def test_local_reparameterisation_equals_explicit_weights_in_distribution():
    """Log-weights: mean, variance, weight and K-sample bound within 4 standard errors, and no Kolmogorov-Smirnov gap."""
    from scipy.stats import ks_2samp

    model, x, rows = model_of(), images(pixels=PIXELS)[:1], 25_000
    explicit = explicit_log_w(model, x[0], rows)
    with torch.no_grad():
        local = model(x, noise_of(20, model, 1, 1, rows)).log_w.flatten()

    def readings(log_w: Tensor) -> list[Tensor]:
        bound = log_w.view(-1, K).logsumexp(-1) - math.log(K)
        return [log_w, (log_w - log_w.mean()).square(), log_w.exp(), bound]

    for one, other in zip(readings(local), readings(explicit), strict=True):
        error = (one.var() / len(one) + other.var() / len(other)).sqrt()
        assert (one.mean() - other.mean()).abs() < 4 * error
    assert ks_2samp(local.numpy(), explicit.numpy()).pvalue > 1e-4


def test_weights_vary_enough_for_the_comparison_to_mean_something():
    """The same comparison tells weights at their means from drawn ones."""
    model, x, rows = model_of(), images(pixels=PIXELS)[:1], 25_000
    noise = noise_of(20, model, 1, 1, rows)
    still = noise.clone()
    still[..., D:] = 0
    with torch.no_grad():
        drawn, fixed = (model(x, part).log_w.flatten() for part in (noise, still))
    assert (drawn.mean() - fixed.mean()).abs() > 10 * (drawn.var() / rows + fixed.var() / rows).sqrt()


@EITHER
def test_own_weights_for_every_point_and_sample(random):
    model, x = model_of(random), images(pixels=PIXELS)
    noise = noise_of(22, model, B, M, K)
    weights = model(x, noise)
    moved = noise.clone()
    moved[1, 1, 2, D] += 1.0  # one recognition weight of one sample
    changed = (model(x, moved).log_w != weights.log_w).nonzero()
    assert changed.tolist() == [[1, 1, 2]]


@EITHER
def test_networks_are_told_apart(random):
    model, x = model_of(random), images(pixels=PIXELS)
    found = model.networks(x)
    assert all((network == "inference") == name.startswith("encoder") for name, network in found.items())
    generative = {name for name, network in found.items() if network == "generative"}
    assert any("log_scale" in name for name in generative) == (random == "both")


def test_vanishing_scales_give_the_deterministic_networks():
    model, x = model_of(initial_scale=1e-9), images(pixels=PIXELS)
    latent = numbers(24, B, M, K, D)

    def fixed(network: RandomNetwork, h: Tensor) -> Tensor:
        hidden, output = network.hidden, network.output
        return torch.tanh(h @ hidden.weight_mean.T + hidden.bias_mean) @ output.weight_mean.T + output.bias_mean

    loc, raw = fixed(model.encoder, x)[:, None, None].chunk(2, -1)
    q = torch.distributions.Normal(loc, torch.nn.functional.softplus(raw))
    z = loc + q.scale * latent
    pixels = torch.distributions.Bernoulli(logits=fixed(model.decoder, z)).log_prob(x[:, None, None])
    expected = pixels.sum(-1) + torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1) - q.log_prob(z).sum(-1)
    noise = torch.cat([latent, noise_of(25, model, B, M, K)[..., D:]], dim=-1)
    torch.testing.assert_close(model(x, noise).log_w, expected, atol=1e-6, rtol=0)


def test_path_gradient_of_the_bound_is_unbiased():
    """DReG against IWAE in the recognition network's means and scales, paired draws, in standard errors."""
    model, x, draws = model_of(initial_scale=0.5), images(pixels=PIXELS)[:1], 12_000
    owned = {n: p.detach() for n, p in model.named_parameters() if n.startswith("encoder.output.weight")}
    noise = noise_of(26, model, draws, 1, 1, K)

    def gradient(name: str) -> dict[str, Tensor]:
        estimator = build_estimator(name, {})

        def one(parameters, e):
            weights = torch.func.functional_call(model, parameters, (x, e, True))
            return value_of(estimator, weights, "inference")

        return torch.func.vmap(torch.func.grad(one), (None, 0))(owned, noise)

    iwae, dreg = gradient("iwae"), gradient("dreg")
    for name in owned:
        gap = iwae[name] - dreg[name]
        assert (gap.mean(0).abs() < 4.5 * gap.std(0) / math.sqrt(draws)).all(), name


@pytest.mark.rest_slow
@EITHER
def test_measured_and_evaluated_like_any_model(random):
    model, x = model_of(random), images(pixels=PIXELS)
    table = measure(model, x, ["iwae"], K=[3], draws=40)
    blocks = set(table.block)
    assert {"encoder.hidden.weight_mean", "encoder.hidden.weight_log_scale", "inference", "generative"} <= blocks
    scores = {score.metric: score for score in evaluate(model, x, 128, Streams(0))}
    assert f"of {D} with" in scores["active_units"].definition


@pytest.mark.parametrize(
    ("options", "real", "message"),
    [
        ({"random": "generative"}, False, r"random-weights\.random"),
        ({"initial_scale": 0.0}, False, r"random-weights\.initial_scale"),
        ({}, True, "real-valued"),
    ],
)
def test_bad_options(options, real, message):
    with pytest.raises(SpecError, match=message):
        build_model(ModelSpec(name="random-weights", options=options), DataSummary(torch.zeros(9), real), 0)
