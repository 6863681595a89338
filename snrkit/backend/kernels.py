"""Linear layers and their gradients by the faster of the processor's two matrix libraries.

On a CPU torch multiplies matrices with MKL, which keeps to narrow vectors on processors of other makers than its own, and
convolves with oneDNN, which does not. Both compute the same sums in another order. The kind of machine decides, and no
stopwatch: two processes on one machine would choose apart where others are at work on it, and give other last bits. What a
run began with it keeps (``using``), so that it goes on to the same bits elsewhere. CUDA tensors and other types than float32
always take torch's own way.
"""

import functools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from snrkit.backend.processor import maker

# Below these sizes the calls themselves cost more than the arithmetic saves.
_FEWEST_ROWS, _FEWEST_WEIGHTS = 30, 10_000
_LARGE_PRODUCT = 4_500_000
# Vectors of this width oneDNN takes on any processor, and there it is twice as fast as MKL on another maker's
# (analyses/speed); with narrower ones both are alike.
_WIDE = "AVX512"
_OF_MKL = "GenuineIntel"
LIBRARIES = ("torch", "onednn")
# What is used instead of the faster one, the innermost block's last.
_kept: list[str] = []


def chosen(dtype: torch.dtype, device: torch.device) -> str:
    """The library that products of this kind take: one of ``LIBRARIES``, or empty where there is no choice."""
    if dtype != torch.float32 or device.type != "cpu":
        return ""
    return (_kept[-1] if _kept else "") or LIBRARIES[_onednn_is_faster()]


@contextmanager
def using(library: str) -> Iterator[None]:
    """Within the block products take a library that ``chosen`` once gave, where this machine has it; empty: as outside."""
    outside = _kept[-1] if _kept else ""
    _kept.append("torch" if library == "onednn" and not has_onednn() else library or outside)
    try:
        yield
    finally:
        _kept.pop()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x ``[n, in]``, weight ``[out, in]`` to ``[n, out]``, without a graph."""
    if _worth_it(x, weight.numel()):
        return _onednn(x, weight, bias)
    return functional.linear(x, weight, bias)


def outer_sum(a: Tensor, d: Tensor) -> Tensor:
    """Sum over rows of the outer products of ``[n, in]`` and ``[n, out]``: ``[in, out]``, without a graph."""
    if _worth_it(a, a.shape[1] * d.shape[1]):
        return _onednn(a.T, d.T, None)
    return a.T @ d


def outer_sums_batch(rows: int, fan_in: int, fan_out: int, like: Tensor) -> bool:
    """Whether many ``outer_sum`` of this size go faster as one batched product than one by one."""
    # Measured on layers of 200 x 50, 200 x 200 and 200 x 784: single calls win where the product is large enough.
    return rows * fan_in * fan_out < _LARGE_PRODUCT or not _applies(like)


def _worth_it(x: Tensor, weights: int) -> bool:
    return x.shape[0] >= _FEWEST_ROWS and weights >= _FEWEST_WEIGHTS and _applies(x)


def _applies(x: Tensor) -> bool:
    return chosen(x.dtype, x.device) == "onednn" and not torch.is_autocast_enabled("cpu")


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


@functools.cache
def _onednn_is_faster() -> bool:
    """Whether this kind of machine multiplies faster with it than with MKL."""
    has_mkl: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    is_wide = torch.backends.cpu.get_cpu_capability().startswith(_WIDE)
    return has_onednn() and has_mkl and is_wide and maker() != _OF_MKL


def has_onednn() -> bool:
    """Whether torch offers the second library here."""
    return hasattr(torch.ops.mkldnn, "_linear_pointwise")


def may_overwrite() -> bool:
    """Whether an operation may write over a tensor that it has just made.

    Not where a graph is made of it, nor under a transform of ``torch.func``, in whose eyes another tensor may be larger.
    """
    return not (torch.is_grad_enabled() or torch._C._are_functorch_transforms_active())


def full_precision() -> AbstractContextManager[None]:
    """A block with products of float32 in float32, whatever the process allows elsewhere (TF32, bfloat16)."""
    return switched(*_precision_switches())


@contextmanager
def switched(switches: Sequence[tuple[Any, str]], setting: str | bool) -> Iterator[None]:
    """Within the block attributes of torch's backends, each an object and a name, have a setting; then those of before."""
    before = [getattr(backend, name) for backend, name in switches]
    for backend, name in switches:
        setattr(backend, name, setting)
    try:
        yield
    finally:
        for (backend, name), was in zip(switches, before, strict=True):
            setattr(backend, name, was)


@contextmanager
def same_convolutions() -> Iterator[None]:
    """Within the block cuDNN convolves to the same bits every time; its fastest algorithms add up in no fixed order."""
    cudnn: Any = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


@contextmanager
def uncached_autocast() -> Iterator[None]:
    """An autocast that the caller is in casts weights anew within the block.

    Its cache would give copies made without gradients, or of parameters that have been swapped for others since.
    """
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


def _precision_switches() -> tuple[list[tuple[Any, str]], str | bool]:
    """The attributes that allow less than float32, and their value that does not.

    Releases of torch that have ``fp32_precision`` may refuse to read ``allow_tf32`` once a user has set the former.
    """
    backends: Any = torch.backends
    if hasattr(backends.cudnn, "conv"):
        parts = [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn]
        # On processors that multiply in bfloat16.
        parts += [
            getattr(backends.mkldnn, name) for name in ("matmul", "conv", "rnn") if hasattr(backends.mkldnn, name)
        ]
        return [(part, "fp32_precision") for part in parts], "ieee"
    return [(b, "allow_tf32") for b in (backends.cuda.matmul, backends.cudnn)], False


class _Linear(torch.autograd.Function):
    """``functional.linear`` of rows, differentiable once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return linear(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: Any) -> Any:
        (d,) = cotangents
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            linear(d, weight.T, None) if needs_x else None,
            outer_sum(x, d).T.contiguous() if needs_weight else None,
            d.sum(dim=0) if needs_bias else None,
        )


def fast_linear(device: torch.device) -> AbstractContextManager[object]:
    """``FastLinear`` where a library is faster than torch's own; elsewhere nothing, and nothing is what it costs."""
    return FastLinear() if chosen(torch.float32, device) == "onednn" else nullcontext()


class FastLinear(TorchFunctionMode):
    """Within the block ``functional.linear`` of many rows takes the faster library; everything else passes.

    Not for use under ``torch.func`` transforms: the other library's product has no batching rule.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Divert what is worth it."""
        if func is functional.linear:
            x, weight, bias = _arguments(*args, **(kwargs or {}))
            rows = x.reshape(-1, x.shape[-1])
            if _worth_it(rows, weight.numel()):
                out: Tensor = _Linear.apply(rows, weight, bias)  # type: ignore[no-untyped-call]
                # Not a plain view, which an in-place activation could not change.
                return torch.ops.aten._unsafe_view(out, [*x.shape[:-1], weight.shape[0]])
        return func(*args, **(kwargs or {}))


def _arguments(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
    return input, weight, bias


class Casts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within the block, notes every cast from one floating-point type to another."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._pairs: set[tuple[torch.dtype, torch.dtype]] = set()

    def of(self, dtype: torch.dtype) -> set[torch.dtype]:
        """What numbers of this type were cast to."""
        return {to for source, to in self._pairs if source == dtype}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let everything pass."""
        found = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default:
            source, to = args[0].dtype, found.dtype
            if source != to and source.is_floating_point and to.is_floating_point:
                self._pairs.add((source, to))
        return found
