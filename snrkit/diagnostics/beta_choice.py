"""Which beta of a curve has the highest SNR, and when that misleads."""

from collections.abc import Sequence

import numpy as np

from snrkit.diagnostics.intervals import Interval, jackknife_stderr
from snrkit.diagnostics.metrics.base import Reading

_ALIGNED = 0.9


def best(squares: dict[float, Reading]) -> tuple[float, tuple[float, float]]:
    """The beta of the highest snr_pooled^2, and the range of those within two standard errors of it, compared in pairs."""
    highest = max(squares, key=lambda beta: squares[beta].interval.value)
    top = squares[highest]
    if not top.interval.low > 0:
        return float("nan"), (min(squares), max(squares))
    near = [
        beta
        for beta, own in squares.items()
        if top.interval.value - own.interval.value <= 2 * float(jackknife_stderr(top.replicates - own.replicates))
    ]
    return highest, (min(near), max(near))


def dip(squares: dict[float, Reading]) -> float | None:
    """The beta of the lowest snr_pooled^2 of those that lie clearly below both a lower and a higher beta, if any."""

    def below(beta: float, others: Sequence[float]) -> bool:
        own = squares[beta]
        return any(
            squares[other].interval.value - own.interval.value
            > 2 * float(jackknife_stderr(squares[other].replicates - own.replicates))
            for other in others
        )

    betas = sorted(squares)
    dips = [beta for i, beta in enumerate(betas) if below(beta, betas[:i]) and below(beta, betas[i + 1 :])]
    return min(dips, key=lambda beta: squares[beta].interval.value, default=None)


def shape(dip: float | None, angle: Interval, vanishing: Interval) -> list[str]:
    """What lies between the two ends, where it is certain.

    Args:
        dip: where the SNR dips, if it does.
        angle: cosine between the two mean gradients.
        vanishing: where the norm of E[g] is smallest.
    """
    found = []
    if angle.high < 0:
        found.append(
            f"the two mean gradients oppose each other (cosine {angle.value:.2f} ± {angle.stderr:.2f}): E[g] is smallest at "
            f"beta = {vanishing.value:.2f} ± {vanishing.stderr:.2f}"
        )
    if dip is not None:
        found.append(f"the SNR dips around beta = {dip:g}, to less than at a lower and a higher beta")
    return found


def remarks(best: float, told_apart: tuple[float, float], cosines: dict[float, Interval]) -> list[str]:
    """How far the choice can be trusted.

    Args:
        best: the beta of the highest SNR; NaN where none shows a signal.
        told_apart: the range of those that these draws do not tell from it.
        cosines: of each beta, between its mean gradient and that of the K-sample bound.
    """
    if np.isnan(best):
        return ["no beta shows a signal above noise: more draws are needed before one can be chosen"]
    found = []
    low, high = told_apart
    if low < high:
        found.append(f"beta from {low:g} to {high:g} cannot be told from the best with these draws")
    cosine = cosines[best]
    if not (cosine.low >= _ALIGNED or cosine.high < _ALIGNED):
        found.append(
            "the mean gradient of the K-sample bound is not resolved well enough with these draws to say how far beta "
            "turns the direction"
        )
    elif cosine.high < _ALIGNED:
        found.append(
            f"at beta = {best:g} the mean gradient points elsewhere than that of the K-sample bound (cosine "
            f"{cosine.value:.2f} ± {cosine.stderr:.2f}): a clear signal, but for a looser bound"
        )
    return found
