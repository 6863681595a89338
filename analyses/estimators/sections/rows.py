"""The toy with parameters of their own for every row of data: one backward pass gives the gradient of every draw."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from snrkit.core.logweights import LogWeights, Parts
from snrkit.core.objective import NETWORKS, Network, pull
from snrkit.core.streams import Streams
from snrkit.estimators.base import Estimator
from snrkit.models.base import Posterior
from snrkit.models.densities import DiagonalNormal
from snrkit.models.gaussian import PROPOSAL_VARIANCE, Gaussian

CPU = torch.device("cpu")


class UnitDensity(DiagonalNormal):
    """A proposal whose density forgets the scale of its samples and takes 1, as released code has it (facts 57b)."""

    def log_prob(self, z: Tensor) -> Tensor:
        """log N(z; loc, 1), whatever the scale."""
        return DiagonalNormal(self.loc, torch.ones_like(self.scale)).log_prob(z)


@dataclass(frozen=True)
class Toy:
    """An instance.

    Attributes:
        model: near its optimum.
        x: data ``[N, D]``.
        scale: standard deviation of the proposal.
        faulty: the proposal's density has a standard deviation of 1, its samples have ``scale``.
    """

    model: Gaussian
    x: Tensor
    scale: float = math.sqrt(PROPOSAL_VARIANCE)
    faulty: bool = False


class Rows(Gaussian):
    """``Gaussian`` with b and mu ``[rows, D]`` of their own, and A fixed.

    Args:
        toy: the instance.
        rows: how many.
    """

    def __init__(self, toy: Toy, rows: int) -> None:
        mu, A, b = (own.detach() for own in (toy.model.mu, toy.model.A, toy.model.b))
        super().__init__(mu, A, b)
        self.A.requires_grad_(False)
        self.b = nn.Parameter(b.repeat(rows, 1))
        self.mu = nn.Parameter(mu.repeat(rows, 1, 1, 1))
        self._toy = toy

    def encode(self, x: Tensor) -> DiagonalNormal:
        """Data ``[rows, D]``, or dreams ``[rows n, D]``, row after row."""
        kind = UnitDensity if self._toy.faulty else DiagonalNormal
        b = self.b if len(x) == len(self.b) else self.b.repeat_interleave(len(x) // len(self.b), dim=0)
        return kind(x @ self.A.T + b, x.new_full((1, 1), self._toy.scale))

    def kl_to_prior(self, posterior: Posterior, z: Tensor) -> Tensor:
        """Of each row from its own prior, ``[rows, 1, 1]``."""
        assert isinstance(posterior, DiagonalNormal)
        own = replace(posterior, loc=posterior.loc - self.mu[:, 0, 0])
        return super(Gaussian, self).kl_to_prior(own, z)


@dataclass
class Sums:
    """Sums over draws of one network's gradient, in blocks of draws ``[G, N, D]``."""

    total: Tensor
    squares: Tensor
    draws: int

    def of(self, kept: Sequence[int] | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Mean ``[D]`` of the gradient of the mean over points, its variance, and the variance of that mean as estimated."""
        chosen = slice(None) if kept is None else list(kept)
        n = self.draws / len(self.total) * len(self.total[chosen])
        mean = self.total[chosen].sum(dim=0) / n
        variance = (self.squares[chosen].sum(dim=0) / n - mean.square()) * n / (n - 1)
        own = variance.sum(dim=0) / len(mean) ** 2
        return mean.mean(dim=0), own, own / n


# Of an estimator by network.
Found = dict[Estimator, dict[Network, Sums]]


def moments(
    toy: Toy, estimators: Iterable[Estimator], K: int, draws: int, seed: int, *, most: int, blocks: int
) -> Found:
    """Moments of unit gradients in b and mu.

    Args:
        toy: the instance.
        estimators: all see the same samples.
        K: samples to a unit.
        draws: of each point.
        seed: root of the noise.
        most: samples held at once.
        blocks: in which sums are kept; ``draws`` is a multiple of it.
    """
    chosen = list(estimators)
    N, D = toy.x.shape
    found: Found = {}
    for estimator in chosen:
        empty = torch.zeros(blocks, N, D, dtype=torch.float64)
        found[estimator] = {network: Sums(empty.clone(), empty.clone(), draws) for network in NETWORKS}
    for block, points, x, noise in _passes(toy, K, draws, seed, most, blocks):
        for estimator, gradients in _gradients(toy, chosen, x, noise).items():
            for network, gradient in gradients.items():
                sums, own = found[estimator][network], gradient.view(-1, len(points), D)
                sums.total[block, points] += own.sum(dim=0)
                sums.squares[block, points] += own.square().sum(dim=0)
    return found


def _passes(
    toy: Toy, K: int, draws: int, seed: int, most: int, blocks: int
) -> Iterator[tuple[int, range, Tensor, Tensor]]:
    """Block, points, and data ``[r n, D]`` with noise ``[r n, 1, K, 3 D]`` of some draws of these points."""
    N, D = toy.x.shape
    width = max(1, min(N, most // K))
    at_once = max(1, most // (K * width))
    streams, count = Streams(seed), draws // blocks
    for block in range(blocks):
        for start in range(0, N, width):
            points = range(start, min(start + width, N))
            for first in range(0, count, at_once):
                r = min(at_once, count - first)
                key = (K, block, start, first)
                shape = (r * len(points), 1, K, 3 * D)
                noise = streams.normal("estimators", key, shape, dtype=torch.float64, device=CPU)
                yield block, points, toy.x[points.start : points.stop].repeat(r, 1), noise


def _gradients(
    toy: Toy, estimators: Sequence[Estimator], x: Tensor, noise: Tensor
) -> dict[Estimator, dict[Network, Tensor]]:
    """Of each row, ``[rows, D]``."""
    rows, D = x.shape
    model, parts = Rows(toy, rows), Parts()
    for estimator in estimators:
        parts |= estimator.needs.parts
    weights: LogWeights = model(x, noise if parts.sleep else noise[..., :D], parts=parts)
    wanted: dict[Network, list[Tensor]] = {"inference": [model.b], "generative": [model.mu]}

    def derive(values: Sequence[Tensor], own: Sequence[Tensor], *, retain: bool) -> Sequence[Tensor]:  # noqa: ARG001
        return torch.autograd.grad(values, own, retain_graph=True, materialize_grads=True)

    found: dict[Estimator, dict[Network, Tensor]] = {}
    for estimator in estimators:
        pulled = pull(estimator.objective.served(), weights, wanted, derive)
        # What is differentiated is the mean over rows.
        found[estimator] = {network: rows * own[0].view(rows, D) for network, own in pulled.items()}
    return found


def instance(
    dim: int,
    points: int,
    perturb: float,
    seed: int,
    *,
    kept: int | None = None,
    diagonal: bool = False,
    centred: bool = False,
) -> Toy:
    """The optimum for data from N(m, 2 I), plus noise.

    Args:
        dim: D.
        points: N, of the data that it is the optimum for.
        perturb: standard deviation of the noise on A, b and mu.
        seed: of data and noise.
        kept: the gradient is that of the first so many points; None: of all.
        diagonal: only the diagonal of A is perturbed.
        centred: m = 0; otherwise it is drawn from N(0, I).
    """
    streams = Streams(seed)

    def normal(purpose: str, *shape: int) -> Tensor:
        return streams.normal(purpose, (), shape, dtype=torch.float64, device=CPU)

    x = math.sqrt(2) * normal("data", points, dim) + (0 if centred else normal("centre", dim))
    model = Gaussian.optimum(x.mean(dim=0))
    with torch.no_grad():
        A = model.A.diagonal() if diagonal else model.A
        for name, own in (("A", A), ("b", model.b), ("mu", model.mu)):
            own.add_(perturb * normal(f"perturb {name}", *own.shape))
    return Toy(model, x[:kept])
