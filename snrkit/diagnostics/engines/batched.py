"""Many draws in one pass: torch.func's per-sample gradients, vmap over vjp."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from snrkit.core.batches import Batch, take
from snrkit.core.objective import mean_of
from snrkit.diagnostics.engines.base import PassSize
from snrkit.diagnostics.problem import Problem
from snrkit.estimators.base import Estimator
from snrkit.models.calling import call_with, parameters_of, shown

Parameters = dict[str, Tensor]


def batched_gradients(
    problem: Problem,
    estimator: Estimator,
    groups: range,
    draws: range,
    size: PassSize,
    slow: list[str] | None = None,
) -> Iterator[list[Tensor]]:
    """Portions of draws: tensors ``[r, len(groups), *shape]``.

    Args:
        problem: what is drawn.
        estimator: the estimator.
        groups: of data points.
        draws: which.
        size: draws of one pass.
        slow: gets what torch says of operations that vmap takes one by one.

    Raises:
        Exception: whatever torch, or the model's own code, says where vmap cannot trace it.
    """
    gradient = _batched(problem, estimator)
    parameters = {name: parameter.detach() for name, parameter in problem.parameters.items()}
    x = take(problem.x, slice(groups.start, groups.stop))
    attributes = _Attributes(problem.model)
    step = max(1, size.units // len(groups))
    for start in range(draws.start, draws.stop, step):
        portion = range(start, min(start + step, draws.stop))
        noise = torch.stack([problem.noise.draw(group, portion) for group in groups], dim=1)
        try:
            with _performance_drops([] if slow is None else slow):
                found = gradient(parameters, x, noise)
        finally:
            attributes.restore()
        yield [found[name] for name in problem.layout.names]


def _batched(problem: Problem, estimator: Estimator) -> Callable[[Parameters, Batch, Tensor], Parameters]:
    """(parameters, x [p, Bg, ...], noise [r, p, Bg, ...]) to gradients [r, p, *shape]."""
    owners = dict(zip(problem.layout.names, problem.layout.networks, strict=True))
    others = {name: p.detach() for name, p in parameters_of(problem.model).items() if name not in owners}
    # What a model does to its buffers is done to these.
    others |= {shown(name): buffer.detach().clone() for name, buffer in problem.model.named_buffers()}

    served = estimator.objective.served(set(owners.values()))

    def one(parameters: Parameters, x: Batch, noise: Tensor) -> Parameters:
        def values(candidate: Parameters) -> tuple[Tensor, ...]:
            weights = call_with(problem.model, others | candidate, x, noise, **estimator.needs.parts.asked)
            return tuple(mean_of(value, weights) for value in served)

        found, pull = torch.func.vjp(values, parameters)  # type: ignore[misc]
        zeros = tuple(torch.zeros_like(value) for value in found)
        gradients: Parameters = {}
        for number, networks in enumerate(served.values()):
            cotangents = (*zeros[:number], torch.ones_like(found[number]), *zeros[number + 1 :])
            own: Parameters = pull(cotangents)[0]
            gradients |= {name: own[name] for name in owners if owners[name] in networks}
        return gradients

    # The data are not batched over draws, so that what depends on them alone is computed once.
    over_groups = torch.func.vmap(one, in_dims=(None, 0, 0))
    batched: Callable[[Parameters, Batch, Tensor], Parameters] = torch.func.vmap(over_groups, in_dims=(None, None, 0))
    return batched


@contextmanager
def _performance_drops(said: list[str]) -> Iterator[None]:
    """Takes note of torch's warnings of operations without a batching rule; lets others pass."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        text = str(warning.message)
        if text.startswith("There is a performance drop"):
            said.append(text)
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


class _Attributes:
    """What stands in the attributes of a model's modules: a tensor of vmap's that a model keeps there is dead afterwards."""

    def __init__(self, model: nn.Module) -> None:
        held = [held for module in model.modules() for held in (module.__dict__, module._buffers)]
        self._before = [(own, dict(own)) for own in held]

    def restore(self) -> None:
        """Put back what was exchanged, added or taken away."""
        for own, before in self._before:
            if len(own) != len(before) or any(own.get(name) is not value for name, value in before.items()):
                own.clear()
                own.update(before)
