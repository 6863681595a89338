"""What a monitor measures, whatever it is, and parameters that are frozen for a while."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from torch import Tensor

from snrkit.diagnostics.tables import Provenance


class Result(Protocol):
    """What one measurement gave: ``Measurement`` and ``LossMeasurement`` are such."""

    @property
    def table(self) -> pd.DataFrame:
        """The tidy table."""

    @property
    def remarks(self) -> list[str]:
        """What a user should know, in sentences."""

    @property
    def drawing_seconds(self) -> float:
        """Time that grows with the draws."""

    def save(self, path: Path) -> Path:
        """Add the rows to a Parquet file, and to those that go beside it."""


class Objective(Protocol):
    """What is measured at every so many steps.

    Attributes:
        draws: gradient draws asked for.
        multiple: what a number of draws has to be a multiple of.
    """

    draws: int
    multiple: int

    @property
    def coordinates(self) -> int:
        """Of all its gradients together."""

    @property
    def told(self) -> Sequence[str]:
        """The blocks whose readings a writer is told."""

    def measured(self, draws: int, batch: Any, about: Provenance) -> Result:
        """Measure the parameters as they are now.

        Args:
            draws: gradient draws, at most those asked for.
            batch: data of this time; None: those that the monitor was given.
            about: labels for the table.

        Raises:
            SnrkitError: as for ``measure_loss`` or ``measure``.
        """


@contextmanager
def requiring(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Within the block the tensors require a gradient, also those that do not just now."""
    frozen = [tensor for tensor in tensors if not tensor.requires_grad]
    try:
        for tensor in frozen:
            tensor.requires_grad_(True)
        yield
    finally:
        for tensor in frozen:
            tensor.requires_grad_(False)
