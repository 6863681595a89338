"""Derivatives by ``torch.autograd.grad``, or by ``backward`` where a graph allows nothing else.

Reentrant checkpoints (``torch.utils.checkpoint`` with ``use_reentrant=True``) keep the parameters that they use out of the
graph and hand their gradients over by a backward pass of their own, within the outer one. ``autograd.grad`` finds nothing
there, or is refused; ``.backward()`` is how their users train.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from snrkit.errors import CapabilityError

_CHECKPOINT = "CheckpointFunction"
_REFUSED = "Checkpointing is not compatible with .grad()"


def hides_parameters(values: Sequence[Tensor]) -> bool:
    """Whether a reentrant checkpoint lies in the graph of these values."""
    return any(_CHECKPOINT in node.name() for node in _nodes(values))


def is_refusal(error: Exception) -> bool:
    """Whether an error says that there is a checkpoint which needs ``backward``."""
    return isinstance(error, RuntimeError) and _REFUSED in str(error)


def derivatives(
    model: nn.Module,
    values: Sequence[Tensor],
    wanted: Sequence[Tensor],
    cotangents: Sequence[Tensor] | None = None,
    *,
    retain: bool = False,
    hidden: bool = False,
) -> list[Tensor]:
    """Derivatives of the values, dense; zeros where a value does not depend on a tensor.

    Args:
        model: whose gradients are left as they are.
        values: differentiated, their sum weighted by the cotangents.
        wanted: parameters of the model.
        cotangents: one per value; None for scalars.
        retain: keep the graph for another pass.
        hidden: whether parameters are out of the graph's sight (see ``hides_parameters``).
    """
    if not wanted:
        return []
    if hidden:
        found = _by_backward(model, values, wanted, cotangents)
    else:
        found = torch.autograd.grad(values, wanted, cotangents, retain_graph=retain, materialize_grads=True)
    return [gradient.to_dense() for gradient in found]


def _by_backward(
    model: nn.Module, values: Sequence[Tensor], wanted: Sequence[Tensor], cotangents: Sequence[Tensor] | None
) -> Sequence[Tensor]:
    for name, parameter in model.named_parameters():
        if parameter._post_accumulate_grad_hooks:
            problem = "has a hook on its accumulated gradient, which a reentrant checkpoint would call"
            raise CapabilityError(name, problem, "remove the hook, or checkpoint with use_reentrant=False")
    with without_gradients([*model.parameters(), *leaves(values)]):
        torch.autograd.backward(values, cotangents, retain_graph=True)
        return [torch.zeros_like(tensor) if tensor.grad is None else tensor.grad for tensor in wanted]


@contextmanager
def without_gradients(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Within the block the tensors have no gradients; afterwards they have those of before, the very objects."""
    before = [(tensor, tensor.grad) for tensor in tensors]
    try:
        for tensor, _ in before:
            tensor.grad = None
        yield
    finally:
        for tensor, gradient in before:
            tensor.grad = gradient


def leaves(values: Sequence[Tensor]) -> list[Tensor]:
    """Tensors into which a backward pass through these values would write."""
    return [node.variable for node in _nodes(values) if hasattr(node, "variable")]


def _nodes(values: Sequence[Tensor]) -> Iterator[Any]:
    seen: set[Any] = set()
    left: list[Any] = [value.grad_fn for value in values if value.grad_fn is not None]
    while left:
        node = left.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        left += [parent for parent, _ in node.next_functions if parent is not None]
