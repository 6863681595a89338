"""The fast engine: a linear layer's gradient is a sum of outer products, so keep the factors.

Per draw r and layer, dW_r = sum_k d_rk a_rk^T with inputs a and output cotangents d. One forward and one backward pass
through the decoder serve many draws; squares are summed over small tiles that stay in cache, and the gradients of all
draws never exist at once. The encoder runs once per data point, since its inputs do not depend on the noise: there
dW_r = (J_l^T c_r) a_l^T, with c_r the cotangent of the proposal's parameters and J_l their Jacobian with respect to the
layer's output, so that mean and variance follow from the mean and covariance of c_r.

Which parameters this serves is found out, not assumed: tiny problems are drawn both ways, and a parameter whose moments
differ (tied, used elsewhere, rows in another order, ...) is left to the vmap engine, or to the loop where vmap fails too.
"""

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from snrkit.diagnostics.engines.base import PassSize, accumulate
from snrkit.diagnostics.engines.loop import LoopEngine
from snrkit.diagnostics.engines.sums import CotangentSums, LayerSums
from snrkit.diagnostics.engines.taps import Sink, Taps
from snrkit.diagnostics.engines.vmap import VmapEngine
from snrkit.diagnostics.moments import PointMoments
from snrkit.diagnostics.problem import Layout, Problem
from snrkit.estimators.base import Estimator
from snrkit.logweights import LogWeights
from snrkit.models.base import LatentModel, Posterior
from snrkit.streams import Streams

# The probe: data points at most, draws, and samples per draw (one and several take different paths).
_PROBE_POINTS, _PROBE_DRAWS, _PROBE_SAMPLES = 8, 3, (1, 2)
# Largest relative distance in norm at which the probe takes two moments for the same.
_AGREEMENT = {torch.float32: 1e-3, torch.float64: 1e-8}

Pair = tuple[Tensor, Tensor]
State = list[tuple[bool, int]]
Plans = dict[tuple[Estimator, bool], dict[str, str]]


class FactorEngine:
    """Moments from factors where the model allows it, from vmap or the loop where not."""

    name = "factors"

    def __init__(self) -> None:
        # By the model itself, weakly: an address is used again for another model once this one is gone.
        self._plans: WeakKeyDictionary[LatentModel, tuple[State, Plans]] = WeakKeyDictionary()

    def gradients(
        self, problem: Problem, estimator: Estimator, groups: range, draws: range, size: PassSize
    ) -> Iterator[list[Tensor]]:
        """Single draws are left to vmap, or to the loop where vmap fails."""
        engine = VmapEngine() if _vmap_works(problem, estimator) else LoopEngine()
        return engine.gradients(problem, estimator, groups, draws, size)

    def moments(
        self, problem: Problem, estimator: Estimator, groups: range, draws: range, size: PassSize
    ) -> PointMoments:
        """Moments over ``draws`` of each group."""
        served = self.serving(problem, estimator)
        if problem.samples_per_draw > size.samples:
            return accumulate(LoopEngine().gradients(problem, estimator, groups, draws, size))
        found: dict[str, Pair] = {}
        rest = tuple(name for name in problem.layout.names if served[name] != self.name)
        if rest:
            part = _restricted(problem, rest)
            moments = accumulate(self.gradients(part, estimator, groups, draws, size))
            found |= dict(zip(rest, zip(moments.mean, moments.m2, strict=True), strict=True))
        if len(rest) < len(problem.layout.names):
            factors = _factor_moments(problem, estimator, groups, draws, size)
            found |= {name: pair for name, pair in factors.items() if served[name] == self.name}
        pairs = [found[name] for name in problem.layout.names]
        return PointMoments(len(draws), [mean for mean, _ in pairs], [m2 for _, m2 in pairs])

    def serving(self, problem: Problem, estimator: Estimator) -> dict[str, str]:
        """Name of each parameter to what computes its moments: ``factors``, ``vmap`` or ``loop``."""
        direct = problem.M > 1 or problem.x.shape[1] > 1  # couples points; factors are per point
        plans, key = self._plans_of(problem.model), (estimator, direct)
        names = problem.layout.names
        if key not in plans or set(names) - set(plans[key]):
            reached = set() if direct else _agreeing(problem, estimator)
            # vmap takes a second to load; where nothing is left for it, it need not be tried.
            rest = tuple(name for name in names if name not in reached)
            vmaps = bool(rest) and _vmap_works(_restricted(problem, rest), estimator)
            fallback = VmapEngine.name if vmaps else LoopEngine.name
            plans[key] = {name: self.name if name in reached else fallback for name in names}
        return plans[key]

    def _plans_of(self, model: LatentModel) -> Plans:
        """What was found of a model, as long as its parameters are what they were: a gate may have been opened since."""
        state = [(parameter.requires_grad, parameter._version) for parameter in model.parameters()]
        if model not in self._plans or self._plans[model][0] != state:
            self._plans[model] = state, {}
        return self._plans[model][1]


