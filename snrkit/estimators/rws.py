"""RWS: reweighted wake-sleep, whose inference network descends KL(p, q)."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from snrkit.core.logweights import LogWeights, normalised
from snrkit.core.objective import Needs, Term, apart
from snrkit.estimators.base import Theory, option
from snrkit.estimators.score import SCORE, ScoreFunction, dreamt, scored


@dataclass(frozen=True)
class Rws(ScoreFunction):
    """phi: (1 - s) sum_k w~_k h_k + s (mean of grad log q at dreams); theta: as iwae (Bornschein & Bengio 2015).

    h_k is the score. The wake phase tends to -grad KL(p(z|x), q(z|x)) as K grows, with a bias of order 1/K; the sleep phase
    is that of wake-sleep, at samples (x, z) of the model. For the K-sample bound phi is biased.

    Attributes:
        sleep: s, the share of the sleep phase; 0: wake-wake.
    """

    name: ClassVar[str] = "rws"
    unbiased: ClassVar[tuple[bool, bool]] = (False, True)
    sleep: float = option(0.0, low=0, high=1)

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """Dreams, unless there is no sleep."""
        return replace(SCORE, sleep=self.sleep != 0)

    def signal(self, log_w: Tensor) -> Tensor:
        """Of the wake phase: w~_k."""
        return normalised(log_w)

    def terms(self) -> tuple[Term, ...]:
        """Each network its own, on the same samples; dreams for the inference network only."""
        return apart(inference=self._mixed, generative=self.own_bound)

    def _mixed(self, weights: LogWeights) -> Tensor:
        wake = scored(self.signal(weights.log_w.detach()), weights)
        return (1 - self.sleep) * wake + self.sleep * dreamt(weights) if self.sleep else wake

    @property
    def theory(self) -> Theory:
        """SNR ~ (M K)^(1/2) in both networks."""
        bound = "phi: nothing (tends to -KL(p, q)); theta: the K-sample bound"
        return Theory((0.5, 0.5), (0.5, 0.5), bound, "Bornschein & Bengio 2015; the rate is derived here")
