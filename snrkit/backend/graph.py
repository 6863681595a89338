"""A step on a CUDA device as one captured graph, so that launching its hundreds of kernels costs one call."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor

from snrkit.backend.memory import out_of_memory
from snrkit.errors import CapabilityError

WARM_UP = 3

# Takes the number of data points. It reads and changes tensors that stay where they are, and gives nothing back.
Step = Callable[[int], None]


class CapturedStep:
    """A step that is captured once for every number of data points, and replayed.

    One that cannot be captured, because it reads a number back from the device or decides on one, is called as it is.

    Args:
        step: the step. It must do the same kernels at every call with the same number.
        state: the tensors that it changes, on a CUDA device, at least one.

    Attributes:
        why_not: why it is not captured; empty where it is, or has not been tried.
    """

    def __init__(self, step: Step, state: Sequence[Tensor]) -> None:
        self._step, self._state = step, state
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self.why_not = ""

    def __call__(self, points: int) -> None:
        """One step on so many points, without waiting for it."""
        # Streams and graphs are made on the current device, which need not be that of the tensors.
        with torch.cuda.device(self._state[0].device):
            if points not in self._graphs and not self.why_not:
                self._try(points)
            if self.why_not:
                self._step(points)
            else:
                self._graphs[points].replay()

    def _try(self, points: int) -> None:
        """Capture it, or note why that cannot be; the state is as before."""
        before = [tensor.clone() for tensor in self._state]
        try:
            self._graphs[points] = self._capture(points, before)
        except (RuntimeError, CapabilityError) as error:
            # What cannot be done uncaptured either is said when it is called as it is.
            if out_of_memory(error):
                raise
            self.why_not = str(error).splitlines()[0]
        finally:
            self._restore(before)

    def _capture(self, points: int, before: Sequence[Tensor]) -> torch.cuda.CUDAGraph:
        current = torch.cuda.current_stream()
        # Libraries set themselves up in the first calls, which a capture does not allow.
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(current)
        try:
            with torch.cuda.stream(stream):
                for call in range(WARM_UP):
                    with _refusing_to_wait() if call == WARM_UP - 1 else nullcontext():
                        self._step(points)
                    # Each call begins where the step will; a counter that ran on would point past its table.
                    self._restore(before)
        finally:
            # After a call that fails too: what the others still do there must not come between the steps to come.
            current.wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # The outer block puts the stream back where a capture that fails does not.
        with torch.cuda.stream(current), torch.cuda.graph(graph):
            self._step(points)
        return graph

    def _restore(self, before: Sequence[Tensor]) -> None:
        for tensor, old in zip(self._state, before, strict=True):
            tensor.copy_(old)


@contextmanager
def _refusing_to_wait() -> Iterator[None]:
    """A block in which what waits for the device raises a RuntimeError: a capture of it would fail, less cleanly."""
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the mode may not notice everything
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)
