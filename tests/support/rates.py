"""Rates of the SNR in M and K, fitted on the Gaussian toy close to the optimum, where theory holds.

The proposal's mean is a little off, the prior's far off, so that the generative network has a signal at once. Rates are
fitted over 100 to 1000 samples; there statistics of 1,500 instances of the toy find them within 0.03 of the first term of
the expansion, which is what ``ALLOWED`` is for. All else is standard errors.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch

from snrkit.core.logweights import LogWeights, Parts
from snrkit.diagnostics.intervals import delete_one, jackknife_stderr
from snrkit.diagnostics.slopes import fit
from snrkit.estimators import ESTIMATORS
from snrkit.estimators.base import build_estimator
from snrkit.models.gaussian import Gaussian
from tests.support.gradients import value_of
from tests.zoo import numbers

DIM, POINTS, DRAWS, G = 5, 2, 400, 20
# (M, K) of each fit; together never more than MOST samples, which are the same for all.
AXES = {"M": ((1, 100), (3, 100), (10, 100)), "K": ((1, 100), (1, 300), (1, 1000))}
MOST, ALLOWED, WIDEST = 1000, 0.03, 0.05
NETWORKS = ("inference", "generative")
EVERYTHING = Parts(path=True, prior=True, kl=True, sleep=True, regenerated=True)
# By name the options with which it is fitted, where its own do not fit these K or another choice has other rates.
_OPTIONS = {
    "u-statistic": [{"inner": 2}],
    "vr-iwae": [{}, {"detached": 1}],
    "jvi": [{}, {"dreg": 1}],
    "rws": [{}, {"sleep": 0.3}],
    "ovis-tilde": [{}, {"gamma": 1}],
    "vimco": [{}, {"geometric": 0}],
}
EVERY = [build_estimator(name, options) for name in ESTIMATORS.names for options in _OPTIONS.get(name, [{}])]


@dataclass(frozen=True)
class Rate:
    """A fitted exponent."""

    value: float
    stderr: float

    def is_told(self, declared):
        """Whether it is what was declared, as far as this can be told; what is too wide tells nothing."""
        return self.stderr < WIDEST and abs(self.value - declared) <= ALLOWED + 4 * self.stderr


@functools.cache
def toy():
    """Everything about the samples, at once: of each part by name its value ``[R N, MOST]``, derivatives in b and mu.

    Also in c, a shift of the likelihood p(x|z) = N(x; z + c, I) that is 0. A derivative is ``[R N, MOST, D]``, or None where
    there is none. b moves z and nothing else, since A is fixed: log q does not depend on it, log q with detached parameters
    does.
    """
    x = 1.4 * numbers(1, POINTS, DIM)
    model = Gaussian.optimum(x.mean(0) + 0.5 * numbers(2, DIM))
    with torch.no_grad():
        model.b.add_(0.03 * numbers(3, DIM))
    x = x.repeat(DRAWS, 1)
    noise = numbers(4, DRAWS * POINTS, 1, MOST, DIM)
    dream = numbers(5, DRAWS * POINTS, 1, MOST, model.dream_size)
    with torch.no_grad():
        weights = model(x, torch.cat([noise, dream], dim=-1), parts=EVERYTHING)
        loc, scale = model.encode(x).loc[:, None], model.encode(x).scale
        z, (dreamt, z_dreamt) = model.encode(x).sample(noise).squeeze(1), (own.squeeze(1) for own in model.dream(dream))
        prior, lik = z - model.mu, x[:, None] - z  # minus the derivatives of log p(z) and of log p(x|z) in z, and plus
        path = -noise.squeeze(1) / scale
        moved = {
            "log_p": (lik - prior, prior, lik),
            "log_q": (None, None, None),
            "log_q_path": (path, None, None),
            "log_prior": (-prior, prior, None),
            "kl": ((loc - model.mu).expand_as(z), (model.mu - loc).expand_as(z), None),
            "log_q_sleep": ((z_dreamt - dreamt @ model.A.T - model.b) / scale**2, None, None),
            "log_lik_again": (None, lik, None),
            "log_w_again": (None, lik - prior - path, None),
        }
    return {name: part.squeeze(1) for name, part in weights.present().items()}, moved


@functools.cache
def gradients(estimator, M, K, groups=1):
    """Gradients ``[R N groups, D]`` in b (inference) and mu (generative), by the chain rule through parts of log-weights."""
    values, moved = toy()
    own = {name: _cut(part, M * K, groups).reshape(-1, M, K).clone().requires_grad_() for name, part in values.items()}
    found = {}
    for network in NETWORKS:
        # With the KL in closed form mu has no noise at all.
        place = 0 if network == "inference" else 2 if estimator.needs.kl else 1
        value = value_of(estimator, LogWeights.of(own), network) * len(own["log_p"])
        in_parts = torch.autograd.grad(value, list(own.values()), retain_graph=True, allow_unused=True)
        total = torch.zeros(DRAWS * POINTS * groups, DIM, dtype=torch.float64)
        for name, part in zip(own, in_parts, strict=True):
            along = moved[name][place]
            if part is not None and along is not None:
                total += (part.reshape(len(part), 1, M * K) @ _cut(along, M * K, groups))[:, 0]
        found[network] = total
    return found


def _cut(part, samples, groups):
    """``[R N, MOST, ...]`` to ``[R N groups, samples, ...]``, of the first samples."""
    return part[:, : samples * groups].reshape(-1, samples, *part.shape[2:])


def moments(gradient):
    """Mean and variance ``[1 + G, D]`` of the mean over data points, and draws, by all of them and by all blocks but one."""
    blocks = gradient.view(G, DRAWS // G, POINTS, DIM).numpy()
    rows = np.concatenate([np.ones((1, G)), delete_one(G)])
    draws = (rows.sum(1) * (DRAWS // G))[:, None, None]
    mean = np.einsum("rg,gnd->rnd", rows, blocks.sum(1)) / draws
    square = np.einsum("rg,gnd->rnd", rows, np.square(blocks).sum(1)) / draws
    variance = (square - mean**2) * draws / (draws - 1)
    return mean.mean(1), variance.sum(1) / POINTS**2, draws[:, 0]


def name_of(estimator):
    """Its name with its options, for a test's."""
    return " ".join(filter(None, (estimator.name, estimator.describe())))


