"""What a model offers besides its densities, tried: some estimators ask for it, and not every model has it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from snrkit.backend.process import Generators
from snrkit.core.batches import leaves
from snrkit.core.logweights import LogWeights, Parts
from snrkit.errors import CapabilityError
from snrkit.models.base import LatentModel
from snrkit.models.calling import parameters_of
from snrkit.models.draw import drawn
from snrkit.trial.calls import Caller, Tensors, distance
from snrkit.trial.identities import broken, many

# What is asked for, how an estimator that needs it says so, and the parts of log-weights that come of it.
_PARTS = {
    "prior": (Parts(prior=True), "needs the prior's density by itself"),
    "kl": (Parts(kl=True), "needs the proposal's KL divergence from the prior in closed form"),
    "sleep": (Parts(sleep=True), "needs samples of the model itself"),
    "regenerated": (Parts(regenerated=True), "needs a prior through whose parameters z can be drawn"),
}
_GIVEN = {"prior": ("log_prior",), "kl": ("kl",), "sleep": ("log_q_sleep",), "regenerated": ("log_lik_again",)}
# Distance in standard errors that chance does not explain, and the share of numbers that must be alike.
_FAR, _ALIKE = 6.0, 0.99


def lacking(caller: Caller, fresh: Callable[[], None], eps: float) -> dict[str, str]:
    """The parts that a model does not offer, or not rightly, by name, and why.

    Args:
        caller: of the model.
        fresh: puts the model's state back.
        eps: the precision of its type.
    """
    found: dict[str, str] = {}
    for name, (parts, need) in _PARTS.items():
        fresh()
        try:
            with torch.no_grad():
                problem = _wrong(caller, name, parts, eps)
        except CapabilityError as error:
            problem = error.problem
        except Exception as error:  # a user's own method of that name; it matters to few estimators
            text = " ".join(str(error).split())
            problem = f"the model's own fails ({type(error).__name__}{': ' * bool(text)}{text[:150]})"
        if problem:
            found[name] = f"{need}, and {problem}"
    return found


def _wrong(caller: Caller, name: str, parts: Parts, eps: float) -> str:
    """What is wrong with a part; empty if nothing is."""
    model, noise = caller.model, caller.noise
    if parts.sleep:
        noise = torch.cat([noise, _normal(noise, model.dream_size)], dim=-1)
    weights: LogWeights = model(caller.x, noise, parts=parts)
    given = weights.present()
    wrong = next((own for own in _GIVEN[name] if own not in given), "")
    if wrong:
        return f"its {wrong} is None"
    wrong = next((own for own, part in given.items() if part.shape != weights.log_p.shape), "")
    if wrong:
        return f"its {wrong} is not [B, M, K]"
    wrong = next((own for own, part in given.items() if bool((part.isnan() | (part == torch.inf)).any())), "")
    if wrong:
        return f"its {wrong} is NaN or infinite at samples of the proposal"
    if parts.regenerated:
        lik, again = weights.log_lik, weights.part("log_lik_again")
        return "regenerate(z) gives another z" if distance((lik,), (again,)) > 1000 * eps else _wrong_again(caller)
    if parts.kl and _own(model, "kl_to_prior"):
        return _wrong_kl(caller)
    return _wrong_dreams(caller) if parts.sleep and _own(model, "dream") else ""


def _own(model: LatentModel, name: str) -> bool:
    """Whether a method is of the user's own."""
    found = getattr(model, name)
    return not getattr(found, "__module__", "").startswith("snrkit.")


def _normal(like: Tensor, size: int, count: int = 0) -> Tensor:
    """Noise for as many samples as some other, or for so many of each point."""
    shape = (*((like.shape[0], 1, count) if count else like.shape[:3]), size)
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return drawn.to(like.device, like.dtype)


def _wrong_kl(caller: Caller) -> str:
    """Its mean over samples is that of log q - log p(z), if the two are right."""
    noise = _normal(caller.noise, caller.noise.shape[3], many(caller.noise.shape[3]))
    try:
        weights: LogWeights = caller.model(caller.x, noise, parts=Parts(kl=True, prior=True))
    except CapabilityError:  # no prior to compare with
        return ""
    off = (weights.log_q - weights.part("log_prior") - weights.part("kl")).double().flatten(1)
    error = off.std(dim=1) / off.shape[1] ** 0.5
    far = off.mean(dim=1).abs() > _FAR * error + 1e-3 * (1 + weights.part("kl").double().abs().flatten(1).mean(dim=1))
    return "kl_to_prior is not the mean of log q(z|x) - log_prior(z)" if bool(far.any()) else ""


def _wrong_again(caller: Caller) -> str:
    """Samples made anew must depend on every parameter that the prior's density depends on."""
    model = caller.model
    with torch.enable_grad():
        z = drawn(model.proposal(caller.x), caller.noise, path=False).z.detach()
        wanted = [own for own in parameters_of(model).values() if own.requires_grad]
        density, again = (_reached(value, wanted) for value in (model.log_prior(z), model.regenerate(z)))
    lost = [name for name, one, other in zip(caller.trained, density, again, strict=True) if one and not other]
    return f"regenerate(z) does not depend on '{lost[0]}', and log_prior does" if lost else ""


def _reached(value: Tensor, wanted: list[nn.Parameter]) -> list[bool]:
    if not value.requires_grad:
        return [False] * len(wanted)
    return [own is not None for own in torch.autograd.grad(value.sum(), wanted, allow_unused=True)]


def _wrong_dreams(caller: Caller) -> str:
    """Whether each is a function of its own noise, and together they are distributed as the model says."""
    model, noise = caller.model, _normal(caller.noise, caller.model.dream_size, many(caller.model.dream_size))
    before = Generators()
    x, z = model.dream(noise)
    if before.advanced():
        return "dream(noise) draws from generators of its own and not from the noise"
    again = model.dream(noise.flip(2)[:1])
    for first, second in zip((*leaves(x), z), (*leaves(again[0]), again[1]), strict=True):
        # Single bits may differ where a threshold is met by chance.
        close = torch.isclose(first[:1].flip(2).double(), second.double(), rtol=1e-3, atol=1e-5)
        if float(close.double().mean()) < _ALIKE:
            return "a dream depends on the noise of others"

    def density(tensors: Tensors) -> Tensor:
        value: Tensor = caller.exact(lambda model, x, _: model.log_joint(x, z.double()), tensors, x, noise)
        return value

    name = broken(density, caller)
    return f"its dreams are not distributed as log_joint says (seen in the derivatives in '{name}')" if name else ""
