"""Activations that models are written with."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snrkit.backend.kernels import may_overwrite


class Tanh(nn.Module):
    """tanh(x) as 2 sigmoid(2x) - 1, which takes less time than ``torch.tanh`` on a CPU.

    In float32 the two differ by less than 2.5e-7, so small values lose relative, not absolute, accuracy. On CUDA, where
    passes over memory count, it is ``torch.tanh``.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise, shape unchanged."""
        call: Callable[[Tensor], Tensor] = _Tanh.forward if may_overwrite() else _Tanh.apply
        return call(x)


class _Tanh(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return torch.tanh(x) if x.is_cuda else x.mul(2).sigmoid_().mul_(2).sub_(1)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:  # noqa: ARG004
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        (y,), (cotangent,) = ctx.saved_tensors, cotangents
        return torch.addcmul(cotangent, cotangent * y, y, value=-1)
