"""Losses as what a monitor measures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from snrkit.diagnostics.tables import Provenance
from snrkit.losses.asked import Asked
from snrkit.losses.measure import LossMeasurement, carried_out
from snrkit.losses.parameters import trained
from snrkit.losses.trial import Found
from snrkit.monitor.objectives import requiring


class Losses:
    """Losses, on the parameters that are trained by the time.

    Args:
        asked: what is asked of them.
        groups: as for ``measure_loss``, none of them an iterator.
    """

    def __init__(self, asked: Asked, groups: Mapping[str, Any] | None) -> None:
        self._asked, self._groups = asked, groups
        self._known: dict[str, Found] = {}
        self.draws, self.multiple = asked.draws, asked.repeats

    @property
    def coordinates(self) -> int:
        """Of the gradients of all losses."""
        return self._asked.trained.layout.size * len(self._asked.losses)

    @property
    def told(self) -> Sequence[str]:
        """All, and the groups."""
        return ["all", *self._asked.trained.groups]

    def measured(self, draws: int, batch: Any, about: Provenance) -> LossMeasurement:
        """See ``Objective``."""
        self._look_again()
        what = replace(self._asked, draws=draws)
        what = what if batch is None else replace(what, batch=batch, redrawn=False, repeats=1)
        with requiring(what.trained.tensors):
            found = carried_out(what, provenance=about, known=self._known)
        self._known = found.found
        return found

    def _look_again(self) -> None:
        """See which parameters there are by now."""
        before = self._asked.trained
        with requiring(before.tensors):
            now = trained(before.given, self._groups)
        if list(map(id, now.tensors)) != list(map(id, before.tensors)):
            self._asked, self._known = replace(self._asked, trained=now), {}


def kept(groups: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Groups that can be looked at again and again, also those that were given as iterators."""
    if not isinstance(groups, Mapping):
        return groups
    return {name: list(part) if isinstance(part, Iterator) else part for name, part in groups.items()}
