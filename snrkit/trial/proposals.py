"""Whether a user's own proposal is one density: what it says of its samples, and how that depends on parameters."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from snrkit.core.batches import Batch
from snrkit.errors import CapabilityError, SpecError
from snrkit.models.base import LatentModel
from snrkit.models.draw import Draw, Drawn, drawn
from snrkit.trial.calls import Caller, Tensors, distance
from snrkit.trial.identities import broken, many

_SAME = 1e-6
_PATH = "that of draw() has another derivative than log_q has along z: of z without a path return log_q.detach()"


def examine_detached(caller: Caller, far: float) -> tuple[bool, str]:
    """Whether the proposal's support is fixed, and what is wrong with its density with constant parameters, if anything.

    Args:
        caller: of the model.
        far: relative distance from which densities are different ones.
    """
    with torch.enable_grad():
        posterior = caller.model.proposal(caller.x)
        fixed = bool(getattr(posterior, "fixed_support", True))
        if isinstance(posterior, Drawn):
            return fixed, _wrong_value(posterior.draw(caller.noise, path=True), far)
        z = posterior.sample(caller.noise).detach()
        try:
            held = posterior.detached().log_prob(z)
        except CapabilityError as error:
            return fixed, error.problem
        except Exception as error:  # a user's own proposal; it matters to some estimators only
            return fixed, f"detached() fails ({type(error).__name__})"
        if held.requires_grad:
            return fixed, "detached() still depends on parameters"
        other = distance((held,), (posterior.log_prob(z).detach(),)) > far
    return fixed, "detached() is another density" if other else ""


def _wrong_value(draw: Draw, far: float) -> str:
    if draw.log_q_path is None:
        return "draw() gives none where it is asked for (path=True)"
    other = distance((draw.log_q_path.detach(),), (draw.log_q.detach(),)) > far
    return "that of draw() is another density" if other else ""


def examine_proposal(caller: Caller) -> str:
    """What is wrong with log_q_path of a proposal that gives it itself; empty if nothing is, or it is one of ours.

    Raises:
        SpecError: log_q is not the density of log_prob, or samples are not distributed as that says.
    """
    tensors: Tensors = dict(caller.double)
    for name in caller.trained:
        tensors[name] = tensors[name].clone().requires_grad_()
    wanted = [tensors[name] for name in caller.trained]

    def tried(model: LatentModel, x: Batch, noise: Tensor) -> str | None:
        posterior = model.proposal(x)
        return None if type(posterior).__module__.startswith("snrkit.") else _derivatives(posterior, noise, wanted)

    with torch.enable_grad():
        problem = caller.exact(tried, tensors, caller.x, caller.noise)
    if problem is None:
        return ""
    _require_law(caller)
    return problem


def _derivatives(posterior: object, noise: Tensor, wanted: list[Tensor]) -> str:
    """Compare derivatives of a random sum of log densities; whole and score must be those that ``log_prob`` has.

    Raises:
        SpecError: log_q differs from log_prob, or its derivative from that of score and path.
    """
    own = isinstance(posterior, Drawn)
    draw = drawn(posterior, noise, path=own)
    density = posterior.log_prob  # type: ignore[attr-defined]
    z, still = draw.z, draw.z.detach()
    at = density(still)
    if distance((draw.log_q.detach(),), (at.detach(),)) > _SAME:
        raise SpecError("draw", "its log_q is not what log_prob gives of its z", "return log_q = self.log_prob(z)")
    v = torch.rand(at.shape, generator=torch.Generator().manual_seed(2), dtype=at.dtype).to(at.device) + 0.5
    score = _gradient(at, v, wanted)
    if z.requires_grad and getattr(posterior, "reparameterised", True):
        moved = still.clone().requires_grad_()
        (along,) = _gradient(density(moved), v, [moved])
        whole = [s + p for s, p in zip(score, _gradient(z, along, wanted), strict=True)]
        if _apart(_gradient(draw.log_q, v, wanted), whole):
            what = "draw" if own else "log_prob"
            remedy = "let log_q depend on the parameters both directly and through z, without detach or no_grad"
            raise SpecError(what, "log q has another derivative than its density at z has", remedy)
    if draw.log_q_path is None or not own:
        return ""
    return _PATH if _apart(_gradient(draw.log_q - draw.log_q_path, v, wanted), score) else ""


def _gradient(value: Tensor, cotangent: Tensor, wanted: list[Tensor]) -> list[Tensor]:
    if not value.requires_grad:
        return [torch.zeros_like(own) for own in wanted]
    return list(torch.autograd.grad(value, wanted, cotangent, retain_graph=True, materialize_grads=True))


def _apart(found: list[Tensor], right: list[Tensor]) -> bool:
    scale = sum(float(own.norm()) for own in (*found, *right))
    return sum(float((a - b).norm()) for a, b in zip(found, right, strict=True)) > _SAME * scale


def _require_law(caller: Caller) -> None:
    """See to it that samples are distributed as log_prob says, by what the mean over them of derivatives must be.

    Raises:
        SpecError: they are not.
    """
    each = caller.noise.shape[3:]
    shape = (*caller.noise.shape[:1], 1, many(math.prod(each)), *each)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(caller.noise.device)

    def sampled(model: LatentModel, x: Batch, noise: Tensor) -> Tensor:
        return drawn(model.proposal(x), noise, path=False).z

    with torch.no_grad():
        z = caller.exact(sampled, caller.double, caller.x, noise)

    def density(tensors: Tensors) -> Tensor:
        value: Tensor = caller.exact(lambda model, x, _: model.proposal(x).log_prob(z), tensors, caller.x, noise)
        return value

    with torch.enable_grad():
        free = not density({**caller.double, **_live(caller)}).requires_grad
    if free and _moves(density, caller):
        problem = "changes with the parameters, and autograd sees no way from it to them"
        raise SpecError("log_prob", problem, "call nothing there under torch.no_grad or detach")
    name = broken(density, caller)
    if name:
        problem = f"its samples are not distributed as log_prob says (seen in the derivatives in '{name}')"
        raise SpecError("encode", f"returned a proposal of your own, and {problem}", "correct sample or log_prob")


def _live(caller: Caller) -> Tensors:
    return {name: caller.double[name].clone().requires_grad_() for name in caller.trained}


def _moves(density: Callable[[Tensors], Tensor], caller: Caller) -> bool:
    with torch.no_grad():
        moved = {name: caller.double[name] + 1e-2 for name in caller.trained}
        return distance((density(caller.double),), (density({**caller.double, **moved}),)) > _SAME
