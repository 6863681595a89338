"""What is ascended: an objective has a term for each network, and a step is the gradients of its terms.

A term's value exists for its gradient only. It is computed within ``pull`` and never leaves it: what can be logged, plotted
or stored is the objective's bound.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor

from snrkit.core.logweights import LogWeights, Parts
from snrkit.errors import SpecError

Network = Literal["inference", "generative"]
# Which noise is behind them: one for all terms that share it, or a term's own.
NoiseKind = Literal["shared", "own"]
# Log-weights ``[..., B, M, K]`` to what is differentiated, ``[..., B]``.
Value: TypeAlias = Callable[[LogWeights], Tensor]
# What is differentiated, and the networks that it serves: one backward pass each.
Served: TypeAlias = dict[Value, tuple[Network, ...]]
Wanted: TypeAlias = Mapping[Network, Sequence[Tensor]]
Gradients: TypeAlias = dict[Network, list[Tensor]]

NETWORKS: tuple[Network, ...] = ("inference", "generative")


@dataclass(frozen=True)
class Needs:
    """What must hold for an estimator to be right.

    Attributes:
        reparameterised: z is a differentiable function of the proposal's parameters.
        path: the proposal's density is also had with its parameters held constant.
        separate_networks: no parameter is in both networks.
        least_samples: the smallest K.
        own_inference: no parameter of the inference network is in log p too; those of the generative network may well be
            in the proposal.
        prior: the model says what log p(z) is.
        kl: the KL divergence of the proposal from the prior has a closed form.
        sleep: the model draws data and latents itself.
        regenerated: the model makes z anew of its prior's parameters.
    """

    reparameterised: bool = True
    path: bool = False
    separate_networks: bool = False
    least_samples: int = 1
    own_inference: bool = False
    prior: bool = False
    kl: bool = False
    sleep: bool = False
    regenerated: bool = False

    @property
    def parts(self) -> Parts:
        """What the model is asked for."""
        return Parts(self.path, self.prior, self.kl, self.sleep, self.regenerated)


@dataclass(frozen=True)
class Term:
    """What one network ascends.

    Attributes:
        network: whose parameters are differentiated.
        value: of log-weights; its mean over data points is differentiated.
        noise: which noise is behind them.
    """

    network: Network
    value: Value
    noise: NoiseKind = "shared"


def both(value: Value) -> tuple[Term, ...]:
    """The terms of an objective whose one value serves both networks, by one backward pass."""
    return tuple(Term(network, value) for network in NETWORKS)


def apart(*, inference: Value, generative: Value) -> tuple[Term, ...]:
    """The terms of an objective with a value for each network, on the same samples."""
    return Term("inference", inference), Term("generative", generative)


@dataclass(frozen=True)
class Objective:
    """The terms that are ascended together.

    Attributes:
        terms: one for each network at most.
        bound: log-weights ``[..., B, M, K]`` to what is reported, nats, ``[..., B]``.
        needs: what must hold for it to be right.

    Raises:
        SpecError: a term is of no network, or of one that has a term already.
    """

    terms: tuple[Term, ...]
    bound: Callable[[Tensor], Tensor] = field(compare=False)
    needs: Needs = Needs()

    def __post_init__(self) -> None:
        for number, term in enumerate(self.terms):
            if term.network not in NETWORKS or term.network in [other.network for other in self.terms[:number]]:
                problem = f"{term.network!r} is {'the network of two' if term.network in NETWORKS else 'no network'}"
                raise SpecError("terms", problem, f"give one to each of {' and '.join(NETWORKS)}")

    def with_own_noise(self) -> "Objective":
        """The same, whose inference network sees samples of its own, independent of the generative network's."""
        terms = (replace(term, noise="own") if term.network == "inference" else term for term in self.terms)
        return replace(self, terms=tuple(terms))

    def served(self, networks: Collection[Network] = NETWORKS, noise: NoiseKind | None = None) -> Served:
        """What is to be differentiated for some networks, on one kind of noise or (None) any.

        Terms that share a value are one backward pass. The inference network's comes first.
        """
        found: Served = {}
        for term in sorted(self.terms, key=lambda term: NETWORKS.index(term.network)):
            if term.network in networks and noise in (None, term.noise):
                found[term.value] = (*found.get(term.value, ()), term.network)
        return found

    def noise_of(self, network: Network) -> NoiseKind:
        """The kind of noise behind what a network ascends."""
        return next((term.noise for term in self.terms if term.network == network), "shared")

    def noises(self, networks: Collection[Network] = NETWORKS) -> list[NoiseKind]:
        """The kinds of noise behind the samples of some networks, the shared one first."""
        kinds = {term.noise for term in self.terms if term.network in networks}
        return sorted(kinds, key=lambda kind: kind != "shared")


