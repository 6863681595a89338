"""What a report is to show, and under which names: the choices of its user. Standard library only."""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from snrkit.errors import SpecError
from snrkit.registry import hint
from snrkit.report.escape import visible


@dataclass(frozen=True)
class Chosen:
    """Choices of what to show.

    Attributes:
        labels: (run, name) pairs: what runs are called in figures and tables; a run by its name, a pattern of names such as
            ``*-iwae-*``, or its folder.
        metrics: only these; none: all.
        baseline: what all else is compared with; empty: nothing is.
    """

    labels: tuple[tuple[str, str], ...] = ()
    metrics: tuple[str, ...] = ()
    baseline: str = ""

    @classmethod
    def of(cls, labels: Mapping[str, str] | None, metrics: Sequence[str], baseline: str | None) -> "Chosen":
        """The choices that a user made.

        Raises:
            SpecError: a name is empty, or no text.
        """
        pairs = tuple((labels or {}).items())
        for run, name in pairs:
            if not (isinstance(run, str) and isinstance(name, str) and run.strip() and name.strip()):
                raise SpecError(
                    "label", f"'{run}={name}' lacks a run or a name", "write RUN=NAME, e.g. digits-iwae=IWAE"
                )
        if isinstance(metrics, str):
            raise SpecError("metrics", f"is one text, '{metrics}'", "give a list of names")
        if baseline is not None and not str(baseline).strip():
            raise SpecError("baseline", "is empty", "name an estimator, a setting or a run, e.g. iwae")
        return cls(pairs, tuple(dict.fromkeys(metrics)), str(baseline or "").strip())

    @property
    def words(self) -> tuple[str, ...]:
        """As on the command line."""
        labels = (word for run, name in self.labels for word in ("--label", f"{run}={name}"))
        metrics = ("--metrics", ",".join(self.metrics)) if self.metrics else ()
        return (*labels, *metrics, *(("--baseline", self.baseline) if self.baseline else ()))

    def shows(self, metric: str) -> bool:
        """Whether a metric is to be shown."""
        return not self.metrics or metric in self.metrics

    def name_of(self, run: str, place: str) -> str:
        """What the user calls a run; empty if nothing.

        Args:
            run: its name.
            place: its folder, or the file that its rows are from.
        """
        return next((name for pattern, name in self.labels if is_meant(pattern, run, place)), "")

    def require_labels(self, runs: Iterable[tuple[str, str]]) -> None:
        """See to it that every label is that of a run.

        Args:
            runs: (name, place) of all.

        Raises:
            SpecError: one is not.
        """
        known = list(runs)
        for pattern, _ in self.labels:
            if not any(is_meant(pattern, run, place) for run, place in known):
                names = [run for run, _ in known]
                remedy = f"{hint(pattern, names)}runs here: {listed(names)}"
                raise SpecError("label", f"no run is called '{visible(pattern)}'", remedy)

    def require_metrics(self, known: Iterable[str]) -> None:
        """See to it that every metric is there.

        Raises:
            SpecError: one is not.
        """
        there = list(dict.fromkeys(known))
        for metric in self.metrics:
            if metric not in there:
                remedy = f"{hint(metric, there)}there are {listed(there, 30)}" if there else "evaluate or measure first"
                raise SpecError("metrics", f"nothing has the metric '{visible(metric)}'", remedy)


def is_meant(pattern: str, run: str, place: str) -> bool:
    """Whether a user's word for a run, its name, a pattern or its folder, means one.

    Args:
        pattern: the word.
        run: the run's name.
        place: its folder, or the file that its rows are from.
    """
    folder = Path(place)
    if any(name == pattern or fnmatch.fnmatchcase(name, pattern) for name in (run, folder.name)):
        return True
    return "/" in pattern and Path(pattern).resolve() == folder.resolve()


def listed(names: Iterable[str], most: int = 8) -> str:
    """Some names, and how many more there are."""
    found = [visible(name) for name in dict.fromkeys(names)]
    over = len(found) - most
    return ", ".join(found[:most]) + (f" and {over} more" if over > 0 else "")