def _restricted(problem: Problem, names: tuple[str, ...]) -> Problem:
    layout = problem.layout
    kept = [i for i, name in enumerate(layout.names) if name in names]
    part = Layout(names, tuple(layout.shapes[i] for i in kept), tuple(layout.networks[i] for i in kept))
    return replace(problem, layout=part)


def _probe(problem: Problem, group: int, K: int) -> Problem:
    # With the very parameters: where only some are wanted, others are constants, and a model may find that out.
    probe = Problem.units(problem.model, problem.x[group, :1], K, Streams(0))
    return replace(probe, layout=problem.layout)


_PROBE_SIZE = PassSize(_PROBE_DRAWS, 10**6)


def _vmap_works(problem: Problem, estimator: Estimator) -> bool:
    probe = _probe(problem, 0, _PROBE_SAMPLES[-1])
    try:
        accumulate(VmapEngine().gradients(probe, estimator, range(1), range(_PROBE_DRAWS), _PROBE_SIZE))
    except Exception:  # a model's own code may raise anything on what it was not written for; the loop is then left
        return False
    return True


def _agreeing(problem: Problem, estimator: Estimator) -> set[str]:
    """Parameters whose factor moments equal the loop's on tiny problems, each at one of a few data points.

    What happens at none of these points is not seen: a layer that only some other point's branch or gate uses again would
    be taken for an ordinary one.
    """
    usual = type(problem.model).forward is LatentModel.forward and problem.model.independent_points
    # The taps' products are not those of autocast.
    cast = torch.is_autocast_enabled(problem.x.device.type)
    if not usual or cast or problem.x.dtype not in _AGREEMENT:
        return set()
    names = set(problem.layout.names)
    groups = torch.linspace(0, problem.groups - 1, min(problem.groups, _PROBE_POINTS)).round().int().tolist()
    for K in _PROBE_SAMPLES:
        shown: set[str] = set()
        for group in groups:
            probe, draws = _probe(problem, group, K), range(_PROBE_DRAWS)
            truth = accumulate(LoopEngine().gradients(probe, estimator, range(1), draws, _PROBE_SIZE))
            expected = dict(zip(probe.layout.names, zip(truth.mean, truth.m2, strict=True), strict=True))
            try:
                found = _factor_moments(probe, estimator, range(1), draws, _PROBE_SIZE)
            except Exception:  # as above; other engines are then left
                return set()
            tolerance = _AGREEMENT[problem.x.dtype]
            names = {n for n in names if n in found and _near(found[n], expected[n], tolerance)}
            shown |= {n for n in names if expected[n][1].any()}
        # A gradient that vanishes at every point (a layer begun at zero) shows nothing.
        names &= shown
    return names


def _near(found: Pair, expected: Pair, tolerance: float) -> bool:
    return all(bool((a - b).norm() <= tolerance * b.norm()) for a, b in zip(found, expected, strict=True))


def _factor_moments(
    problem: Problem, estimator: Estimator, groups: range, draws: range, size: PassSize
) -> dict[str, Pair]:
    """Name to (mean, m2), each ``[len(groups), *shape]``, of every parameter that factors reach."""
    each = [_group_moments(problem, estimator, group, draws, size) for group in groups]
    return {
        name: (torch.stack([e[name][0] for e in each]), torch.stack([e[name][1] for e in each])) for name in each[0]
    }


