"""Estimators on other bounds: each against one of the same mean, by paired draws on the toy, and what they refuse."""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from snrkit.core.logweights import LogWeights, log_mean_exp
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.plan import Plan
from snrkit.errors import SpecError
from snrkit.estimators.base import Estimator, Theory, build_estimator
from tests.support.rates import MOST, NETWORKS, gradients
from tests.zoo import D, hierarchical, images, mlp, numbers, toy

K = 6


def drawn(name, options=None, K=K):
    own = name if isinstance(name, Estimator) else build_estimator(name, options or {})
    return gradients(own, 1, K, MOST // K)


def distance(one, other):
    """The largest difference of the means, in standard errors, of paired draws ``[R, D]``; 0 where they are the same."""
    apart = one - other
    spread = apart.std(dim=0) / len(apart) ** 0.5
    return float((apart.mean(dim=0).abs() / spread.clamp_min(1e-300)).max())


# What has the mean of what, by the networks whose draws differ.
SAME = [
    (("vr-iwae", {"alpha": 0.5, "detached": 1}), ("vr-iwae", {"alpha": 0.5}), "inference"),
    (("vr-iwae", {"alpha": 0.3, "detached": 1}), ("vr-iwae", {"alpha": 0.3}), "inference"),
    (("jvi", {"dreg": 1}), ("jvi", {}), "inference"),
    (("gdreg", {}), ("iwae", {}), "inference"),
    (("gdreg", {}), ("iwae", {}), "generative"),
    (("vae-analytic", {}), ("vae", {}), "inference"),
    (("vae-analytic", {"beta": 0.4}), ("vae-annealed", {"kl": 0.4}), "inference"),
]


@pytest.mark.parametrize(("one", "other", "network"), SAME, ids=str)
def test_the_same_mean_with_less_noise(one, other, network):
    (own, own_options), (its, its_options) = one, other
    first, second = drawn(own, own_options)[network], drawn(its, its_options)[network]
    assert 0 < distance(first, second) < 4.2
    assert float(first.var(dim=0).sum()) < 0.97 * float(second.var(dim=0).sum())
    assert build_estimator(own, own_options).same_bound == build_estimator(its, its_options)


APART = [
    (("vr-iwae", {"alpha": 0.5}), ("vr-iwae", {"alpha": 0.3})),
    (("jvi", {"dreg": 1}), ("dreg", {})),
    (("stl", {}), ("dreg", {})),
    (("vae-analytic", {"beta": 0.4}), ("vae-analytic", {})),
]


@pytest.mark.parametrize(("one", "other"), APART, ids=str)
def test_another_mean_would_be_seen(one, other):
    assert distance(drawn(*one)["inference"], drawn(*other)["inference"]) > 20


TWINS = [
    (("vr-iwae", {"alpha": 0}), ("iwae", {})),
    (("vr-iwae", {"alpha": 0, "detached": 1}), ("dreg", {})),
    (("vae-annealed", {"kl": 1}), ("vae", {})),
    (("u-statistic", {"inner": K, "shifts": 3}), ("iwae", {})),
    (("u-statistic", {"inner": 1, "shifts": 3}), ("vae", {})),
]


@pytest.mark.parametrize(("one", "other"), TWINS, ids=str)
def test_the_same_draw_by_draw(one, other):
    for network in NETWORKS:
        torch.testing.assert_close(drawn(*one)[network], drawn(*other)[network], rtol=1e-9, atol=1e-11)


def test_towards_alpha_1_vr_iwae_is_the_vae():
    for network in NETWORKS:
        near, vae = drawn("vr-iwae", {"alpha": 1 - 1e-7})[network], drawn("vae")[network]
        torch.testing.assert_close(near, vae, rtol=1e-4, atol=1e-4)


@dataclass(frozen=True)
class Complete(Estimator):
    """The mean over all pairs."""

    name: ClassVar[str] = "complete"

    def bound(self, log_w):
        pairs = itertools.combinations(range(log_w.shape[-1]), 2)
        return torch.stack([log_mean_exp(log_w[..., list(pair)]) for pair in pairs]).mean(dim=(0, -1))

    @property
    def theory(self):
        return Theory((0.5, 0.5), (0.5, 0.5), "the 2-sample bound", "Hoeffding 1948")


def variances(gradient, blocks=40):
    """Of blocks of draws, ``[G]``, summed over coordinates."""
    return np.array([float(own.var(dim=0).sum()) for own in gradient.chunk(blocks)])


@pytest.mark.parametrize("network", NETWORKS)
def test_overlapping_batches_have_the_mean_of_disjoint_ones_and_less_variance_than_these(network):
    """And more than all subsets, each told by more than 4 standard errors."""
    whole = {
        "disjoint": drawn("u-statistic", {"inner": 2, "shifts": 1})[network],
        "overlapping": drawn("u-statistic", {"inner": 2, "shifts": 2})[network],
        "all": drawn(Complete())[network],
    }
    assert 0 < distance(whole["overlapping"], whole["disjoint"]) < 4.2
    for more, less in itertools.pairwise(map(variances, whole.values())):
        gain = more - less
        assert gain.mean() > 4 * gain.std(ddof=1) / len(gain) ** 0.5


def test_disjoint_batches_are_miwae():
    few = gradients(build_estimator("u-statistic", {"inner": 2, "shifts": 1}), 1, 6)
    groups = gradients(build_estimator("miwae", {}), 3, 2)
    for network in NETWORKS:
        # Of batches of neighbours in both.
        torch.testing.assert_close(few[network], groups[network])


def test_the_jackknife_survives_a_weight_that_has_everything():
    found = {}
    for dtype in (torch.float32, torch.float64):
        log_w = torch.tensor([[[[0.0, -400.0, -401.0, -1000.0]]]], dtype=dtype, requires_grad=True)
        weights = LogWeights(log_w, torch.zeros_like(log_w), torch.zeros_like(log_w))
        terms = build_estimator("jvi", {"dreg": 1}).terms()
        found[dtype] = [torch.autograd.grad(term.value(weights).sum(), log_w)[0] for term in terms]
        for own in found[dtype]:
            # Of a sum of three weights in four the largest has everything: K - (K - 1)/K 3 of it, and so for the next.
            assert own[0, 0, 0, 0] == pytest.approx(4 - 0.75 * 3, rel=1e-4)
    for one, other in zip(*found.values(), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


def per_draw(model, estimator, x, noise, names):
    """Gradients by name ``[R, ...]``, each draw by itself, of parameters of one network."""
    own = {name: parameter.detach() for name, parameter in model.named_parameters()}
    network = model.networks(x)[names[0]]
    (term,) = (term for term in estimator.terms() if term.network == network)

    def value(chosen, one):
        weights = torch.func.functional_call(model, own | chosen, (x, one[None]), {"parts": estimator.needs.parts})
        return term.value(weights).mean()

    chosen = {name: own[name] for name in names}
    return torch.func.vmap(torch.func.grad(value), (None, 0), chunk_size=2000)(chosen, noise)


@pytest.mark.parametrize("network", ["prior", "decoder"])
def test_gdreg_of_layers_has_the_mean_of_iwae_in_the_prior_and_its_draws_in_the_decoder(network):
    model, x, draws = hierarchical(), images(points=1), 8_000
    names = [name for name, _ in model.named_parameters() if name.startswith(network)]
    noise = numbers(41, draws, 1, 4, D)
    one, other = (per_draw(model, build_estimator(name, {}), x, noise, names) for name in ("gdreg", "iwae"))
    if network == "decoder":
        for name in names:
            torch.testing.assert_close(one[name], other[name], rtol=1e-8, atol=1e-11)
        return
    flat = [torch.cat([own[name].flatten(1) for name in names], dim=1) for own in (one, other)]
    assert 0 < distance(*flat) < 4.5
    # What would be differentiated without the second term of it has another mean.
    assert distance(flat[0], 1.5 * flat[1]) > 10


@pytest.mark.parametrize("block", ["encoder", "decoder"])
def test_vae_analytic_of_images_has_the_mean_of_vae(block):
    model, x, draws = mlp(), images(points=1), 10_000
    names = [name for name, _ in model.named_parameters() if name.startswith(block)]
    noise = numbers(42, draws, 1, 2, D)
    one, other = (per_draw(model, build_estimator(name, {}), x, noise, names) for name in ("vae-analytic", "vae"))
    flat = [torch.cat([own[name].flatten(1) for name in names], dim=1) for own in (one, other)]
    if block == "decoder":  # whose gradient the KL has no part in
        torch.testing.assert_close(*flat, rtol=1e-9, atol=1e-12)
        return
    assert 0 < distance(*flat) < 4.5
    assert float(flat[0].var(dim=0).sum()) < 0.5 * float(flat[1].var(dim=0).sum())


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("vr-iwae", {"alpha": 1}, "options.alpha: must not be 1; choose vae, or stl"),
        ("vr-iwae", {"alpha": -0.5}, r"options.alpha: must lie in \[0, 1\]"),
        ("vr-iwae", {"detached": 0.5}, "options.detached: must be a whole number"),
        ("vr-iwae", {"detached": 2}, r"options.detached: must lie in \[0, 1\]"),
        ("jvi", {"dreg": -1}, r"options.dreg: must lie in \[0, 1\]"),
        ("u-statistic", {"inner": 0}, "options.inner: must lie in"),
        ("u-statistic", {"inner": 2.5}, "options.inner: must be a whole number"),
        ("u-statistic", {"shifts": 0}, "options.shifts: must lie in"),
        ("vae-annealed", {"kl": -0.1}, "options.kl: must lie in"),
        ("vae-analytic", {"beta": -0.1}, "options.beta: must lie in"),
        ("gdreg", {"beta": 1}, "gdreg has no such option; it has no options"),
    ],
)
def test_refused_options(name, options, words):
    with pytest.raises(SpecError, match=words):
        build_estimator(name, options)


