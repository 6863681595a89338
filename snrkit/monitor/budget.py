"""A share of the time: what measurements may take of what has passed."""

import time

from snrkit.errors import SpecError
from snrkit.specs.base import short

# What a measurement is taken to cost beside its draws before one has been made, rather too much: readings, and those of
# each coordinate; seconds.
_GUESSED, _PER_COORDINATE = 0.1, 5e-6


class Budget:
    """The accounts of a monitor, by its own clock.

    Args:
        share: of the time since ``start`` that may be spent; None: all that is asked for.
        coordinates: of the gradients, for a guess at the cost of readings.
    """

    def __init__(self, share: float | None, coordinates: int) -> None:
        if share is not None and not (isinstance(share, int | float) and 0 < share < 1):
            remedy = "give a share of the time such as 0.05, or None for no limit"
            raise SpecError("budget", f"must lie between 0 and 1, got {short(share)}", remedy)
        self._share, self._start = share, -1.0
        self._fixed, self._per_draw = _GUESSED + _PER_COORDINATE * coordinates, 0.0
        self._drawing = (0, 0.0)
        self.spent = 0.0

    def start(self) -> None:
        """Begin to count, at the first call."""
        if self._start < 0:
            self._start = time.perf_counter()

    @property
    def share(self) -> float:
        """Share of the time that was spent."""
        return self.spent / self._passed if self._passed > 0 else 0.0

    @property
    def _passed(self) -> float:
        return time.perf_counter() - self._start if self._start >= 0 else 0.0

    def fitting(self, draws: int, least: int, multiple: int) -> int:
        """How many draws fit in what has accrued: a multiple of a number, and 0 instead of fewer than the least."""
        if self._share is None:
            return draws
        left = self._share * self._passed - self.spent - self._fixed
        if left <= 0:
            return 0
        # Before a measurement nothing is known of draws: the fewest.
        fit = min(draws, int(left / self._per_draw)) if self._per_draw else least
        fit -= fit % multiple
        return fit if fit >= min(least, draws) else 0

    def learn(self, draws: int, seconds: float) -> None:
        """Take down what the draws of a measurement took, before ``spend`` takes down all of it."""
        self._drawing = draws, seconds

    def spend(self, seconds: float) -> None:
        """Take down what a measurement took."""
        self.spent += seconds
        draws, drawing = self._drawing
        if draws:
            self._per_draw, self._fixed = drawing / draws, max(0.0, seconds - drawing)
            self._drawing = (0, 0.0)