def _group_moments(problem: Problem, estimator: Estimator, group: int, draws: range, size: PassSize) -> dict[str, Pair]:
    x = problem.x[group]
    with torch.no_grad():
        posterior = problem.model.proposal(x)
    varying = _varying(problem.model, x)
    layers, cotangents = LayerSums(problem.parameters), CotangentSums()
    step = max(1, size.samples // problem.K)
    for start in range(draws.start, draws.stop, step):
        portion = range(start, min(start + step, draws.stop))
        noise = problem.noise.draw(group, portion).squeeze(1)
        layers.add(*_backward(problem, estimator, posterior, varying, x, noise, cotangents))
    return layers.moments() | _encoder_moments(problem, x, varying, *cotangents.moments())


def _varying(model: LatentModel, x: Tensor) -> list[str]:
    """Names of the proposal's tensors that depend on parameters."""
    with torch.enable_grad():
        return [
            name for name, value in vars(model.proposal(x)).items() if isinstance(value, Tensor) and value.requires_grad
        ]


def _backward(
    problem: Problem,
    estimator: Estimator,
    posterior: Posterior,
    varying: list[str],
    x: Tensor,
    noise: Tensor,
    cotangents: CotangentSums,
) -> tuple[list[Sink], int]:
    """Passes over r draws, noise ``[r, 1, K, ...]``: the draws stand where data points usually do."""
    r = len(noise)
    leaves = {
        name: getattr(posterior, name).expand(r, *getattr(posterior, name).shape[1:]).clone().requires_grad_()
        for name in varying
    }
    own = _with(posterior, leaves)
    z = own.sample(noise)
    log_q_path = own.detached().log_prob(z) if estimator.path else None
    with Taps(problem.parameters) as taps:
        log_p = problem.model.log_joint(x.expand(r, *x.shape[1:])[:, None, None], z)
    surrogate = estimator.surrogate(LogWeights(log_p, own.log_prob(z), log_q_path))
    theta, phi = surrogate.mean_over_points()
    wanted = list(leaves.values())
    if not surrogate.shared:
        found = torch.autograd.grad(phi * r, wanted, retain_graph=True, materialize_grads=True)
        torch.autograd.grad(theta * r, z)
    else:
        found = torch.autograd.grad(theta * r, wanted, materialize_grads=True)
    cotangents.add(torch.cat([gradient.flatten(1) for gradient in found], dim=1))
    return taps.sinks, r


def _with(posterior: Posterior, tensors: dict[str, Tensor]) -> Posterior:
    """A copy of a proposal with some of its tensors exchanged."""
    changed = copy.copy(posterior)
    for name, tensor in tensors.items():
        object.__setattr__(changed, name, tensor)  # proposals are usually frozen
    return changed


def _encoder_moments(problem: Problem, x: Tensor, varying: list[str], mean: Tensor, m2: Tensor) -> dict[str, Pair]:
    """Moments of the encoder's layers from those of the proposal's cotangents, ``[q]`` and ``[q, q]``."""
    q = len(mean)
    # q copies of the point, each with another unit cotangent: the taps then hold the rows of every layer's Jacobian.
    copies = x.expand(q, *x.shape[1:]).clone().requires_grad_()
    with Taps(problem.parameters) as taps:
        posterior = problem.model.proposal(copies)
    parameters = torch.cat([getattr(posterior, name).flatten(1) for name in varying], dim=1)
    torch.autograd.grad(parameters, copies, torch.eye(q, dtype=x.dtype, device=x.device))
    calls = Counter(sink.weight for sink in taps.sinks)
    found: dict[str, Pair] = {}
    for sink in taps.sinks:
        if calls[sink.weight] > 1 or not sink.intact or sink.cotangent is None or sink.input.dim() != 2:
            continue
        jacobian = sink.cotangent.double()
        own = jacobian.T @ mean, (m2 @ jacobian * jacobian).sum(dim=0)
        a = sink.input[0].double()
        found[sink.weight] = torch.outer(own[0], a), torch.outer(own[1], a.square())
        if sink.bias is not None:
            found[sink.bias] = own
    return found