@pytest.mark.parametrize(
    ("name", "options", "K", "words"),
    [
        ("jvi", {}, [1], "jvi needs at least 2 samples, got 1"),
        ("u-statistic", {}, [8, 12], "cuts K samples into batches of 8, got 12; give a multiple, say K=16"),
        ("u-statistic", {"inner": 5}, [2], "got 2; give a multiple, say K=5"),
    ],
)
def test_refused_samples(name, options, K, words):
    with pytest.raises(SpecError, match=words):
        Plan(estimators=[build_estimator(name, options)], K=K, M=[1], draws=20)


def test_refused_samples_of_a_run(small, go, tmp_path):
    with pytest.raises(SpecError, match="batches of 8, got 12"):
        go(small(estimator={"name": "u-statistic", "K": 12}))
    assert not list(tmp_path.iterdir())


def test_the_doubly_reparameterised_one_lends_its_mean_by_its_options():
    """To the plain one of the same options, and to no other."""
    model, x = toy(points=2, perturb=0.05)
    plain, other = build_estimator("jvi", {}), build_estimator("vr-iwae", {"alpha": 0.3})

    def measured(lender):
        table = diagnose(model, x, Plan(estimators=[plain], K=[20], draws=200, seed=1, mean_from=lender)).table
        return table[(table.metric == "snr_pooled") & (table.block == "inference")].iloc[0]

    own, lent = measured(None), measured("jvi dreg=1")
    assert lent["mean_from"] == "jvi dreg=1"
    # By itself it sinks into noise.
    assert not own["value"] > own["floor"]
    assert 0 < lent["value"] < own["floor"]
    assert 0 < lent["stderr"] < 0.2 * lent["value"]
    Plan(estimators=[other], K=[4], draws=20, mean_from="vr-iwae alpha=0.3, detached=1")
    for lender, words in (
        ("vr-iwae detached=1", "has not the same mean as vr-iwae"),
        ("vr-iwea", "unknown estimator 'vr-iwea'; did you mean 'vr-iwae'"),
        ("vr-iwae alpha", "'alpha' is no list of options; write for example"),
        ("vr-iwae beta=1", "vr-iwae has no such option"),
    ):
        with pytest.raises(SpecError, match=words):
            Plan(estimators=[other], K=[4], draws=20, mean_from=lender)