def lender(estimator, network):
    """Whose mean to take: that of an estimator with the same one, where its own sinks into noise as K grows."""
    if rates(estimator.theory, network)["K"] >= 0:
        return estimator
    index = NETWORKS.index(network)
    unit = estimator.units(1, MOST)[index].estimator
    bound = unit.same_bound or unit
    lenders = [
        other for other in EVERY
        if other.same_bound == bound and other.unbiased[index] and rates(other.theory, network)["K"] > 0
    ]  # fmt: skip
    return lenders[0] if lenders else estimator


def rates(theory, network):
    return dict(zip("MK", theory.phi if network == "inference" else theory.theta, strict=True))


@functools.cache
def fitted(estimator, network, axis):
    """The exponent of the pooled SNR; the squares are debiased as those of the package's tables are."""
    squares = []
    for M, K in AXES[axis]:
        _, variance, draws = moments(gradients(estimator, M, K)[network])
        mean, noise, _ = moments(gradients(lender(estimator, network), M, K)[network])
        squares.append((mean**2 - noise / draws).sum(-1) / variance.sum(-1))
    squares = np.stack(squares, axis=1)  # [1 + G, 3]
    assert squares.min() > 0, "no signal: draw more, or let another estimator lend its mean"
    along = np.log([M * K for M, K in AXES[axis]])
    slopes = fit(along, 0.5 * np.log(squares), np.ones(len(along)))
    return Rate(float(slopes[0]), float(jackknife_stderr(slopes[1:])))


def mistaken(estimator, theory):
    """(network, axis, fitted, declared) of each rate that is not what a theory says."""
    cases = [(network, axis) for network in NETWORKS for axis in "MK"]
    found = [(*case, fitted(estimator, *case), rates(theory, case[0])[case[1]]) for case in cases]
    return [case for case in found if not case[2].is_told(case[3])]
