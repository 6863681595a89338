"""Learning rate as a function of the epoch, and annealed options as one of the step."""

import math

from snrkit.specs.options import AnnealedOption
from snrkit.specs.run import OptimiserSpec

# Half the width of the S in units of its scale; it is stretched so that it begins and ends where it should.
_REACH = 5.0


def stage_of(epoch: int) -> int:
    """The stage that an epoch, counted from 0, belongs to: stage i lasts 3^i epochs (Burda et al. 2016, section 5)."""
    stage, last = 0, 1
    while epoch >= last:
        stage += 1
        last += 3**stage
    return stage


def learning_rate(spec: OptimiserSpec, epoch: int) -> float:
    """The rate during an epoch, counted from 0.

    ``burda``: stage i is trained at lr 10^(-i/7); stages 0 to 7 make 3,280 epochs, and longer runs go on in the same way.
    """
    if spec.schedule == "constant":
        return spec.lr
    rate: float = spec.lr * 10 ** (-stage_of(epoch) / 7)
    return rate


def annealed(option: AnnealedOption, step: int) -> float:
    """The value of an option at a step, counted from 0.

    With t = step/until, at most 1, the share of the way that it has gone is t, or of ``logistic`` the logistic function of
    10 (t - 1/2), stretched to go from 0 to 1.
    """
    share = 0.0 if option.until is None else min(1.0, step / option.until)
    if option.anneal == "logistic" and 0 < share < 1:
        # tanh(x/2) = 2 logistic(x) - 1
        share = 0.5 + 0.5 * math.tanh(_REACH * (share - 0.5)) / math.tanh(_REACH / 2)
    return option.stop if share == 1 else option.start + (option.stop - option.start) * share
