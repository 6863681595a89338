"""How large a model would be, found out before it is built."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from snrkit.backend.memory import available, in_words, require_memory
from snrkit.backend.shortage import shortage
from snrkit.core.streams import Streams
from snrkit.errors import ResourceError, SnrkitError

if TYPE_CHECKING:
    from snrkit.models.summary import DataSummary
    from snrkit.specs.run import ModelSpec

# No machine that runs torch lacks room for layers as wide as this.
_HARMLESS = 2000
_REMEDY = "give smaller widths (model.options) or data of fewer dimensions"


class _Blank(Streams):
    """Streams of numbers that nobody looks at."""

    def normal(
        self,
        purpose: str,  # noqa: ARG002
        index: Sequence[int],  # noqa: ARG002
        shape: Sequence[int],
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> Tensor:
        """A tensor of that shape."""
        return torch.empty(tuple(shape), dtype=dtype, device=device)


def require_model_room(build: Callable[..., nn.Module], spec: ModelSpec, data: DataSummary) -> None:
    """Find out whether a model's parameters and their gradients can fit in memory.

    Args:
        build: makes the model from options, data and streams.
        spec: its name and options.
        data: summary of the training set.

    Raises:
        ResourceError: they cannot.
        SpecError: the model cannot be built at all.
    """
    if max(_numbers([*spec.options.values(), data.mean.shape[0], len(data.words)])) <= _HARMLESS:
        return
    try:
        with torch.device("meta"):  # shapes without numbers
            sketch = build(spec.options, dataclasses.replace(data, mean=data.mean.to("meta")), _Blank(0))
    except SnrkitError:
        raise
    except Exception as error:
        if shortage(error) is not None:
            problem = f"model {spec.name} would have more parameters than {in_words(available())} of memory hold"
            raise ResourceError("model.options", problem, _REMEDY) from None
        return  # it cannot be sketched, so building it has the last word
    parameters = list(sketch.parameters())
    asked = f"model {spec.name} with {sum(parameter.numel() for parameter in parameters):,} parameters"
    require_memory("model.options", asked, 2 * sum(parameter.nbytes for parameter in parameters), _REMEDY)


def _numbers(values: Iterable[object]) -> Iterator[float]:
    """All numbers in options, lists of lists included."""
    for value in values:
        if isinstance(value, int | float):
            yield value
        elif isinstance(value, list | tuple):
            yield from _numbers(value)
