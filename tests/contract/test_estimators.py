"""What every registered estimator must satisfy; the list comes from the registry."""

import dataclasses
import math

import pytest
import torch

from snrkit import DiagonalNormal
from snrkit.core import bounds
from snrkit.core.logweights import LogWeights, normalised, pooled
from snrkit.core.objective import step
from snrkit.errors import SpecError
from snrkit.estimators import ESTIMATORS
from snrkit.estimators.base import Estimator, build_estimator
from tests.support.gradients import gradients, value_of
from tests.zoo import B, D, K, M, hierarchical, images, mlp, numbers, toy

EVERY = [build_estimator(name, {}) for name in ESTIMATORS.names]
every = pytest.mark.parametrize("estimator", EVERY, ids=lambda e: e.name)
R = 7


def flat(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors])


def made(estimator):
    """A model that offers what the estimator needs; all have D latents."""
    return hierarchical() if estimator.needs.regenerated else mlp()


def samples(estimator):
    """K, or a number of samples near it that the estimator works with."""
    try:
        estimator.require_samples(K)
    except SpecError:
        return estimator.few_samples[1]
    return K


def noise_for(estimator, seed, M=M, K=None):
    """Of one sample what the model takes, and for dreams what these do."""
    needs = estimator.needs
    return numbers(seed, B, M, K or samples(estimator), D + (made(estimator).dream_size if needs.sleep else 0))


def parameters(model, x):
    """Of the (generative, inference) network."""
    owners, named = model.networks(x), dict(model.named_parameters())
    return [[named[name] for name, own in owners.items() if own == n] for n in ("generative", "inference")]


def both(estimator, model, x, noise):
    """(theta, phi) gradients by the public function."""
    weights = model(x, noise, parts=estimator.needs.parts)
    return [flat(own) for own in gradients(estimator, weights, *parameters(model, x))]


def asked(estimator, model, x):
    """The forward pass of a step: noise to log-weights with the parts that the estimator needs."""
    return lambda noise: model(x, noise, parts=estimator.needs.parts)


@every
def test_name_and_theory(estimator):
    assert ESTIMATORS.load(estimator.name) is type(estimator)
    theory = estimator.theory
    assert all(map(math.isfinite, (*theory.phi, *theory.theta)))  # tests/theory fits them
    assert theory.source
    assert theory.unbiased_for


@every
def test_shapes(estimator):
    K = samples(estimator)
    weights = LogWeights(*(numbers(seed, R, B, M, K) for seed in range(1, 1 + len(dataclasses.fields(LogWeights)))))
    assert estimator.bound(weights.log_w).shape == (R, B)
    assert [term.network for term in estimator.terms()] == ["inference", "generative"]
    assert all(term.value(weights).shape == (R, B) for term in estimator.terms())


@every
def test_points_are_averaged_not_summed(estimator):
    model, x, noise = made(estimator), images(), noise_for(estimator, 4)
    whole = both(estimator, model, x, noise)
    parts = [both(estimator, model, x[i : i + 1], noise[i : i + 1]) for i in range(B)]
    for network in range(2):
        torch.testing.assert_close(whole[network], sum(part[network] for part in parts) / B)


@every
def test_units_average_to_the_estimate(estimator):
    """The gradient at (M, K) is the mean of its unit gradients at M = 1, for each network."""
    K, model, x, noise = samples(estimator), made(estimator), images(), noise_for(estimator, 5)
    whole = both(estimator, model, x, noise)
    phi, theta = estimator.units(M, K)
    for network, unit in ((0, theta), (1, phi)):
        assert unit.samples * unit.count == M * K
        groups = noise.reshape(B, unit.count, 1, unit.samples, noise.shape[-1])
        parts = [both(unit.estimator, model, x, groups[:, i])[network] for i in range(unit.count)]
        torch.testing.assert_close(whole[network], sum(parts) / unit.count)


# Batches that are cut by place.
BY_PLACE = {"u-statistic"}


@pytest.mark.parametrize("estimator", [e for e in EVERY if e.name not in BY_PLACE], ids=lambda e: e.name)
def test_samples_are_exchangeable_within_a_group(estimator):
    model, x, noise = made(estimator), images(), noise_for(estimator, 6)
    moved = both(estimator, model, x, noise.flip(2).flip(1))
    for one, other in zip(both(estimator, model, x, noise), moved, strict=True):
        torch.testing.assert_close(one, other)


def takes_one(estimator):
    """Whether at one sample it is the gradient of log w."""
    needs = estimator.needs
    return estimator.few_samples[0] == 1 and not (needs.path or needs.kl or needs.sleep)


@pytest.mark.parametrize("estimator", [e for e in EVERY if takes_one(e)], ids=lambda e: e.name)
def test_at_one_sample_every_estimator_of_log_w_is_the_vae(estimator):
    model, x, noise = mlp(), images(), numbers(7, B, 1, 1, D)
    vae = both(build_estimator("vae", {}), model, x, noise)
    for one, other in zip(both(estimator, model, x, noise), vae, strict=True):
        torch.testing.assert_close(one, other)


