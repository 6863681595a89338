"""The model with several stochastic layers, against torch.distributions and against one-layer models."""

import pytest
import torch
from torch import distributions

from snrkit.core.streams import Streams
from snrkit.diagnostics.engines.base import PassSize
from snrkit.diagnostics.engines.vmap import VmapEngine
from snrkit.diagnostics.problem import Problem
from snrkit.estimators.base import build_estimator
from snrkit.models.base import build_model
from snrkit.models.hierarchical import Hierarchical
from snrkit.models.summary import DataSummary
from snrkit.specs.run import ModelSpec, RunSpec
from tests.support.gradients import gradients
from tests.zoo import B, D, K, M, hierarchical, images, mlp, numbers

PIXELS, LATENTS, HIDDEN = 9, (4, 3, 2), ((7, 6), (5,), (8,))


@pytest.fixture(params=["softplus", "exp"])
def three(request):
    """Three stochastic layers."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Hierarchical(PIXELS, LATENTS, HIDDEN, request.param).double()


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def normal(network, below):
    return distributions.Independent(distributions.Normal(*network(below)), 1)


def test_parameter_counts_of_burda():
    two = Hierarchical(784, (100, 50), ((200, 200), (100, 100)))
    assert [count(network) for network in two.encoder] == [237_400, 30_300]
    assert [count(network) for network in two.prior] == [35_400]
    assert (count(two.decoder), count(two)) == (217_984, 521_084)
    assert count(Hierarchical(784, (50,), ((200, 200),))) == 425_284  # the one-layer model


def test_defaults_are_burdas_two_layers():
    summary = DataSummary(torch.zeros(784, dtype=torch.float64), real=False)
    assert count(build_model(ModelSpec(name="hierarchical"), summary, 0)) == 521_084


def test_densities_against_torch(three):
    x, z = images(pixels=PIXELS), numbers(1, B, M, K, sum(LATENTS))
    h1, h2, h3 = z.split(LATENTS, dim=-1)
    q1 = distributions.Normal(*(part[:, None, None] for part in three.encoder[0](x)))
    log_q = (
        q1.log_prob(h1).sum(-1) + normal(three.encoder[1], h1).log_prob(h2) + normal(three.encoder[2], h2).log_prob(h3)
    )
    torch.testing.assert_close(three.encode(x).log_prob(z), log_q)
    torch.testing.assert_close(three.encode(x).detached().log_prob(z), log_q)
    one = torch.ones((), dtype=z.dtype)
    pixels = distributions.Bernoulli(logits=three.decoder(h1))
    log_p = (
        distributions.Normal(0 * one, one).log_prob(h3).sum(-1)
        + normal(three.prior[1], h3).log_prob(h2)
        + normal(three.prior[0], h2).log_prob(h1)
        + pixels.log_prob(x[:, None, None]).sum(-1)
    )
    torch.testing.assert_close(three.log_joint(x[:, None, None], z), log_p)
    torch.testing.assert_close(three.pixel_means(z), pixels.mean)


def test_samples_go_layer_by_layer(three):
    x, noise = images(pixels=PIXELS), numbers(2, B, M, K, sum(LATENTS))
    h1, h2, h3 = three.encode(x).sample(noise).split(LATENTS, dim=-1)
    for network, below, above, part in zip(
        three.encoder, (x[:, None, None], h1, h2), (h1, h2, h3), noise.split(LATENTS, dim=-1), strict=True
    ):
        loc, scale = network(below)
        torch.testing.assert_close(above, loc + scale * part)


def test_layer_means_are_those_of_the_conditionals(three):
    x, noise = images(pixels=PIXELS), numbers(3, B, M, K, sum(LATENTS))
    h1, h2, _ = three.encode(x).sample(noise).split(LATENTS, dim=-1)
    first, second, third = three.encode(x).layer_means(noise)
    assert first.shape == (B, 1, 1, LATENTS[0])
    torch.testing.assert_close(first[:, 0, 0], three.encoder[0](x)[0])
    torch.testing.assert_close(second, three.encoder[1](h1)[0])
    torch.testing.assert_close(third, three.encoder[2](h2)[0])


def test_one_layer_is_the_mlp():
    flat, one = mlp(), Hierarchical(9, (D,), ((7, 6),)).double()
    one.encoder[0].body.load_state_dict(flat.encoder.state_dict())
    one.decoder.load_state_dict(flat.decoder.state_dict())
    noise = numbers(4, B, M, K, D)
    torch.testing.assert_close(one(images(), noise).log_w, flat(images(), noise).log_w)


@pytest.mark.slow
def test_dreg_has_the_mean_of_iwae_in_both_layers():
    model, x, draws = hierarchical(), images(points=1), range(6000)
    with torch.no_grad():
        for parameter in model.encoder[1].parameters():
            parameter.mul_(3)  # so that the second layer depends strongly on the first
    moments = {}
    for seed, name in enumerate(("dreg", "iwae")):
        problem = Problem.units(model, x, 3, Streams(seed))
        moments[name] = VmapEngine().moments(problem, build_estimator(name, {}), range(1), draws, PassSize(500, 10**6))
    names = problem.layout.names
    for layer in ("encoder.0", "encoder.1"):
        own = [i for i, name in enumerate(names) if name.startswith(layer)]
        mean, variance = ({n: torch.cat([part(m, i).flatten() for i in own]) for n, m in moments.items()} for part in (
            lambda m, i: m.mean[i], lambda m, i: m.m2[i] / (len(draws) - 1) / len(draws),
        ))  # fmt: skip
        live = variance["iwae"] > 0  # weights of pixels that are off are not
        gap = ((mean["dreg"] - mean["iwae"]) / (variance["dreg"] + variance["iwae"]).sqrt())[live]
        assert gap.abs().max() < 4.5
        assert (mean["iwae"] / variance["iwae"].sqrt())[live].abs().max() > 20  # there is a mean to miss


def test_networks_are_told_apart():
    found = hierarchical().networks(images())
    for name, _ in hierarchical().named_parameters():
        assert found[name] == ("inference" if name.startswith("encoder.") else "generative")


def test_a_spec_with_lists_of_widths_survives_toml():
    options = {"latents": [3, 2], "hidden": [[5, 4], [6]], "scale": "exp"}
    spec = RunSpec(model=ModelSpec(name="hierarchical", options=options))
    assert RunSpec.from_toml(spec.to_toml(), "test") == spec
    model = build_model(spec.model, DataSummary(torch.zeros(9, dtype=torch.float64), real=False), 0)
    assert [network.width for network in (*model.encoder, *model.prior)] == [3, 2, 3]


def test_gradients_reach_every_parameter():
    model, noise = hierarchical(), numbers(6, B, M, K, D)
    weights = model(images(), noise, path=True)
    generative = [*model.prior.parameters(), *model.decoder.parameters()]
    for found in gradients(build_estimator("dreg", {}), weights, generative, list(model.encoder.parameters())):
        assert all(bool((gradient != 0).any()) for gradient in found)
