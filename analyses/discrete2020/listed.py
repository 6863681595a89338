"""Sigmoid belief networks whose latents can be listed: exact likelihood, bounds, and their gradients."""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from snrkit.core.logweights import LogWeights, log_mean_exp
from snrkit.core.objective import NETWORKS, Network
from snrkit.core.streams import Streams
from snrkit.estimators.base import Estimator, build_estimator
from snrkit.models.sbn import Sbn

CPU = torch.device("cpu")
Gradients = dict[Network, Tensor]


class Listed(Sbn):
    """A network, float64, whose parameters are those of ``Sbn`` as it begins, of a seed of its own."""

    def __init__(self, pixels: int, widths: tuple[int, ...], seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            super().__init__(pixels, widths)
        self.double()

    def densities(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """log p(x, z) and log q(z|x) of every state of z: data ``[B, P]`` to ``[B, S]``."""
        z = states(self.latent).expand(len(x), 1, -1, -1)
        return self.log_joint(x[:, None, None], z)[:, 0], self.encode(x).log_prob(z)[:, 0]

    def log_marginal(self, x: Tensor) -> Tensor:
        """Exact log p(x): ``[B, P]`` to ``[B]``, nats."""
        return torch.logsumexp(self.densities(x)[0], dim=-1)

    @torch.no_grad()
    def exact(self, x: Tensor) -> tuple[float, float, float]:
        """Exact means over data of log p(x), of KL(q(z|x), p(z|x)) and of KL(p(z|x), q(z|x)), nats."""
        log_p, log_q = self.densities(x)
        evidence = torch.logsumexp(log_p, dim=-1)
        posterior = log_p - evidence[:, None]
        reverse = (log_q.exp() * (log_q - posterior)).sum(dim=-1)
        forward = (posterior.exp() * (posterior - log_q)).sum(dim=-1)
        return float(evidence.mean()), float(reverse.mean()), float(forward.mean())

    def gradients(self, value: Tensor) -> Gradients:
        """Network to gradient ``[P]`` of a scalar."""
        owners, named = self.networks(torch.zeros(1, self.pixels, dtype=torch.float64)), dict(self.named_parameters())
        found = torch.autograd.grad(value, [named[name] for name in owners], materialize_grads=True)
        own = dict(zip(owners, found, strict=True))
        return {n: torch.cat([own[name].flatten() for name in owners if owners[name] == n]) for n in NETWORKS}


def states(bits: int) -> Tensor:
    """All of them, ``[2^bits, bits]``."""
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=bits)), dtype=torch.float64)


def random_network(pixels: int, widths: tuple[int, ...], scale: float, streams: Streams) -> Listed:
    """A network whose parameters are normal with that standard deviation."""
    model = Listed(pixels, widths, 0)
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            noise = streams.normal("network", (index,), parameter.shape, dtype=torch.float64, device=CPU)
            parameter.copy_(scale * noise)
    return model


def dreamt(model: Listed, count: int, streams: Streams) -> Tensor:
    """Data drawn from a network, ``[count, P]``."""
    noise = streams.normal("data", (), (count, model.dream_size), dtype=torch.float64, device=CPU)
    return model.dream(noise)[0]


class Tuples:
    """Sums over all K-tuples of latents of one data point, ``[1, P]``."""

    def __init__(self, model: Listed, x: Tensor, K: int) -> None:
        self.model, self.x = model, x
        self._index = torch.cartesian_prod(*[torch.arange(2**model.latent)] * K).view(-1, K)

    def _weights(self) -> tuple[LogWeights, Tensor]:
        log_p, log_q = (own[0][self._index][:, None, None] for own in self.model.densities(self.x))
        sleep = self._sleep().expand_as(log_q)
        return LogWeights(log_p, log_q, log_q.detach(), log_q_sleep=sleep), log_q.sum(dim=(1, 2, 3)).exp()

    def _sleep(self) -> Tensor:
        """E log q(z|x) over the model's own x and z."""
        log_p, log_q = self.model.densities(states(self.model.pixels))
        return (log_p.detach().exp() * log_q).sum()

    def bound(self, of: Callable[[Tensor], Tensor]) -> Gradients:
        """The gradient of the mean of a bound of log-weights ``[T, 1, 1, K]``, of which tuples' probabilities are part."""
        weights, probability = self._weights()
        return self.model.gradients((probability * of(weights.log_w)[:, 0]).sum())

    def mean(self, estimator: Estimator) -> Gradients:
        """The mean of an estimator's gradient, whatever it is."""
        found: Gradients = {}
        for network in NETWORKS:
            weights, probability = self._weights()
            (value,) = estimator.objective.served([network])
            found[network] = self.model.gradients((probability.detach() * value(weights)[:, 0]).sum())[network]
        return found


def k_sample(log_w: Tensor) -> Tensor:
    """The K-sample bound, ``[..., 1, K]`` to ``[...]``."""
    return log_mean_exp(log_w).mean(dim=-1)


def built(choices: list[dict[str, Any]]) -> list[Estimator]:
    """Estimators of settings such as ``{name = "vimco", geometric = 0}``."""
    return [build_estimator(own["name"], {k: v for k, v in own.items() if k != "name"}) for own in choices]
