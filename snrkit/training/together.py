"""The objectives of several runs as one, of log-weights that were computed in one batched pass."""

import dataclasses
import functools
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snrkit.core.logweights import LogWeights
from snrkit.core.objective import Needs, Network, Objective, Value, apart, both


@dataclass(frozen=True)
class Share:
    """One member's part of what is computed of all.

    Attributes:
        number: which.
        samples: its (M, K).
    """

    number: int
    samples: tuple[int, int]

    def of_values(self, values: Tensor) -> Tensor:
        """``[E, B, 1, M K]`` to the member's own ``[B, M, K]``."""
        return values[self.number].reshape(-1, *self.samples)

    def of(self, weights: LogWeights) -> LogWeights:
        """The member's own log-weights, ``[B, M, K]``."""
        return LogWeights.of({name: self.of_values(part) for name, part in weights.present().items()})


def together(shares: Sequence[Share], objectives: Sequence[Objective]) -> Objective:
    """The members' objectives as one, of weights ``[E, B, 1, M K]``: their sum, for runs share no parameter.

    Its bound is ``[E, B]``, each member's own.
    """
    owned = list(zip(shares, objectives, strict=True))

    def ascended(network: Network) -> Value:
        own = [(share, value) for share, each in owned for value in each.served([network])]
        return lambda weights: torch.stack([value(share.of(weights)) for share, value in own]).sum(dim=0)

    def bound(log_w: Tensor) -> Tensor:
        return torch.stack([each.bound(share.of_values(log_w)) for share, each in owned])

    shared = all(len(each.served()) == 1 for each in objectives)
    terms = (
        both(ascended("inference"))
        if shared
        else apart(inference=ascended("inference"), generative=ascended("generative"))
    )
    return Objective(terms, bound, _union(each.needs for each in objectives))


def _union(needs: Iterable[Needs]) -> Needs:
    """What any of them asks of the model."""
    parts = functools.reduce(operator.or_, (each.parts for each in needs))
    return Needs(**dataclasses.asdict(parts))
