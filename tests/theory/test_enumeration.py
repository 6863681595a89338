"""Every estimator that is right for discrete latents against exact means, on a network with 32 states of z.

With three samples there are 32,768 triples, over which the mean of an estimate is a sum without noise. The truth is written
out here for each: gradients of bounds are derivatives of such sums, in the triples' probabilities too; the rest are
formulas. Then draws are held against it, which tries sampling and dreams as well.
"""

import functools
import itertools
import math

import pytest
import torch

from snrkit.core.streams import Streams
from snrkit.diagnostics.engines.base import PassSize
from snrkit.diagnostics.engines.loop import LoopEngine
from snrkit.diagnostics.engines.vmap import VmapEngine
from snrkit.diagnostics.problem import Problem
from snrkit.errors import CapabilityError
from snrkit.estimators.base import build_estimator
from snrkit.trial.needs import require
from snrkit.trial.opening import opened
from tests.support.enumeration import NETWORKS, Enumerated, network
from tests.support.estimators import EVERY, VARIANTS, title

K, DRAWS = 3, 40_000


@functools.cache
def listed(seed=1):
    return Enumerated(*network(seed), K)


@functools.cache
def works():
    """Those that are right for bits."""
    found = []
    with opened(*network(), "evaluation") as subject:
        for estimator in [*EVERY, *VARIANTS, build_estimator("ovis-tilde", {"gamma": 1})]:
            try:
                require([estimator], subject.findings)
            except CapabilityError:
                continue
            found.append(estimator)
    return found


def log_mean(log_w):
    return (torch.logsumexp(log_w, -1) - math.log(log_w.shape[-1])).squeeze()


def bound(samples=K):
    """The K-sample bound, whose samples' probabilities depend on the parameters too."""
    return lambda of: of.first(samples).mean(lambda w: log_mean(w.log_w))


def elbo(of):
    return of.mean(lambda w: w.log_w.mean(-1).squeeze())


def share(log_w):
    return log_w.exp() / log_w.exp().sum(-1, keepdim=True)


def scores(signal):
    """sum_k s_k log q(z_k) with a constant signal, whose derivative is the score's."""
    return lambda of: of.fixed(lambda w: (signal(w.log_w.detach()) * w.log_q).sum(-1).squeeze())


def mixed(s):
    return lambda of: (1 - s) * scores(share)(of) + s * of.sleep()


def ovis(gamma):
    constant = math.log(1 - 1 / K)
    return scores(lambda log_w: gamma * constant - (1 - share(log_w)).log() - (1 - gamma) * share(log_w))


def riemann(estimator, network):
    """The sum of the TVO's terms, as in its paper: E v f + Cov, with the factor K/(K - 1)."""
    inner = int(estimator.intervals) - 1
    betas = [0.0, *(estimator.first ** (1 - i / inner) for i in range(inner)), 1.0]

    def coefficient(log_w):
        total = torch.zeros_like(log_w)
        for beta, end in itertools.pairwise(betas):
            v = share(beta * log_w)
            covariance = K / (K - 1) * v * (log_w - (v * log_w).sum(-1, keepdim=True))
            # d log w = d log p - d log q, and d log of the tempered density = beta d log p + (1 - beta) d log q
            own = v + beta * covariance if network == "generative" else (1 - beta) * covariance - v * (beta > 0)
            total = total + (end - beta) * own
        return total

    if network == "inference":
        return scores(coefficient)
    return lambda of: of.fixed(lambda w: (coefficient(w.log_w.detach()) * w.log_p).sum(-1).squeeze())


def truth(estimator, network):
    """What the gradient of this network has as its mean, as a scalar function of the listed triples to differentiate."""
    name, phi = estimator.name, network == "inference"
    if name == "tvo":
        return elbo if estimator.intervals == 1 else riemann(estimator, network)
    if not phi:
        return elbo if name in ("rloo", "wake-sleep") else bound()
    return {
        "reinforce": bound(), "vimco": bound(), "ovis-mc": bound(K - int(getattr(estimator, "S", 1))), "rloo": elbo,
        "ovis-tilde": bound() if estimator == build_estimator("ovis-tilde", {}) else ovis(getattr(estimator, "gamma", 0)),
        "rws": mixed(getattr(estimator, "sleep", 0)), "wake-sleep": Enumerated.sleep,
    }[name]  # fmt: skip


@functools.cache
def exact(estimator, network, seed=1):
    of = listed(seed)
    return of.gradient(truth(estimator, network)(of))[network]


@functools.cache
def drawn(estimator, draws=DRAWS, seed=1, engine=VmapEngine, samples=K):
    """Network to gradients ``[draws, P]``."""
    model, x = network(seed)
    problem = Problem.units(model, x, samples, Streams(seed), dreams=estimator.needs.sleep)
    layout, size = problem.layout, PassSize(10_000, 10**6)
    portions = list(engine().gradients(problem, estimator, range(1), range(draws), size))
    tensors = [torch.cat(parts)[:, 0].flatten(1) for parts in zip(*portions, strict=True)]
    order = list(model.networks(x))
    by_name = dict(zip(layout.names, tensors, strict=True))
    owners = model.networks(x)
    return {n: torch.cat([by_name[name] for name in order if owners[name] == n], 1) for n in NETWORKS}


