"""A budget of T = M K samples per data point: the ways to spend it, and the largest that can be afforded."""

import math
import reprlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snrkit.backend.memory import require_memory
from snrkit.core.batches import Batch, points, take
from snrkit.errors import ResourceError, ResultsError, SpecError
from snrkit.estimators.base import Estimator, build_estimator
from snrkit.evaluation.cost import step_seconds
from snrkit.files import read_json, write_json
from snrkit.models.base import LatentModel

# Trial divisors up to its root take a tenth of a second.
LARGEST_BUDGET = 10**12
MOST_SETTINGS = 300

# Averages over all M K samples, however they are grouped.
_AVERAGES = ("vae", "vae-analytic", "vae-annealed", "wake-sleep")

# With one importance sample their gradient is that of vae.
_VAE_AT_ONE = ("iwae", "miwae", "ciwae")

Setting = tuple[Estimator, int, int]


def settings(budget: int, estimators: Sequence[Estimator]) -> list[Setting]:
    """Every way to spend ``budget`` samples, without repetitions of the same gradient.

    Raises:
        SpecError: the budget is smaller than 1, or can be spent in more ways than are measured.
    """
    if not 1 <= budget <= LARGEST_BUDGET:
        problem = f"must be at least 1 and at most {LARGEST_BUDGET:,}, got {reprlib.repr(budget)}"
        raise SpecError("budget", problem, "give the samples per data point, e.g. 64")
    averaged = any(estimator.name == "vae" for estimator in estimators)
    # One table of (M, K) for all.
    splits = [(budget // K, K) for K in divisors(budget) if all(_works(estimator, K) for estimator in estimators)]
    found: list[Setting] = []
    for estimator in estimators:
        if estimator.name in _AVERAGES:
            found += [(estimator, M, K) for M, K in splits if budget == K]
        else:
            # At M = 1 piwae is iwae.
            own = [(M, K) for M, K in splits if estimator.name != "piwae" or M > 1]
            known = averaged and estimator.name in _VAE_AT_ONE
            found += [(estimator, M, K) for M, K in own if not known or K > 1]
    if len(found) > MOST_SETTINGS:
        problem = f"{budget:,} can be spent in {len(found)} ways, and at most {MOST_SETTINGS} are measured"
        raise SpecError("budget", problem, "give one with fewer divisors, such as a power of 2, or fewer `estimators`")
    return found


def same_by_definition(setting: Setting, estimators: Sequence[Estimator]) -> list[Setting]:
    """The settings that ``settings`` left out since a given one has the same gradient."""
    estimator, M, K = setting
    if estimator.name != "vae":
        return []
    return [(other, M * K, 1) for other in estimators if other.name in _VAE_AT_ONE and _works(other, 1)]


def _works(estimator: Estimator, K: int) -> bool:
    try:
        estimator.require_samples(K)
    except SpecError:
        return False
    return True


def divisors(number: int) -> list[int]:
    """All divisors of a number, ascending."""
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return small + [number // d for d in reversed(small) if d * d != number]


def affordable(model: LatentModel, x: Tensor, seconds: float) -> int:
    """The largest power of two of samples per data point whose iwae step takes at most ``seconds``, and fits in memory.

    Raises:
        SpecError: one sample takes longer.
    """
    if not isinstance(seconds, Real) or not math.isfinite(seconds):
        raise SpecError("seconds", f"is no length of time: {seconds!r}", "give what a step may take, e.g. 0.1")
    iwae = build_estimator("iwae", {})
    budget = 1
    if step_seconds(model, iwae, x, 1, budget) > seconds:
        raise SpecError("seconds", f"one sample takes longer than {seconds:g} s per step", "allow more")
    with suppress(ResourceError):
        while step_seconds(model, iwae, x, 1, _fitting(model, x, 2 * budget)) <= seconds:
            budget *= 2
    return budget


def _fitting(model: LatentModel, x: Tensor, budget: int) -> int:
    """The budget, if a step with it can fit in memory.

    Raises:
        ResourceError: it cannot.
    """
    require_step_room(model, x, budget)
    return budget


def require_step_room(model: LatentModel, batch: Batch, budget: int) -> None:
    """Find out before the draws whether a training step, which will be timed, can fit in memory.

    Raises:
        ResourceError: its noise and latents alone cannot.
    """
    first = next(model.parameters())
    numbers = points(batch) * budget * math.prod(model.noise_shape(take(batch, slice(0, 1))))
    asked = f"training steps on {points(batch)} data points with {budget:,} samples each"
    if not first.is_cuda:
        require_memory("budget", asked, 2 * numbers * first.element_size(), "give a smaller budget")


@dataclass(frozen=True)
class Begun:
    """The budget that was found affordable for advice on a run, kept until the advice is.

    Timed again, it might come out otherwise, and what was drawn for it would be lost.

    Attributes:
        file: where it is kept.
        about: what it depends on, beside how fast the machine is.
    """

    file: Path
    about: Mapping[str, Any]

    def affordable(self, model: LatentModel, x: Tensor, seconds: float) -> int:
        """See ``affordable``; that of an interrupted call, if there is one.

        Raises:
            SpecError: one sample takes longer.
            OutputError: it cannot be kept.
        """
        total = self._known()
        if total is None:
            total = affordable(model, x, seconds)
            write_json(self.file, {**self.about, "budget": total})
        return total

    def _known(self) -> int | None:
        try:
            found = read_json(self.file)
            budget = int(found.pop("budget"))
            return budget if budget >= 1 and found == self.about else None
        except (ResultsError, AttributeError, KeyError, TypeError, ValueError):
            return None

    def forget(self) -> None:
        """It is needed no more."""
        self.file.unlink(missing_ok=True)
        with suppress(OSError):  # blocks of another measurement are beside it, or nothing was kept
            self.file.parent.rmdir()


def cost_batch(x: Tensor, size: int) -> Tensor:
    """A minibatch of ``size`` points for timing, repeating those of x."""
    return x[torch.arange(size, device=x.device) % len(x)]
