"""A step on a CUDA device as one captured graph, so that launching its hundreds of kernels costs one call."""

from collections.abc import Callable, Sequence

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


class CapturedStep:
    """Captures the step at its first call. Inputs of other shapes, such as a smaller last batch, are run uncaptured.

    Args:
        step: see ``captured``.
        state: see ``captured``.
    """

    def __init__(self, step: Step, state: Sequence[Tensor]) -> None:
        self._step, self._state = step, state
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []
        self._output = state[0]

    def __call__(self, *inputs: Tensor) -> Tensor:
        """One step; the returned tensor is overwritten by the next."""
        if self._graph is None:
            self._graph = self._capture(inputs)
        if [tensor.shape for tensor in inputs] != [tensor.shape for tensor in self._inputs]:
            return self._step(*inputs)
        for held, given in zip(self._inputs, inputs, strict=True):
            held.copy_(given)
        self._graph.replay()
        return self._output

    def _capture(self, inputs: Sequence[Tensor]) -> torch.cuda.CUDAGraph:
        self._inputs = [tensor.clone() for tensor in inputs]
        before = [tensor.clone() for tensor in self._state]
        # Libraries set themselves up in the first calls, which a capture does not allow.
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._step(*self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._output = self._step(*self._inputs)
        # The capture itself ran nothing; the calls before it did.
        for tensor, old in zip(self._state, before, strict=True):
            tensor.copy_(old)
        return graph
