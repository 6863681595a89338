"""What every registered estimator must satisfy; the list comes from the registry."""

import dataclasses
import itertools
import math

import pytest
import torch

from snrkit import DiagonalNormal
from snrkit.core import bounds
from snrkit.core.logweights import LogWeights, normalised, pooled
from snrkit.core.objective import pull, step
from snrkit.errors import SpecError
from snrkit.estimators import ESTIMATORS
from snrkit.estimators.base import Estimator, build_estimator
from snrkit.estimators.streamed import streamed_gradients
from tests.support.enumeration import network as bits
from tests.support.estimators import EVERY, VARIANTS, noise_of, parameters, samples, subject, title
from tests.support.gradients import gradients, value_of
from tests.zoo import B, D, K, M, images, mlp, numbers, toy

every = pytest.mark.parametrize("estimator", [*EVERY, *VARIANTS], ids=title)
R, PIXELS = 7, 9
# Estimators to which some samples are others than the rest, and why.
ORDERED = {"ovis-mc": "its last S samples are auxiliary", "u-statistic": "its batches are cut by place"}


def flat(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors])


def both(estimator, model, x, noise):
    """(theta, phi) gradients by the public function."""
    own = parameters(model, x)
    weights = model(x, noise, parts=estimator.needs.parts)
    return [flat(found) for found in gradients(estimator, weights, own["generative"], own["inference"])]


@every
def test_name_and_theory(estimator):
    assert ESTIMATORS.load(estimator.name) is type(estimator)
    theory = estimator.theory
    assert all(map(math.isfinite, (*theory.phi, *theory.theta)))  # tests/theory fits them
    assert theory.source
    assert theory.unbiased_for


@every
def test_shapes(estimator):
    shape = R, B, M, samples(estimator)
    named = [field.name for field in dataclasses.fields(LogWeights)]
    weights = LogWeights(**{name: numbers(seed, *shape) for seed, name in enumerate(named)})
    assert estimator.bound(weights.log_w).shape == (R, B)
    assert [term.network for term in estimator.terms()] == ["inference", "generative"]
    assert all(term.value(weights).shape == (R, B) for term in estimator.terms())


@every
def test_points_are_averaged_not_summed(estimator):
    model, x = subject(estimator)
    noise = noise_of(estimator, model, 4, B, M, samples(estimator))
    whole = both(estimator, model, x, noise)
    parts = [both(estimator, model, x[i : i + 1], noise[i : i + 1]) for i in range(B)]
    for network in range(2):
        torch.testing.assert_close(whole[network], sum(part[network] for part in parts) / B)


@every
def test_units_average_to_the_estimate(estimator):
    """The gradient at (M, K) is the mean of its unit gradients at M = 1, for each network."""
    (model, x), own = subject(estimator), samples(estimator)
    noise = noise_of(estimator, model, 5, B, M, own)
    whole = both(estimator, model, x, noise)
    phi, theta = estimator.units(M, own)
    for network, unit in ((0, theta), (1, phi)):
        assert unit.samples * unit.count == M * own
        groups = noise.reshape(B, unit.count, 1, unit.samples, -1)
        parts = [both(unit.estimator, model, x, groups[:, i])[network] for i in range(unit.count)]
        torch.testing.assert_close(whole[network], sum(parts) / unit.count)


@pytest.mark.parametrize("estimator", [e for e in [*EVERY, *VARIANTS] if not e.needs.reparameterised], ids=title)
def test_units_of_bits_average_to_the_estimate(estimator):
    """And points to a minibatch, where z is discrete."""
    model, x = bits()
    x, own = x.expand(B, -1).roll(1, -1) * images(pixels=3), samples(estimator)
    noise = numbers(5, B, M, own, model.latent + (model.dream_size if estimator.needs.sleep else 0))
    whole = both(estimator, model, x, noise)
    parts = [both(estimator, model, x[i : i + 1], noise[i : i + 1, j : j + 1]) for i in range(B) for j in range(M)]
    for place in range(2):
        torch.testing.assert_close(whole[place], sum(part[place] for part in parts) / (B * M), rtol=1e-10, atol=1e-12)


@every
def test_samples_are_exchangeable_within_a_group(estimator):
    model, x = subject(estimator)
    noise = noise_of(estimator, model, 6, B, M, samples(estimator))
    order = numbers(16, noise.shape[2]).argsort()
    found = [both(estimator, model, x, own) for own in (noise, noise[:, :, order].flip(1))]
    pairs = list(zip(*found, strict=True))
    if estimator.name in ORDERED:
        assert any((one - other).norm() > 1e-6 * one.norm() for one, other in pairs)
        return
    for one, other in pairs:
        torch.testing.assert_close(one, other)