def distance(found, expected):
    """Of a mean over draws from what it should be, in standard errors: the largest of any coordinate."""
    stderr = found.std(0) / math.sqrt(len(found))
    return float(((found.mean(0) - expected).abs() / stderr).nan_to_num(0).max())


def fitting():
    return [e for e in works() if e.few_samples[0] <= K]


estimators = pytest.mark.parametrize("estimator", fitting(), ids=title)
networks = pytest.mark.parametrize("network", NETWORKS)


def test_there_is_one_for_every_name_that_is_right_for_bits():
    names = {e.name for e in works()}
    assert {e.name for e in fitting()} == names
    assert names >= {"rws", "wake-sleep", "reinforce", "vimco", "ovis-tilde", "ovis-mc", "rloo", "tvo"}


def test_what_is_listed_is_a_distribution():
    of = listed()
    assert len(of.tuples) == 32**3
    _, log_probability = of.weights()
    torch.testing.assert_close(log_probability.exp().sum(), torch.tensor(1.0, dtype=torch.float64))
    log_p, log_q = of.densities()
    ordered = [float(own.detach()) for own in (elbo(of), bound(2)(of), bound(3)(of), torch.logsumexp(log_p, 0))]
    assert ordered == sorted(ordered)
    assert float((log_q.exp() * (log_p - log_q)).sum().detach()) == pytest.approx(ordered[0], abs=1e-12)


@estimators
@networks
def test_the_mean_over_all_triples_is_the_truth(estimator, network):
    """Without noise: sum over triples of the probability times what the estimator differentiates."""
    of = listed()
    found = of.gradient(of.fixed(lambda w: estimator.objective.served([network]).popitem()[0](w)[:, 0]))[network]
    torch.testing.assert_close(found, exact(estimator, network), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    "estimator", [pytest.param(e, marks=() if e in EVERY else pytest.mark.slow, id=title(e)) for e in fitting()]
)
@networks
def test_draws_have_that_mean(estimator, network):
    assert distance(drawn(estimator)[network], exact(estimator, network)) < 5


def test_what_is_biased_is_seen_to_be():
    """The same draws of the same number, held against the gradient of the 3-sample bound."""
    target = listed().gradient(bound()(listed()))["inference"]
    for name, options in (("ovis-tilde", {"gamma": 1}), ("rws", {}), ("tvo", {})):
        assert distance(drawn(build_estimator(name, options))["inference"], target) > 20, name


@pytest.mark.slow
def test_loop_and_vmap_draw_the_same():
    for estimator in fitting():
        one, other = (drawn(estimator, 4, engine=engine) for engine in (LoopEngine, VmapEngine))
        for n in NETWORKS:
            torch.testing.assert_close(one[n], other[n], rtol=1e-10, atol=1e-12)


def test_a_path_through_bits_is_refused():
    with opened(*network(), "evaluation") as subject, pytest.raises(CapabilityError, match="choose rws, wake-sleep"):
        require([build_estimator("iwae", {})], subject.findings)


def test_and_would_be_wrong():
    """Not refused it would be read as a gradient, hundreds of standard errors away from that of its bound."""
    found = drawn(build_estimator("iwae", {}))
    target = listed().gradient(bound()(listed()))
    assert distance(found["inference"], target["inference"]) > 100
    assert distance(found["generative"], target["generative"]) < 5


@pytest.mark.slow
@estimators
@networks
def test_more_draws_of_another_network(estimator, network):
    assert distance(drawn(estimator, 200_000, seed=2)[network], exact(estimator, network, 2)) < 5


def test_the_tvo_tends_to_its_own_gradient():
    """At three samples its mean is off; unbiased at one interval only."""
    estimator = build_estimator("tvo", {"intervals": 2, "first": 0.3})
    of = listed()
    log_p, log_q = of.densities()
    log_w = log_p - log_q
    value = sum(
        (end - beta) * (torch.softmax(beta * log_w + log_q, 0) * log_w).sum() for beta, end in ((0, 0.3), (0.3, 1))
    )
    own = of.gradient(value)
    for n in NETWORKS:
        assert (exact(estimator, n) - own[n]).norm() > 0.1 * own[n].norm()


def test_the_wake_phase_points_down_the_divergence():
    of = listed()
    log_p, log_q = of.densities()
    down = of.gradient((torch.softmax(log_p, 0).detach() * log_q).sum())["inference"]
    cosine = torch.nn.functional.cosine_similarity(exact(build_estimator("rws", {}), "inference"), down, dim=0)
    assert cosine > 0.8
