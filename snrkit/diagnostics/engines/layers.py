"""Moments of linear layers from the factors of their gradients, inputs and cotangents (see factors.py)."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from snrkit.core.batches import Batch, points, repeated, take, transform
from snrkit.core.objective import pull
from snrkit.diagnostics.engines.base import PassSize
from snrkit.diagnostics.engines.encoder import EncoderMoments, by_jacobian, encoder_moments
from snrkit.diagnostics.engines.taps import Sink, Taps
from snrkit.diagnostics.engines.ways import Way
from snrkit.diagnostics.problem import Problem
from snrkit.estimators.base import Estimator
from snrkit.models.base import LatentModel, Posterior

Pair = tuple[Tensor, Tensor]
# With more data points than this, several share a pass.
FEW = 64


def encoder_of(problem: Problem) -> tuple[int, bool]:
    """(width of the proposal, whether its Jacobian is formed)."""
    x = take(problem.group(0), slice(0, 1))
    with torch.no_grad():
        width = sum(getattr(problem.model.proposal(x), name).numel() for name in _varying(problem.model, x))
    return width, by_jacobian(width, problem.groups > FEW)


def factor_moments(
    problem: Problem, estimator: Estimator, groups: range, draws: range, size: PassSize, way: Way
) -> dict[str, Pair]:
    """Name to (mean, m2), each ``[len(groups), *shape]``, of every parameter that factors reach."""
    several = problem.groups > FEW
    together = max(1, size.samples // (len(draws) * problem.K)) if several else 1
    parts = [
        _moments_of(problem, estimator, groups[start : start + together], draws, size, several, way)
        for start in range(0, len(groups), together)
    ]
    return {
        name: (torch.cat([part[name][0] for part in parts]), torch.cat([part[name][1] for part in parts]))
        for name in parts[0]
    }


def _moments_of(
    problem: Problem, estimator: Estimator, groups: range, draws: range, size: PassSize, several: bool, way: Way
) -> dict[str, Pair]:
    """The same for groups, of one data point each, that share every pass."""
    x = take(take(problem.x, slice(groups.start, groups.stop)), (slice(None), 0))
    proposals = _Proposals(problem.model, x)
    layers = way.sums(problem.parameters, len(groups) if several else None, size)
    encoder: EncoderMoments | None = None
    step = max(1, size.samples // (len(groups) * problem.K))
    for start in range(draws.start, draws.stop, step):
        portion = range(start, min(start + step, draws.stop))
        noise = torch.stack([problem.noise.draw(group, portion).squeeze(1) for group in groups]).flatten(0, 1)
        sinks, cotangents = _backward(problem, estimator, *proposals.leaves(len(portion)), x, noise)
        layers.add(sinks, len(portion))
        if cotangents is not None:
            if encoder is None:
                rows = way.encoder_rows(size)
                encoder = encoder_moments(problem, x, proposals.varying, cotangents.shape[1], several, rows)
            encoder.add(cotangents.view(len(groups), len(portion), -1))
    found = layers.moments()
    return found if encoder is None else found | encoder.moments()


class _Proposals:
    """The proposals of p data points ``[p, *event]``, apart from the encoder."""

    def __init__(self, model: LatentModel, x: Batch) -> None:
        self._points = points(x)
        self.varying = _varying(model, take(x, slice(0, 1)))
        with torch.no_grad():
            self._posterior = model.proposal(x)
            one = _tensors(model.proposal(take(x, slice(0, 1)))) if self._points > 1 else _tensors(self._posterior)
        # Some tensors belong to the data points, others (a scale for all of them) do not.
        self._own = {
            name: value
            for name, value in _tensors(self._posterior).items()
            if value.dim() and one[name].shape[0] == 1 and value.shape[0] == self._points
        }

    def leaves(self, draws: int) -> tuple[Posterior, list[Tensor]]:
        """Proposals of so many draws of each point, ``[p draws, ...]``; what depends on parameters as leaves."""
        changed, leaves = copy.copy(self._posterior), []
        for name, value in self._own.items():
            if name in self.varying:
                own = value.repeat_interleave(draws, dim=0).requires_grad_()
                leaves.append(own)
            elif self._points > 1:
                own = value.repeat_interleave(draws, dim=0)
            else:
                continue
            object.__setattr__(changed, name, own)  # proposals are usually frozen
        if len(leaves) < len(self.varying):
            raise ValueError("a tensor of the proposal is not per data point")
        return changed, leaves


def _tensors(posterior: Posterior) -> dict[str, Tensor]:
    return {name: value for name, value in vars(posterior).items() if isinstance(value, Tensor)}


def _varying(model: LatentModel, x: Batch) -> list[str]:
    """Names of the proposal's tensors that depend on parameters."""
    with torch.enable_grad():
        return [name for name, value in _tensors(model.proposal(x)).items() if value.requires_grad]


def _backward(
    problem: Problem, estimator: Estimator, own: Posterior, leaves: list[Tensor], x: Batch, noise: Tensor
) -> tuple[list[Sink], Tensor | None]:
    """Passes over n draws, noise ``[n, 1, K, ...]``: the draws stand where data points usually do.

    Returns:
        The decoder's layers, and the cotangents of the proposal's parameters ``[n, q]``; None where nothing trains it.
    """
    n = len(noise)
    one = points(x) == 1
    rows = repeated(x, n) if one else transform(x, lambda tensor: tensor.repeat_interleave(n // points(x), dim=0))
    taps = Taps(problem.parameters)

    def log_joint(data: Batch, z: Tensor) -> Tensor:
        with taps:
            return problem.model.log_joint(data, z)

    weights = problem.model.weights_of(own, rows, noise, estimator.needs.parts, log_joint)

    def derive(values: Sequence[Tensor], wanted: Sequence[Tensor], *, retain: bool) -> Sequence[Tensor]:
        taps.forget()  # those of the generative network's value, which is the last, are kept
        if not wanted:
            return ()
        return torch.autograd.grad([value * n for value in values], wanted, retain_graph=retain, materialize_grads=True)

    found = pull(estimator.objective.served(), weights, {"inference": leaves, "generative": taps.sources}, derive)
    gradients = [gradient.flatten(1) for gradient in found["inference"]]
    return taps.sinks, torch.cat(gradients, dim=1) if gradients else None
