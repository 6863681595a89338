"""A Pyro model and guide with normal latents in one plate, as a function of noise and of given latents."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import distributions, poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import transform_to

from snrkit.core.batches import Batch
from snrkit.errors import CapabilityError, SnrkitError, SpecError

_PARTICLES = "snrkit_particles"
# What to do about a site that cannot be served.
_LOSS = "measure Pyro's own loss instead: snrkit.measure_loss(snrkit.pyro_loss(model, guide, elbo), modules, x)"


@dataclass(frozen=True)
class Site:
    """A latent of the guide.

    Attributes:
        name: in Pyro.
        shape: of one sample, ``event``.
        at: where it lies in z.
    """

    name: str
    shape: tuple[int, ...]
    at: slice


class Given(Messenger):  # type: ignore[misc]
    """Parameters are a module's own, never those of the global store; latents are given, or made of noise."""

    def __init__(
        self,
        parameters: Callable[[str], Tensor | None],
        latent: Callable[[Any], Tensor | None],
        of_modules: Iterable[Tensor],
    ) -> None:
        super().__init__()
        self._parameters, self._latent = parameters, latent
        self._of_modules = {id(tensor) for tensor in of_modules}
        self.refused: SnrkitError | None = None  # Pyro makes errors of its handlers anew, of a single argument

    def _pyro_param(self, message: Any) -> None:
        name, initial = message["name"], message["args"][1] if len(message["args"]) > 1 else None
        own = self._parameters(name)
        if own is None:
            if id(initial) not in self._of_modules:
                self.refused = _unknown(name)
                raise self.refused
            own = initial  # of a module, as it is now
        message["value"], message["done"], message["stop"] = own, True, True

    def _pyro_sample(self, message: Any) -> None:
        if message["is_observed"] or _is_plate(message):
            return
        try:
            value = self._latent(message)
        except SnrkitError as error:
            self.refused = error
            raise
        if value is not None:
            message["value"], message["done"] = value, True


def _unknown(name: str) -> SpecError:
    """Of a parameter that nobody could put another in the place of, so that it would be taken for a constant."""
    if "$$$" in name:
        problem = f"pyro.module('{name.partition('$$$')[0]}', ...) is of a module that was not found"
        return SpecError("modules", problem, "name it: from_pyro(model, guide, modules=[...])")
    problem = f"parameter '{name}' is no module's, and was not in Pyro's store when the two were adapted"
    return SpecError("guide", problem, "run model and guide once, e.g. by svi.step(x), and adapt them then")


def _is_plate(message: Mapping[str, Any]) -> bool:
    return type(message["fn"]).__name__ == "_Subsample"


def constrained(name: str) -> Callable[[Tensor], Tensor]:
    """From the store's unconstrained number to the parameter that ``pyro.param`` gives."""
    constraint = pyro.get_param_store()._constraints[name]
    transform: Callable[[Tensor], Tensor] = transform_to(constraint)
    return transform


def called(function: Callable[..., Any], x: Batch) -> Any:
    """A model or guide called with data."""
    if isinstance(x, Mapping):
        return function(**x)
    return function(*x) if isinstance(x, tuple | list) else function(x)


def traced(function: Callable[..., Any], x: Batch, given: Given, particles: int) -> Any:
    """The trace of a model or guide on data ``[B, *event]`` with so many particles, before the plate's axis."""

    def vectorised() -> None:
        with pyro.plate(_PARTICLES, particles, dim=-2):
            called(function, x)

    try:
        with pyro.validation_enabled(False), _quiet(), given:
            return poutine.trace(vectorised).get_trace()
    except Exception:
        if given.refused is not None:
            raise given.refused from None
        raise


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the handlers of a caller, who may be in the midst of an inference of their own."""
    with ExitStack() as stack:
        stack.enter_context(poutine.block())
        yield


def sites(trace: Any) -> dict[str, Any]:
    """The sites of a trace that have a density, by name, in order."""
    return {name: site for name, site in trace.nodes.items() if site["type"] == "sample" and not _is_plate(site)}


def latents(trace: Any) -> dict[str, Any]:
    """Those that are not observed."""
    return {name: site for name, site in sites(trace).items() if not site["is_observed"]}


def density(site: Mapping[str, Any], value: Tensor) -> Tensor:
    """log of a site's density at a value: ``[K, B]``, or a shape that broadcasts to it."""
    found: Tensor = site["fn"].log_prob(value)
    return found


def base_normal(fn: Any) -> Any:
    """The normal distribution that a site's is, its event axes aside; None for any other."""
    base = fn.base_dist if isinstance(fn, distributions.Independent) else fn
    return base if type(base) in (distributions.Normal, torch.distributions.Normal) else None


def sites_of(trace: Any, points: int, whose: str) -> list[Site]:
    """The latents of a guide's trace, all normal, in one plate of the data points.

    Raises:
        CapabilityError: a site is of another kind; it is named.
    """
    found: list[Site] = []
    at = 0
    for name, site in latents(trace).items():
        require_served(name, site, points, whose)
        if base_normal(site["fn"]) is None:
            kind = _kind(site["fn"])
            raise CapabilityError("guide", f"its site '{name}' is {kind}, and normal ones are served", _LOSS)
        shape = tuple(site["fn"].event_shape)
        size = int(torch.Size(shape).numel())
        found.append(Site(name, shape, slice(at, at + size)))
        at += size
    if not found:
        raise CapabilityError("guide", "has no latent site", _LOSS)
    return found


def require_served(name: str, site: Mapping[str, Any], points: int, whose: str) -> None:
    """See to it that a site is drawn for each data point, whole, once.

    Raises:
        CapabilityError: it is not.
    """
    plates = [frame for frame in site["cond_indep_stack"] if frame.name != _PARTICLES]
    problem = ""
    if site["infer"].get("enumerate"):
        problem = "is enumerated"
    elif not plates:
        problem = "is global: it lies in no plate of data points"
    elif len(plates) > 1 or plates[0].dim != -1:
        problem = f"lies in the plates {', '.join(frame.name for frame in plates)}, and one with dim=-1 is served"
    elif plates[0].size != points:
        problem = f"lies in a plate of {plates[0].size}, and the data have {points} points (subsampling)"
    elif not _is_one(site["scale"]) or site.get("mask") is not None:
        problem = "is scaled or masked (subsampling, annealing)"
    if problem:
        raise CapabilityError(whose, f"its site '{name}' {problem}", _LOSS)


def _is_one(scale: Any) -> bool:
    return isinstance(scale, int | float) and scale == 1


def _kind(fn: Any) -> str:
    return type(fn.base_dist if isinstance(fn, distributions.Independent) else fn).__name__