def takes_one(estimator):
    """Whether at one sample it is the gradient of log w."""
    needs = estimator.needs
    return estimator.few_samples[0] == 1 and not (needs.path or needs.kl or needs.sleep)


@pytest.mark.parametrize("estimator", [e for e in EVERY if takes_one(e)], ids=title)
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
    """sum_k power(w~_k) G_k with G_k written out: the density's parameters are constants, the samples are not."""
    posterior = model.encode(x)
    z = posterior.sample(noise)
    fixed = DiagonalNormal(posterior.loc.detach(), posterior.scale.detach())
    log_w = model.log_joint(x[:, None, None], z) - fixed.log_prob(z)
    value = (power(normalised(log_w.detach())) * log_w).sum(2).mean()
    return flat(torch.autograd.grad(value, list(model.encoder.parameters())))


@pytest.mark.parametrize(
    ("name", "power"),
    [("stl", lambda w: w), ("dreg", lambda w: w**2), ("rws-dreg", lambda w: w - w**2)],
)
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


def each(log_w, one):
    """Of each group of weights ``[K]`` what ``one`` says of sample k, and of the others."""
    found = torch.zeros_like(log_w)
    for *group, k in itertools.product(*map(range, log_w.shape)):
        own = log_w[tuple(group)]
        found[(*group, k)] = one(own, k, torch.cat([own[:k], own[k + 1 :]]))
    return found


def mean_weight(*log_w):
    return torch.cat([own.reshape(-1) for own in log_w]).exp().mean().log()


def share(log_w, k):
    return log_w[k].exp() / log_w.exp().sum()


def learning(log_w, k):
    """log Z^ - w~_k."""
    return mean_weight(log_w) - share(log_w, k)


def auxiliary(S):
    def one(own, k, _):
        n = len(own) - S
        if k >= n:
            return 0.0
        replaced = [torch.cat([own[:k], other[None], own[k + 1 : n]]) for other in own[n:]]
        return learning(own[:n], k) - sum(learning(other, k) for other in replaced) / S

    return one


def ovis(gamma):
    def one(own, k, others):
        baseline = mean_weight(others) - gamma * share(own, k) + (1 - gamma) * math.log(1 - 1 / len(own))
        return learning(own, k) - baseline

    return one


def riemann(own, k, _):
    """Signal of phi and coefficient of theta, of two intervals that meet at 0.3."""
    K = len(own)
    v = (0.3 * own).exp() / (0.3 * own).exp().sum()
    flat, tilted = (own[k] - own.mean()) / (K - 1), K / (K - 1) * v[k] * (own[k] - (v * own).sum())
    return 0.3 * flat + 0.7 * (0.7 * tilted - v[k]), 0.3 / K + 0.7 * (v[k] + 0.3 * tilted)


def score_formula(signal, model, x, noise):
    """sum_k s_k grad log q(z_k|x) at fixed z_k, mean over M, with signals by ``each``."""
    posterior = model.encode(x)
    z = posterior.sample(noise).detach()
    signals = each(model(x, noise).log_w.detach(), signal)
    value = (signals * posterior.log_prob(z)).sum(2).mean()
    return flat(torch.autograd.grad(value, list(model.encoder.parameters())))


@pytest.mark.parametrize(
    ("name", "options", "signal"),
    [
        ("rws", {}, lambda own, k, _: share(own, k)),
        ("reinforce", {}, lambda own, k, _: learning(own, k)),
        ("vimco", {}, lambda own, k, others: learning(own, k) - mean_weight(others, others.mean())),
        ("vimco", {"geometric": 0}, lambda own, k, others: learning(own, k) - mean_weight(others, mean_weight(others))),
        ("ovis-tilde", {"gamma": 0.3}, ovis(0.3)),
        ("ovis-mc", {}, auxiliary(1)),
        ("ovis-mc", {"S": 2}, auxiliary(2)),
        ("rloo", {}, lambda own, k, others: (own[k] - others.mean()) / len(own)),
        ("tvo", {"intervals": 2, "first": 0.3}, lambda *at: riemann(*at)[0]),
    ],
)
def test_formula_of_score_functions(name, options, signal):
    model, x, noise = mlp(), images(), numbers(14, B, M, K, D)
    theta, phi = both(build_estimator(name, options), model, x, noise)
    torch.testing.assert_close(phi, score_formula(signal, model, x, noise))
    if name == "tvo":
        coefficients = each(model(x, noise).log_w.detach(), lambda *at: riemann(*at)[1]) / M
        expected, _ = direct(lambda _: (coefficients,) * 2, model, x, noise)
    else:
        expected, _ = both(build_estimator("vae" if name == "rloo" else "iwae", {}), model, x, noise)
    torch.testing.assert_close(theta, expected)


