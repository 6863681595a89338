"""Two estimates of the gradient of E_q(w) log p(y|x, w): through the draw, and by the score of its density."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snrkit.core import bounds
from snrkit.core.logweights import LogWeights
from snrkit.core.objective import Needs, Term, both
from snrkit.estimators.base import Estimator, Theory, Units, outer_units


class LikelihoodGradient(Estimator):
    """What both have in common: log-weights in, log p(y|x, w) differentiated."""

    def bound(self, log_w: Tensor) -> Tensor:
        """Mean of log w."""
        return bounds.elbo(log_w)

    def units(self, M: int, K: int) -> tuple[Units, Units]:
        """M K units of one sample."""
        return outer_units(self, M * K, 1)

    @property
    def theory(self) -> Theory:
        """A mean of M K independent samples."""
        return Theory((0.5, 0.5), (0.5, 0.5), "the expected log-likelihood", "Kingma & Welling 2014")


@dataclass(frozen=True)
class Pathwise(LikelihoodGradient):
    """grad log p(y|x, w(noise, parameters))."""

    name: ClassVar[str] = "pathwise"

    def terms(self) -> tuple[Term, ...]:
        """The log-likelihood, differentiated through the draw."""
        return both(_likelihood)


@dataclass(frozen=True)
class Score(LikelihoodGradient):
    """log p(y|x, w) grad log q(w) at fixed w, without a baseline."""

    name: ClassVar[str] = "score"
    needs: ClassVar[Needs] = Needs(path=True)

    def terms(self) -> tuple[Term, ...]:
        """log q less itself with constant parameters is zero, and its gradient is the score: the path cancels."""
        return both(_score)


def _likelihood(weights: LogWeights) -> Tensor:
    return bounds.elbo(weights.log_p)


def _score(weights: LogWeights) -> Tensor:
    assert weights.log_q_path is not None
    return bounds.elbo(weights.log_p.detach() * (weights.log_q - weights.log_q_path))
