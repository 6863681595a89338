"""Interception of linear layers: their inputs and the cotangents of their outputs, without weight gradients."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from snrkit.backend import kernels

Linear = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@dataclass
class Sink:
    """What one call of a linear layer left: ``W`` got the gradient cotangent^T input.

    Attributes:
        weight: name of the weight.
        bias: name of the bias, if any.
        input: ``[..., in]``.
        version: of the input, when it was recorded.
        source: what a backward pass must be asked for to come by here, and no further back than it needs to.
        cotangent: ``[..., out]``, after a backward pass.
    """

    weight: str
    bias: str | None
    input: Tensor
    version: int
    source: Tensor
    cotangent: Tensor | None = field(default=None)

    @property
    def intact(self) -> bool:
        """Whether a backward pass came by and the recorded input still is what the layer saw."""
        return self.cotangent is not None and self.input._version == self.version


class _Tap(torch.autograd.Function):
    """A linear layer whose parameters are constants; its backward pass keeps the cotangent that came in."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, source: Tensor, sink: Sink) -> Tensor:  # noqa: ARG004
        ctx.weight, ctx.sink = weight, sink
        rows = kernels.linear(x.reshape(-1, x.shape[-1]), weight, bias)
        # A plain view could not be changed in place by what follows (an in-place activation).
        out: Tensor = torch.ops.aten._unsafe_view(rows, [*x.shape[:-1], weight.shape[0]])
        return out

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        (cotangent,) = cotangents
        ctx.sink.cotangent = cotangent
        if not ctx.needs_input_grad[0]:
            return None, None, None, None, None
        rows = kernels.linear(cotangent.reshape(-1, cotangent.shape[-1]), ctx.weight.T, None)
        return rows.view(*cotangent.shape[:-1], -1), None, None, None, None


class Taps(TorchFunctionMode):
    """Within the block, linear layers with these parameters are intercepted.

    Args:
        parameters: name to parameter; a layer counts if its weight is one of them.

    Attributes:
        sinks: one per intercepted call, in order.
    """

    def __init__(self, parameters: dict[str, Tensor]) -> None:
        super().__init__()
        self._names = {id(parameter): name for name, parameter in parameters.items()}
        self.sinks: list[Sink] = []

    @property
    def sources(self) -> list[Tensor]:
        """What to differentiate with respect to, for every tap to get its cotangent."""
        return [sink.source for sink in self.sinks]

    def forget(self) -> None:
        """Start over with the cotangents, for another backward pass."""
        for sink in self.sinks:
            sink.cotangent = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Divert ``linear``; let everything else pass."""
        if func is functional.linear:
            call = dict(zip(("input", "weight", "bias"), args, strict=False)) | (kwargs or {})
            weight, bias = call["weight"], call.get("bias")
            if id(weight) in self._names and (bias is None or id(bias) in self._names):
                return self._tap(call["input"], weight, bias)
        return func(*args, **(kwargs or {}))

    def _tap(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        name = None if bias is None else self._names[id(bias)]
        # The tap has a graph even where nothing before the layer does (discrete samples, token numbers).
        source = x.new_zeros((), requires_grad=True)
        sink = Sink(self._names[id(weight)], name, x.detach(), x._version, source)
        self.sinks.append(sink)
        constants = weight.detach(), None if bias is None else bias.detach()
        out: Tensor = _Tap.apply(x, *constants, source, sink)  # type: ignore[no-untyped-call]
        return out