def mean_of(value: Value, weights: LogWeights) -> Tensor:
    """The mean over data points of a term's value of weights ``[..., B, M, K]``.

    Raises:
        SpecError: it does not give one number for each data point.
    """
    found = value(weights)
    require_per_point("terms", found, weights.log_w)
    return found.mean()


def require_per_point(what: str, found: Tensor, log_w: Tensor) -> None:
    """See to it that something made of log-weights ``[..., B, M, K]`` is ``[..., B]``, or ``[B]``, summed over several runs.

    Raises:
        SpecError: it is neither.
    """
    if found.shape not in (log_w.shape[:-2], log_w.shape[-3:-2]):
        problem = f"gives {list(found.shape)} of log-weights {list(log_w.shape)}"
        raise SpecError(what, problem, f"return one number for each data point, {list(log_w.shape[:-2])}")


class Derive(Protocol):
    """Derivatives of values, of which there is one here, with respect to tensors."""

    def __call__(self, values: Sequence[Tensor], wanted: Sequence[Tensor], *, retain: bool) -> Sequence[Tensor]:
        """Zeros where a tensor was not reached; ``retain`` keeps the graph for another pass."""


def _derive(values: Sequence[Tensor], wanted: Sequence[Tensor], *, retain: bool) -> Sequence[Tensor]:
    if not wanted:
        return []
    return torch.autograd.grad(values, wanted, retain_graph=retain, materialize_grads=True)


def pull(served: Served, weights: LogWeights, wanted: Wanted, derive: Derive = _derive) -> Gradients:
    """The gradients of an objective's values, each a mean over data points, by a backward pass each.

    Args:
        served: as ``Objective.served`` gives it.
        weights: log-weights ``[B, M, K]`` with their graph.
        wanted: the parameters of each network.
        derive: what differentiates.

    Returns:
        By network, ascent directions; zeros where a parameter was not reached.
    """
    values = [(mean_of(value, weights), networks) for value, networks in served.items()]
    found: Gradients = {}
    for left, (value, networks) in zip(range(len(values) - 1, -1, -1), values, strict=True):
        own = [parameter for network in networks for parameter in wanted[network]]
        gradients = iter(derive([value], own, retain=left > 0))
        found |= {network: [next(gradients) for _ in wanted[network]] for network in networks}
    return found


def step(
    objective: Objective,
    forward: Callable[[Tensor], LogWeights],
    noises: Callable[[NoiseKind], Tensor],
    wanted: Wanted,
) -> tuple[Gradients, Tensor]:
    """What one step ascends, at the present parameters: who takes it, and in which order, is the caller's.

    Args:
        objective: the objective.
        forward: noise to log-weights ``[B, M, K]`` with their graph and the parts that ``objective.needs`` names.
        noises: a kind of noise to the noise of this step.
        wanted: the parameters of the networks that take it, at least one.

    Returns:
        Gradients by network, and the objective's bound before the step, the mean over data points; with terms on noise of
        their own the bound is that on the shared noise, if any is wanted.
    """
    found: Gradients = {}
    bounds: list[Tensor] = []
    for kind in objective.noises(wanted):
        weights = forward(noises(kind))
        found |= pull(objective.served(wanted, kind), weights, wanted)
        bounds.append(objective.bound(weights.log_w.detach()).mean(dim=-1))
    return found, bounds[0]
