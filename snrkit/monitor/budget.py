"""A share of the time: what measurements may take of what has passed."""

import time
from bisect import bisect_right

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
        self._guessed = _GUESSED + _PER_COORDINATE * coordinates
        # Draws of measurements to the seconds of the whole and those of a draw.
        self._known: dict[int, tuple[float, float]] = {}
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
        left = self._share * self._passed - self.spent
        # Before a measurement nothing is known of draws: the fewest.
        counts = range(multiple, (draws if self._known else min(least, draws)) + 1, multiple)
        fit = multiple * bisect_right(counts, left, key=self._cost)
        return fit if fit >= min(least, draws) else 0

    def _cost(self, draws: int) -> float:
        """Seconds of a measurement: what they were, what lies between, and beyond that as much a draw as of the most."""
        if not self._known:
            return self._guessed
        less, more = ([d for d in self._known if d <= draws], [d for d in self._known if d >= draws])
        if not less:
            return self._known[min(more)][0]
        low, (seconds, per_draw) = max(less), self._known[max(less)]
        if more and min(more) > low:
            per_draw = (self._known[min(more)][0] - seconds) / (min(more) - low)
        return seconds + per_draw * (draws - low)

    def learn(self, draws: int, seconds: float) -> None:
        """Take down what the draws of a measurement took, before ``spend`` takes down all of it."""
        self._drawing = draws, seconds

    def spend(self, seconds: float) -> None:
        """Take down what a measurement took."""
        self.spent += seconds
        draws, drawing = self._drawing
        if draws:
            self._drawing = (0, 0.0)
            # The last is believed: more draws take no less, and fewer no more.
            for count, (took, per_draw) in self._known.items():
                self._known[count] = max(took, seconds) if count > draws else min(took, seconds), per_draw
            self._known[draws] = seconds, drawing / draws
