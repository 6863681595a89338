"""A small model of bits of which all is exact: sums over its latent states, its data and every K-tuple of samples.

Gradients are ascent directions, by network (``inference``, ``generative``), a list of tensors in the order of
``parameters_of``. One data point x ``[1, P]`` at a time, unless another shape is given.
"""

import itertools
import math

import torch

from snrkit.core.logweights import LogWeights
from snrkit.core.objective import NETWORKS
from snrkit.core.streams import Streams
from snrkit.diagnostics.engines.base import PassSize
from snrkit.diagnostics.engines.vmap import VmapEngine
from snrkit.diagnostics.problem import Problem
from snrkit.models.base import parameters_of
from snrkit.models.sbn import Sbn
from tests.zoo import numbers


def small(seed=1, pixels=3, widths=(3, 2)):
    """An sbn of 2^5 latent states and 2^3 data, float64, with log-odds of a few units."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Sbn(pixels, widths).double()
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            parameter.mul_(2.5).add_(0.3 * numbers(seed + index, *parameter.shape))
    return model


def point():
    """A data point of it, ``[1, 3]``."""
    return torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64)


def states(width):
    """All vectors of so many bits, ``[2^width, width]``."""
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=width)), dtype=torch.float64)


def of_states(model, x):
    """Log-weights ``[B, 1, S]`` of all S latent states, with their graph, for data ``[B, P]``."""
    z = states(sum(model.widths)).expand(len(x), 1, -1, -1)
    log_q = model.encode(x).log_prob(z)
    return LogWeights(model.log_joint(x[:, None, None], z), log_q, log_q.detach(), model.log_prior(z))


def log_likelihood(model, x):
    """log p(x), ``[B]``."""
    return of_states(model, x).log_p.logsumexp(-1)[:, 0]


def of_tuples(model, x, K):
    """Log-weights ``[S^K, 1, K]`` of all K-tuples of states, where data points usually stand, and log q of each tuple.

    ``log_q_sleep`` is its mean everywhere: what is linear in it has the right mean.
    """
    alone = of_states(model, x)
    index = torch.tensor(list(itertools.product(range(alone.log_p.shape[-1]), repeat=K)))
    parts = {name: part[0, 0][index][:, None] for name, part in alone.present().items()}
    weights = LogWeights(**parts, log_q_sleep=sleep(model).expand(len(index), 1, K))
    return weights, weights.log_q.sum((1, 2))


def bound(model, x, K):
    """L_K, a scalar, with all its dependence on the parameters; K = 1: the ELBO."""
    weights, log_q = of_tuples(model, x, K)
    return (log_q.exp() * (weights.log_w.logsumexp(-1)[:, 0] - math.log(K))).sum()


def sleep(model):
    """The mean of log q(z|x) over the (x, z) of the model, a scalar, differentiable in q alone."""
    x = states(model.pixels)
    weights = of_states(model, x)
    return (weights.log_p.detach().exp() * weights.log_q).sum()


def parameters(model, x):
    """By network."""
    networks = model.networks(x)
    return {
        network: [own for name, own in parameters_of(model).items() if networks[name] == network]
        for network in NETWORKS
    }


def gradients_of(value, model, x):
    """Of a scalar, by network."""
    return {
        network: torch.autograd.grad(value, own, retain_graph=True, materialize_grads=True)
        for network, own in parameters(model, x).items()
    }


def mean_gradients(estimator, model, x, K):
    """The exact means of an estimator's gradients at M = 1, by network: of a biased one its own."""
    weights, log_q = of_tuples(model, x, K)
    found = {}
    for value, networks in estimator.objective.served().items():
        mean = (log_q.detach().exp() * value(weights)).sum()
        found |= {network: gradients_of(mean, model, x)[network] for network in networks}
    return found


def drawn_gradients(estimator, model, x, K, draws, seed=0):
    """Unit draws of an estimator's gradients by vmap, by network, ``[draws, n]`` of all its parameters in a row."""
    problem = Problem.units(model, x, K, Streams(seed), dreams=estimator.needs.sleep)
    parts = VmapEngine().gradients(problem, estimator, range(1), range(draws), PassSize(500, 10**6))
    each = [torch.cat(tensors) for tensors in zip(*([t[:, 0].flatten(1) for t in part] for part in parts), strict=True)]
    by_name = dict(zip(problem.layout.names, each, strict=True))
    networks = model.networks(x)
    return {
        network: torch.cat([by_name[name] for name in parameters_of(model) if networks[name] == network], 1)
        for network in NETWORKS
    }


def distances(found, expected):
    """Standard errors between the mean of draws ``[draws, n]`` and gradients that are expected, ``[n]``.

    A coordinate that never varies is 0 if it is right, else infinite.
    """
    flat = torch.cat([gradient.flatten() for gradient in expected])
    stderr = found.std(0) / math.sqrt(len(found))
    gap = found.mean(0) - flat
    return torch.where(stderr > 0, gap / stderr, torch.where(gap.abs() < 1e-12, 0.0, torch.inf))