def dreams_formula(model, noise):
    """Mean of grad log q(z|x) at x and z drawn from the decoder."""
    with torch.no_grad():
        z = noise[..., D + PIXELS :]
        x = (
            torch.distributions.Normal(0, 1).cdf(noise[..., D : D + PIXELS]) < torch.sigmoid(model.decoder(z))
        ).double()
    posterior = model.encode(x.reshape(-1, PIXELS))
    value = posterior.log_prob(z.reshape(-1, 1, 1, D)).mean()
    return flat(torch.autograd.grad(value, list(model.encoder.parameters())))


@pytest.mark.parametrize(("name", "options", "share"), [("wake-sleep", {}, 1), ("rws", {"sleep": 0.3}, 0.3)])
def test_formula_of_sleep(name, options, share):
    model, x, estimator = mlp(), images(), build_estimator(name, options)
    noise = noise_of(estimator, model, 15, B, M, K)
    theta, phi = both(estimator, model, x, noise)
    wake_theta, wake = both(build_estimator("rws", {}), model, x, noise[..., :D])
    torch.testing.assert_close(phi, share * dreams_formula(model, noise) + (1 - share) * wake)
    vae_theta, _ = both(build_estimator("vae", {}), model, x, noise[..., :D])
    torch.testing.assert_close(theta, vae_theta if name == "wake-sleep" else wake_theta)


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


def stepping(estimator):
    """Parameters by network, a forward pass, and noise of a step, shared and the inference network's own."""
    (model, x), own = subject(estimator), samples(estimator)
    noises = {kind: noise_of(estimator, model, seed, B, M, own) for kind, seed in (("shared", 10), ("own", 11))}
    return parameters(model, x), (lambda noise: model(x, noise, parts=estimator.needs.parts)), noises


@every
def test_a_step_gives_gradients_and_the_bound_and_no_other_number(estimator):
    """What is differentiated never leaves a step, so nobody can take it for the bound."""
    wanted, forward, noises = stepping(estimator)
    kinds = []
    found, bound = step(estimator.objective, forward, lambda kind: (kinds.append(kind), noises[kind])[1], wanted)
    assert kinds == ["shared"]
    assert {n: [g.shape for g in own] for n, own in found.items()} == {
        n: [p.shape for p in own] for n, own in wanted.items()
    }
    torch.testing.assert_close(bound, estimator.bound(forward(noises["shared"]).log_w).mean())
    assert not bound.requires_grad


@every
def test_a_network_by_itself_gets_the_gradient_that_it_gets_beside_the_other(estimator):
    wanted, forward, noises = stepping(estimator)
    whole, _ = step(estimator.objective, forward, noises.__getitem__, wanted)
    for network, own in wanted.items():
        alone, _ = step(estimator.objective, forward, noises.__getitem__, {network: own})
        assert set(alone) == {network}
        assert all(torch.equal(a, b) for a, b in zip(alone[network], whole[network], strict=True))


@every
def test_with_noise_of_its_own_the_inference_network_sees_other_samples(estimator):
    wanted, forward, noises = stepping(estimator)
    found, bound = step(estimator.objective.with_own_noise(), forward, noises.__getitem__, wanted)
    for network, kind in (("generative", "shared"), ("inference", "own")):
        expected, _ = step(estimator.objective, forward, lambda _, kind=kind: noises[kind], wanted)
        assert all(torch.equal(a, b) for a, b in zip(found[network], expected[network], strict=True))
    torch.testing.assert_close(bound, estimator.bound(forward(noises["shared"]).log_w).mean())


@every
def test_samples_in_portions_give_what_they_give_at_once(estimator):
    (model, x), parts, served = subject(estimator), estimator.needs.parts, estimator.objective.served()
    wanted, noise = parameters(model, x), noise_of(estimator, model, 17, B, M, samples(estimator))
    whole = pull(served, model(x, noise, parts=parts), wanted)
    found, _ = streamed_gradients(model, served, parts, x, noise, wanted, 4 * B)
    for network in wanted:
        torch.testing.assert_close(found[network], whole[network])


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
