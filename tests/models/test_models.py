import math

import pytest
import torch
from torch import distributions, nn

from snrkit import DiagonalNormal, bernoulli_log_prob, standard_normal_log_prob
from snrkit.core import bounds
from snrkit.errors import CapabilityError, ModelError, SpecError
from snrkit.models.base import build_model, check_log_weights
from snrkit.models.mlp import Mlp
from snrkit.models.summary import DataSummary
from snrkit.specs.run import ModelSpec
from tests.zoo import B, D, K, M, Users, images, mlp, numbers, toy, users


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameter_counts_of_the_papers():
    reference = Mlp(784, (200, 200), 50)
    assert (count(reference), count(reference.encoder), count(reference.decoder)) == (425_284, 217_300, 207_984)
    assert count(Mlp(784, (400, 400), 20)) == 973_624


def test_densities_against_torch():
    z, loc, scale = numbers(1, B, M, K, D), numbers(2, B, D), numbers(3, B, D).exp()
    q = DiagonalNormal(loc, scale)
    reference = distributions.Normal(loc[:, None, None], scale[:, None, None])
    torch.testing.assert_close(q.log_prob(z), reference.log_prob(z).sum(-1))
    torch.testing.assert_close(
        standard_normal_log_prob(z), distributions.Normal(0.0, torch.ones((), dtype=z.dtype)).log_prob(z).sum(-1)
    )
    x, logits = images(pixels=D)[:, None, None], 3 * z
    torch.testing.assert_close(
        bernoulli_log_prob(x, logits), distributions.Bernoulli(logits=logits).log_prob(x).sum(-1)
    )


def test_samples_belong_to_their_data_point():
    loc = torch.arange(B * D, dtype=torch.float64).view(B, D)
    z = DiagonalNormal(loc, torch.full((1, 1), 1e-9, dtype=torch.float64)).sample(numbers(4, B, M, K, D))
    torch.testing.assert_close(z, loc[:, None, None].expand(B, M, K, D), atol=1e-7, rtol=0)


def test_log_weights_shape_and_independence_of_points():
    """Of a model that a user might write; contract/test_models has those that are registered."""
    model, x = users(), images()
    noise = numbers(5, B, M, K, D)
    weights = model(x, noise, path=True)
    assert weights.log_w.shape == weights.log_w_path.shape == (B, M, K)
    torch.testing.assert_close(weights.log_q_path, weights.log_q)
    alone = torch.cat([model(x[i : i + 1], noise[i : i + 1]).log_w for i in range(B)])
    torch.testing.assert_close(alone, weights.log_w)


def test_toy_bounds_approach_the_exact_marginal():
    model, x = toy(perturb=0.1)
    noise = numbers(7, B, 40, 500, D)
    with torch.no_grad():
        log_w = model(x, noise).log_w
    exact = model.log_marginal(x)
    expected = distributions.MultivariateNormal(model.mu, 2 * torch.eye(D, dtype=x.dtype)).log_prob(x)
    torch.testing.assert_close(exact, expected)
    per_outer = log_w.logsumexp(-1) - math.log(500)
    stderr = per_outer.std(1) / math.sqrt(40)
    # E log-mean-exp lies below log p by about var(w)/(2 K); this many samples make that small against the error.
    bias = (log_w - exact[:, None, None]).exp().var(-1).mean(1) / (2 * 500)
    assert ((per_outer.mean(1) + bias - exact).abs() < 4 * stderr).all()
    assert (bounds.elbo(log_w) < per_outer.mean(1)).all()


def test_toy_gradient_moments_against_autograd():
    model, x = toy()
    exact = model.gradient_moments(x)
    draws = 4000
    noise = numbers(8, draws, B, 1, 1, D)

    def one(parameters, point, e):
        weights = torch.func.functional_call(model, parameters, (point[None], e[None]))
        return weights.log_w.sum()

    parameters = {name: p.detach() for name, p in model.named_parameters()}
    per_draw = torch.func.vmap(torch.func.vmap(torch.func.grad(one), (None, 0, 0)), (None, None, 0))
    found = per_draw(parameters, x, noise)
    for name, (mean, variance) in exact.items():
        z = (found[name].mean(0) - mean).abs() / (variance / draws).sqrt()
        assert z.max() < 4.5, name
        ratio = found[name].var(0) / variance
        assert ((ratio - 1).abs() < 4.5 * math.sqrt(2 / draws)).all(), name


def test_toy_optimum_is_stationary():
    x = numbers(9, 50, D)
    model, _ = toy()
    optimum = type(model).optimum(x.mean(0))
    for name, (mean, _) in optimum.gradient_moments(x).items():
        assert mean.mean(0).abs().max() < 1e-12, name


def test_networks_are_told_apart():
    found = users().networks(images())
    assert {name for name, network in found.items() if network == "inference"} == {
        "body.0.weight", "body.0.bias", "body.2.weight", "body.2.bias",
    }  # fmt: skip
    assert found["shift"] == "generative"
    assert "unused" not in found
    assert "frozen" not in found


def test_a_tied_parameter_is_refused_by_name():
    model = users()
    model.decoder[0].weight = model.body[0].weight
    model.encode = lambda x: DiagonalNormal(model.body[0](x)[:, :D], torch.ones(1, 1, dtype=x.dtype))
    model.log_joint = lambda x, z: (z @ model.body[0].weight[:D, :D]).sum(-1) + 0 * x.sum(-1)
    with pytest.raises(CapabilityError, match=r"body\.0\.weight"):
        model.networks(images())


def test_wrong_shapes_are_explained():
    class Wrong(Users):
        def log_joint(self, x, z):
            return super().log_joint(x, z).sum(-1)

    with pytest.raises(SpecError, match="log_joint returned shape"):
        check_log_weights(Wrong().double(), images())
    with pytest.raises(ModelError, match=r"encode fails on x float64\[2, 8\]"):
        check_log_weights(mlp(), images(pixels=8))


def test_toy_is_built_near_its_optimum():
    mean = numbers(10, D)
    model = build_model(ModelSpec(name="gaussian", options={"perturb": 0.01}), DataSummary(mean, real=True), 1)
    off = [model.mu - mean, model.b - mean / 2, model.A - torch.eye(D, dtype=mean.dtype) / 2]
    size = torch.cat([part.flatten() for part in off])
    assert 0.005 < size.std() < 0.02


@pytest.mark.parametrize(
    ("spec", "real", "message"),
    [
        (ModelSpec(name="mlp", options={"latnet": 3}), False, "mlp.latnet"),
        (ModelSpec(name="mlp", options={"hidden": [0]}), False, "mlp.hidden"),
        (ModelSpec(name="mlp"), True, "real-valued"),
        (ModelSpec(name="hierarchical", options={"latents": [3, 2, 1]}), False, "2 lists of widths for 3"),
        (ModelSpec(name="hierarchical", options={"latents": []}), False, "hierarchical.latents"),
        (ModelSpec(name="hierarchical", options={"hidden": [[5], []]}), False, "hierarchical.hidden"),
        (ModelSpec(name="hierarchical", options={"scale": "square"}), False, "hierarchical.scale"),
        (ModelSpec(name="hierarchical"), True, "real-valued"),
        (ModelSpec(name="mpl"), False, "did you mean 'mlp'"),
        (ModelSpec(name="gaussian", options={"perturb": -1.0}), True, "gaussian.perturb"),
    ],
)
def test_bad_specs(spec, real, message):
    with pytest.raises(SpecError, match=message):
        build_model(spec, DataSummary(torch.zeros(9, dtype=torch.float64), real), 0)