def direct(weights_of, model, x, noise):
    """sum_mk c_mk grad log w_mk with constant coefficients, for (theta, phi): the formulas written out."""
    log_w = model(x, noise).log_w
    theta, phi = weights_of(log_w.detach())
    out = []
    for coefficient, network in ((theta, model.decoder), (phi, model.encoder)):
        value = (coefficient * log_w).sum((1, 2)).mean()
        out.append(flat(torch.autograd.grad(value, list(network.parameters()), retain_graph=True)))
    return out


def path_formula(power, model, x, noise):
    """sum_k w~_k^power G_k with G_k written out: the density's parameters are constants, the samples are not."""
    posterior = model.encode(x)
    z = posterior.sample(noise)
    fixed = DiagonalNormal(posterior.loc.detach(), posterior.scale.detach())
    log_w = model.log_joint(x[:, None, None], z) - fixed.log_prob(z)
    value = (normalised(log_w.detach()) ** power * log_w).sum(2).mean()
    return flat(torch.autograd.grad(value, list(model.encoder.parameters())))


@pytest.mark.parametrize(("name", "power"), [("stl", 1), ("dreg", 2)])
def test_formula_of_path_estimators(name, power):
    model, x, noise = mlp(), images(), numbers(12, B, M, K, D)
    theta, phi = both(build_estimator(name, {}), model, x, noise)
    torch.testing.assert_close(phi, path_formula(power, model, x, noise))
    torch.testing.assert_close(theta, both(build_estimator("iwae", {}), model, x, noise)[0])


def test_dreg_is_unbiased_and_stl_is_not():
    """Against the iwae gradient of b on the toy, K = 5, 40,000 paired draws, in standard errors."""
    model, x = toy(points=1)
    draws = 40_000

    def gradient(estimator):
        def one(b, e):
            weights = torch.func.functional_call(model, {"b": b}, (x, e[None], True))
            return value_of(estimator, weights, "inference")

        return torch.func.vmap(torch.func.grad(one), (None, 0))(model.b.detach(), numbers(13, draws, 1, K, D))

    iwae, dreg, stl = (gradient(build_estimator(name, {})) for name in ("iwae", "dreg", "stl"))
    z = {name: (g - iwae).mean(0) / ((g - iwae).std(0) / draws**0.5) for name, g in (("dreg", dreg), ("stl", stl))}
    assert z["dreg"].abs().max() < 4
    assert z["stl"].abs().max() > 10


def tilde(log_w):
    return normalised(log_w) / M


def tempered(log_w):
    return tilde(0.7 * log_w)


def jackknifed(log_w):
    """K times the weights of all, less (K - 1)/K times those of all but one, summed over which is left out."""
    total = K * normalised(log_w)
    for i in range(K):
        kept = [k for k in range(K) if k != i]
        total[..., kept] -= (K - 1) / K * normalised(log_w[..., kept])
    return total / M


def batched(log_w):
    """Of K = 5 samples batches of one: five rows, so that every shift takes each sample once."""
    return torch.full_like(log_w, 1 / (M * K))


def pooled_tilde(log_w):
    return normalised(pooled(log_w)).view_as(log_w)


@pytest.mark.parametrize(
    ("name", "options", "formula"),
    [
        ("vae", {}, lambda lw: (torch.full_like(lw, 1 / (M * K)),) * 2),
        ("iwae", {}, lambda lw: (tilde(lw),) * 2),
        ("miwae", {}, lambda lw: (tilde(lw),) * 2),
        ("ciwae", {"beta": 0.3}, lambda lw: (0.3 / (M * K) + 0.7 * tilde(lw),) * 2),
        ("piwae", {}, lambda lw: (pooled_tilde(lw), tilde(lw))),
        ("vr-iwae", {"alpha": 0.3}, lambda lw: (tempered(lw),) * 2),
        ("jvi", {}, lambda lw: (jackknifed(lw),) * 2),
        ("u-statistic", {"inner": 5}, lambda lw: (tilde(lw),) * 2),
        ("u-statistic", {"inner": 1}, lambda lw: (batched(lw),) * 2),
        ("vae-annealed", {"kl": 1}, lambda lw: (torch.full_like(lw, 1 / (M * K)),) * 2),
    ],
)
def test_formula_of_each(name, options, formula):
    model, x, noise = mlp(), images(), numbers(8, B, M, K, D)
    found = both(build_estimator(name, options), model, x, noise)
    for one, other in zip(found, direct(formula, model, x, noise), strict=True):
        torch.testing.assert_close(one, other)


