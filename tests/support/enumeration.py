"""A network of bits whose latents can all be listed: exact means of estimators by sums over every K-tuple of them."""

import itertools
from functools import cached_property

import torch

from snrkit.core.logweights import LogWeights
from snrkit.models.sbn import Sbn

NETWORKS = ("inference", "generative")


def every(bits):
    """All states ``[2^bits, bits]``."""
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=bits)), dtype=torch.float64)


def network(seed=1, pixels=3, widths=(3, 2)):
    """A network far from where it begins, with as many bits as can be listed K times over; and a data point."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Sbn(pixels, widths).double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(2.5).add_(0.3 * torch.randn_like(parameter))
    return model, torch.tensor([[1.0, 0.0] * pixels][:1], dtype=torch.float64)[:, :pixels]


class Enumerated:
    """Sums over all K-tuples of latents of one data point.

    Args:
        model: the network.
        x: the data point, ``[1, P]``.
        K: importance samples; 2^(D K) tuples are listed.
    """

    def __init__(self, model, x, K):
        self.model, self.x, self.K = model, x, K

    @cached_property
    def states(self):
        return every(self.model.latent)

    def densities(self):
        """log p(x, z) and log q(z|x) of each state, with their graph."""
        z = self.states[None, None]
        return self.model.log_joint(self.x[:, None, None], z)[0, 0], self.model.encode(self.x).log_prob(z)[0, 0]

    @cached_property
    def tuples(self):
        return torch.cartesian_prod(*[torch.arange(len(self.states))] * self.K).view(-1, self.K)

    def first(self, count):
        """Tuples of so many."""
        return Enumerated(self.model, self.x, count)

    def weights(self):
        """(log-weights ``[T, 1, 1, K]`` of all tuples with their graph, log-probability ``[T]`` of each)."""
        log_p, log_q = (own[self.tuples][:, None, None] for own in self.densities())
        sleep = self.sleep().expand_as(log_q)
        return LogWeights(log_p, log_q, log_q.detach(), log_q_sleep=sleep), log_q.sum((1, 2, 3))

    def sleep(self):
        """E log q(z|x) over the model's own x and z, whose probabilities are constants."""
        x, z = every(self.model.pixels), self.states[None, None]
        z = z.expand(len(x), 1, -1, -1)
        log_p, log_q = self.model.log_joint(x[:, None, None], z)[:, 0], self.model.encode(x).log_prob(z)[:, 0]
        return (log_p.detach().exp() * log_q).sum()

    def mean(self, of):
        """E of something ``[T]`` of the log-weights of each tuple; the tuples' probabilities are differentiated too."""
        weights, log_probability = self.weights()
        return (log_probability.exp() * of(weights)).sum()

    def fixed(self, of):
        """The same with constant probabilities: the mean of what an estimator differentiates."""
        weights, log_probability = self.weights()
        return (log_probability.detach().exp() * of(weights)).sum()

    def owners(self):
        return self.model.networks(self.x)

    def gradient(self, value):
        """Network to gradient ``[P]`` of a scalar."""
        named, owners = dict(self.model.named_parameters()), self.owners()
        found = torch.autograd.grad(value, [named[name] for name in owners], allow_unused=True)
        flat = {
            name: torch.zeros_like(named[name]).flatten() if own is None else own.flatten()
            for name, own in zip(owners, found, strict=True)
        }
        return {n: torch.cat([flat[name] for name, own in owners.items() if own == n]) for n in NETWORKS}
