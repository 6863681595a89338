"""Adam for several runs at once, with its count of steps on the device: nothing is asked of the host or told to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snrkit.specs.run import OptimiserSpec
from snrkit.training.state import State
from snrkit.training.step import clipping


@dataclass(frozen=True)
class Moved:
    """What the steps of one run change, in place: tensors of equal shapes, one per trained parameter.

    Attributes:
        values: the parameters, without their graph.
        first: Adam's first moments.
        second: its second moments.
    """

    values: list[Tensor]
    first: list[Tensor]
    second: list[Tensor]

    @classmethod
    def of(cls, state: State) -> "Moved":
        """What the steps of a run change, where it lies; moments that there are not yet begin at 0."""
        values = [parameter.detach() for parameter in state.trained]
        found = cls(values, state.moments("exp_avg"), state.moments("exp_avg_sq"))
        state.live_in(found.values, found.first, found.second)
        return found


class DeviceAdam:
    """The kernel behind ``torch.optim.Adam(fused=True, maximize=True)``, which makes of the count its corrections.

    A run whose bound is not finite stands still from that step on, as if it had not been taken. The learning rates are
    constants of the step: given as tensors, the kernel would read them in float32.

    Args:
        spec: decay rates, eps and clip, of all of them.
        runs: what it moves, of one type and on one device.
        done: steps that were made before.

    Attributes:
        changed: tensors that ``step`` changes.
        rates: the learning rate of each run.
    """

    def __init__(self, spec: OptimiserSpec, runs: Sequence[Moved], done: int) -> None:
        self._spec, self._runs = spec, list(runs)
        like = self._runs[0].values[0]
        self.rates = [0.0] * len(runs)
        self._count = like.new_full((), float(done), dtype=torch.float32)
        self._halted = like.new_zeros(len(runs), dtype=torch.float32)
        mine = [tensor for run in self._runs for tensor in (*run.values, *run.first, *run.second)]
        self.changed = [*mine, self._count, self._halted]

    @torch.no_grad()
    def step(self, gradients: Sequence[Sequence[Tensor]], bounds: Tensor) -> None:
        """One ascent step of every run that has not come to a halt.

        Args:
            gradients: of each run, one per parameter, in the order of ``values``.
            bounds: of the step ``[E]``, nats.
        """
        torch.maximum(self._halted, (~torch.isfinite(bounds)).float(), out=self._halted)
        self._count.add_(1)
        fused: Any = torch._fused_adam_
        decay, decay_square = self._spec.betas
        for number, (run, own) in enumerate(zip(self._runs, gradients, strict=True)):
            fused(
                run.values, self._clipped(own, run.values), run.first, run.second, [], [self._count] * len(run.values),
                lr=self.rates[number], beta1=decay, beta2=decay_square, weight_decay=0.0, eps=self._spec.eps,
                amsgrad=False, maximize=True, grad_scale=None, found_inf=self._halted[number],
            )  # fmt: skip

    def _clipped(self, gradients: Sequence[Tensor], like: Sequence[Tensor]) -> list[Tensor]:
        """Scaled down to the spec's norm where they are longer, and laid out as the parameters are."""
        if self._spec.clip is not None:
            norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(own) for own in gradients]))
            gradients = [own * clipping(norm, self._spec.clip) for own in gradients]
        return [_laid_as(value, own) for own, value in zip(gradients, like, strict=True)]


def _laid_as(value: Tensor, gradient: Tensor) -> Tensor:
    """A gradient with the strides of its parameter, which the kernel of CUDA asks for, of axes of one element too."""
    return gradient if gradient.stride() == value.stride() else torch.empty_like(value).copy_(gradient)
