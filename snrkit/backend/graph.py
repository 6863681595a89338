"""A step on a CUDA device as one captured graph, so that launching its hundreds of kernels costs one call."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

WARM_UP = 3

Step = Callable[..., Tensor]


def captured(step: Step, state: Sequence[Tensor]) -> Step:
    """The same step, replayed from a captured graph where ``state`` lies on a CUDA device; elsewhere the step itself.

    Args:
        step: takes tensors, changes ``state`` in place and returns a tensor. It must do the same kernels at every call: no
            number read back from the device, no decision on a value.
        state: what it changes.
    """
    return CapturedStep(step, state) if state[0].is_cuda else step


@dataclass(frozen=True)
class Capture:
    """A captured step.

    Attributes:
        graph: what replays it.
        inputs: tensors that it reads.
        output: the tensor that it writes.
    """

    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    output: Tensor


class CapturedStep:
    """Captures the step once for every combination of shapes, such as those of a full batch and of a smaller last one.

    Args:
        step: see ``captured``.
        state: see ``captured``.
    """

    def __init__(self, step: Step, state: Sequence[Tensor]) -> None:
        self._step, self._state = step, state
        self._captured: dict[tuple[torch.Size, ...], Capture] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """One step; the returned tensor is overwritten by the next of the same shapes."""
        shapes = tuple(tensor.shape for tensor in inputs)
        # Streams and graphs are made on the current device, which need not be that of the tensors.
        with torch.cuda.device(self._state[0].device):
            if shapes not in self._captured:
                self._captured[shapes] = self._capture(inputs)
            capture = self._captured[shapes]
            for held, given in zip(capture.inputs, inputs, strict=True):
                held.copy_(given)
            capture.graph.replay()
        return capture.output

    def _capture(self, inputs: Sequence[Tensor]) -> Capture:
        held = [tensor.clone() for tensor in inputs]
        before = [tensor.clone() for tensor in self._state]
        # Libraries set themselves up in the first calls, which a capture does not allow.
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._step(*held)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self._step(*held)
        # The capture itself ran nothing; the calls before it did.
        for tensor, old in zip(self._state, before, strict=True):
            tensor.copy_(old)
        return Capture(graph, held, output)