def test_a_swap_of_m_and_k_would_be_seen():
    """The check above has teeth: an implementation that normalises over M gives another gradient."""
    model, x, noise = mlp(), images(), numbers(8, B, M, K, D)
    right = both(build_estimator("miwae", {}), model, x, noise)
    swapped = both(build_estimator("miwae", {}), model, x, noise.transpose(1, 2))
    for one, other in zip(right, swapped, strict=True):
        assert (one - other).norm() > 0.01 * one.norm()


def test_piwae_uses_the_same_samples_for_both_networks():
    model, x, noise = mlp(), images(), numbers(9, B, M, K, D)
    theta, phi = both(build_estimator("piwae", {}), model, x, noise)
    iwae_theta, _ = both(build_estimator("iwae", {}), model, x, noise.reshape(B, 1, M * K, D))
    _, miwae_phi = both(build_estimator("miwae", {}), model, x, noise)
    torch.testing.assert_close(theta, iwae_theta)
    torch.testing.assert_close(phi, miwae_phi)


@every
def test_a_step_gives_gradients_and_the_bound_and_no_other_number(estimator):
    """What is differentiated never leaves a step, so nobody can take it for the bound."""
    model, x, noise, kinds = made(estimator), images(), noise_for(estimator, 10), []
    wanted = dict(zip(("generative", "inference"), parameters(model, x), strict=True))
    forward, noises = asked(estimator, model, x), (lambda kind: (kinds.append(kind), noise)[1])
    found, bound = step(estimator.objective, forward, noises, wanted)
    assert kinds == ["shared"]
    assert {n: [g.shape for g in own] for n, own in found.items()} == {
        n: [p.shape for p in own] for n, own in wanted.items()
    }
    torch.testing.assert_close(bound, estimator.bound(forward(noise).log_w).mean())
    assert not bound.requires_grad


@every
def test_a_network_by_itself_gets_the_gradient_that_it_gets_beside_the_other(estimator):
    model, x, noise = made(estimator), images(), noise_for(estimator, 10)
    wanted = dict(zip(("generative", "inference"), parameters(model, x), strict=True))
    forward, noises = asked(estimator, model, x), (lambda _: noise)
    whole, _ = step(estimator.objective, forward, noises, wanted)
    for network, own in wanted.items():
        alone, _ = step(estimator.objective, forward, noises, {network: own})
        assert set(alone) == {network}
        assert all(torch.equal(a, b) for a, b in zip(alone[network], whole[network], strict=True))


@every
def test_with_noise_of_its_own_the_inference_network_sees_other_samples(estimator):
    model, x, noises = made(estimator), images(), {"shared": noise_for(estimator, 10), "own": noise_for(estimator, 11)}
    wanted = dict(zip(("generative", "inference"), parameters(model, x), strict=True))
    forward = asked(estimator, model, x)
    found, bound = step(estimator.objective.with_own_noise(), forward, noises.__getitem__, wanted)
    for network, kind in (("generative", "shared"), ("inference", "own")):
        expected, _ = step(estimator.objective, forward, lambda _, kind=kind: noises[kind], wanted)
        assert all(torch.equal(a, b) for a, b in zip(found[network], expected[network], strict=True))
    torch.testing.assert_close(bound, estimator.bound(forward(noises["shared"]).log_w).mean())


@pytest.mark.parametrize("former", ["surrogate", "path", "needs_reparameterised", "separate_networks", "least_samples"])
def test_an_estimator_as_of_version_0_1_0_is_told_what_to_write(former):
    with pytest.raises(SpecError, match=rf"Mine\.{former}: is no part of an estimator any more; (define|set) "):
        type("Mine", (Estimator,), {former: True})


def test_a_bound_is_not_its_surrogate_sum():
    """Reporting sum w~ log w would overstate the K-sample bound by log K - H(w~)."""
    log_w = numbers(11, B, 1, K)
    w = normalised(log_w)
    excess = ((w * log_w).sum(-1) - bounds.iwae(log_w)[:, None]).squeeze()
    entropy = -(w * w.log()).sum(-1).squeeze()
    torch.testing.assert_close(excess, math.log(K) - entropy)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("iwea", {}, "did you mean 'iwae'"),
        ("iwae", {"beta": 0.5}, "no such option"),
        ("ciwae", {"alpha": 0.5}, "its options are: beta"),
        ("ciwae", {"beta": 1.5}, r"\[0, 1\]"),
        ("ciwae", {"beta": math.nan}, r"\[0, 1\]"),
    ],
)
def test_bad_estimators(name, options, message):
    with pytest.raises(SpecError, match=message):
        build_estimator(name, options)


@every
def test_hyperparameters_are_described(estimator):
    for field in dataclasses.fields(estimator):
        assert f"{field.name}=" in estimator.describe()


@pytest.mark.parametrize(("value", "text"), [(0.5, "0.5"), (1, "1"), (0.25 + 1e-9, "0.250000001"), (1e-8, "1e-08")])
def test_other_hyperparameters_have_another_description(value, text):
    assert build_estimator("ciwae", {"beta": value}).describe() == f"beta={text}"
