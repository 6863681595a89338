"""A Pyro model and its guide as a ``LatentModel``."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from snrkit.adapters import pyro_sites as ours
from snrkit.adapters.found import require_found
from snrkit.adapters.held import held_density
from snrkit.core.batches import Batch, points, transform
from snrkit.core.logweights import LogWeights, Parts
from snrkit.errors import CapabilityError
from snrkit.models.base import LatentModel
from snrkit.models.draw import Draw, Drawn

_X: ContextVar[Batch | None] = ContextVar("_X", default=None)


class FromPyro(LatentModel):
    """A Pyro model and guide; normal latents of the guide lie one behind the other in z.

    Args:
        model: the generative program, called with the data.
        guide: the proposal, called with the same.
        modules: that the two use, by name.
    """

    def __init__(self, model: Callable[..., Any], guide: Callable[..., Any], modules: dict[str, nn.Module]) -> None:
        super().__init__()
        self._programs = model, guide
        for name, module in modules.items():
            self.add_module(name, module)
        self.store = nn.ParameterDict(of_store(self))

    def encode(self, x: Batch) -> Any:
        """The guide on data ``[B, *event]``."""
        return GuideProposal(self, x)

    def log_joint(self, x: Batch, z: Tensor) -> Tensor:
        """x ``[B, 1, 1, *event]``, z ``[B, M, K, D]`` to ``[B, M, K]``."""
        plain = transform(x, lambda tensor: tensor[:, 0, 0])
        trace = self.model_trace(plain, z)
        return _summed(trace, z, latent=None)

    def weights_of(
        self, posterior: Any, x: Batch, noise: Tensor, parts: Parts, log_joint: Callable[[Batch, Tensor], Tensor]
    ) -> LogWeights:
        """As ``LatentModel.weights_of``; the prior of a Pyro model may depend on the data."""
        token = _X.set(x)
        try:
            return super().weights_of(posterior, x, noise, parts, log_joint)
        finally:
            _X.reset(token)

    def log_prior(self, z: Tensor) -> Tensor:
        """Of the model's latent sites, z ``[B, M, K, D]`` to ``[B, M, K]``.

        Raises:
            CapabilityError: asked for apart from data.
        """
        x = _X.get()
        if x is None:
            raise CapabilityError("log_prior", "a Pyro model's prior is known beside its data alone", "call the model")
        return _summed(self.model_trace(x, z), z, latent=True)

    def kl_to_prior(self, posterior: Any, z: Tensor) -> Tensor:
        """The sum over sites of KL(q, p) given the samples of the sites before, as ``TraceMeanField_ELBO`` has it."""
        model, guide = (ours.latents(trace) for trace in (self.model_trace(posterior.x, z), posterior.trace(z)))
        kls = [torch.distributions.kl_divergence(guide[name]["fn"], model[name]["fn"]) for name in guide]
        return _per_sample(sum(kls), z)

    def reached(self, x: Batch) -> dict[str, tuple[bool, bool]]:
        """As ``LatentModel.reached``, if the modules that the functions use are all known."""
        require_found(self, x)
        return super().reached(x)

    def networks(self, x: Batch) -> dict[str, Any]:
        """By what autograd reaches; a parameter that both programs use counts to the guide."""
        reached = self.reached(x)
        return {name: "inference" if in_q else "generative" for name, (in_q, in_p) in reached.items() if in_q or in_p}

    def model_trace(self, x: Batch, z: Tensor) -> Any:
        """The model's trace on data ``[B, *event]`` with z ``[B, M, K, D]`` in its latent sites."""
        by_name = {site.name: _part(z, site) for site in self.sites(x)}

        def latent(message: Any) -> Tensor:
            name = message["name"]
            if name not in by_name:
                raise CapabilityError(
                    "model", f"its site '{name}' is not in the guide", "give the guide one of that name"
                )
            return by_name[name]

        trace = ours.traced(self._programs[0], x, self.given(latent), z.shape[1] * z.shape[2])
        lost = [name for name in by_name if name not in trace.nodes]
        if lost:
            raise CapabilityError(
                "guide", f"its site '{lost[0]}' is not in the model", "give the model one of that name"
            )
        for name, site in ours.sites(trace).items():
            ours.require_served(name, site, points(x), "model")
        return trace

    def sites(self, x: Batch) -> Any:
        """The guide's latents, in their order.

        Raises:
            CapabilityError: one cannot be served.
        """
        with torch.no_grad():
            trace = ours.traced(self._programs[1], x, self.given(_at_mean), 1)
        return ours.sites_of(trace, points(x), "guide")

    def given(self, latent: Callable[[Any], Tensor | None]) -> Any:
        """What stands in for Pyro's store and draws."""

        def parameter(name: str) -> Tensor | None:
            key = _key(name)
            return ours.constrained(name)(self.store[key]) if key in self.store else None

        return ours.Given(parameter, latent, self.parameters())

    @property
    def guide(self) -> Callable[..., Any]:
        """The proposal."""
        return self._programs[1]


class GuideProposal(Drawn):
    """The guide's latents as functions of noise.

    Args:
        owner: the model that it is of.
        x: data ``[B, *event]``.
    """

    def __init__(self, owner: FromPyro, x: Batch) -> None:
        self._owner, self.x, self._sites = owner, x, owner.sites(x)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """``(D,)``, one number for each of z."""
        return (self._sites[-1].at.stop,)

    def layer_means(self, noise: Tensor) -> tuple[Tensor, ...]:
        """E_q of every site given those before it: ``[B, M, K, D_l]`` each."""
        sites = ours.latents(self.trace(self.sample(noise)))
        wide = [_laid_out(ours.base_normal(sites[site.name]["fn"]).loc, site, noise) for site in self._sites]
        return tuple(wide)

    def draw(self, noise: Tensor, path: bool) -> Draw:
        """Of noise ``[B, M, K, D]``; see ``Drawn``."""
        by_name = {site.name: _part(noise, site) for site in self._sites}
        made: dict[str, Tensor] = {}

        def latent(message: Any) -> Tensor:
            normal = ours.base_normal(message["fn"])
            made[message["name"]] = normal.loc + normal.scale * by_name[message["name"]]
            return made[message["name"]]

        trace = ours.traced(self._owner.guide, self.x, self._owner.given(latent), noise.shape[1] * noise.shape[2])
        z = torch.cat([_laid_out(made[site.name], site, noise) for site in self._sites], dim=-1)
        log_q = _summed(trace, z, latent=True)
        return Draw(z, log_q, held_density(self._owner, self.x, z) if path else None)

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x) at any z ``[B, M, K, D]``."""
        return _summed(self.trace(z), z, latent=True)

    def trace(self, z: Tensor) -> Any:
        """The guide's trace with z in its sites."""
        by_name = {site.name: _part(z, site) for site in self._sites}
        given = self._owner.given(lambda message: by_name[message["name"]])
        return ours.traced(self._owner.guide, self.x, given, z.shape[1] * z.shape[2])


def of_store(owner: nn.Module | None) -> dict[str, nn.Parameter]:
    """The parameters of Pyro's store that lie in none of a module's own, by key; they are the store's, as it trains on."""
    own = set() if owner is None else {id(parameter) for parameter in owner.parameters()}
    held = pyro.get_param_store()._params
    free = {name: tensor for name, tensor in held.items() if id(tensor) not in own and "$$$" not in name}
    return {_key(name): nn.Parameter(tensor.detach()) for name, tensor in free.items()}


def _key(name: str) -> str:
    return name.replace(".", "_")


def _at_mean(message: Any) -> Tensor | None:
    normal = ours.base_normal(message["fn"])
    return None if normal is None else normal.loc.expand(message["fn"].batch_shape + message["fn"].event_shape)


def _part(z: Tensor, site: Any) -> Tensor:
    """A site's own of z ``[B, M, K, D]``, as Pyro has it: ``[M K, B, *event]``."""
    own = z[..., site.at].flatten(1, 2).movedim(1, 0)
    return own.reshape(*own.shape[:2], *site.shape)


def _laid_out(value: Tensor, site: Any, like: Tensor) -> Tensor:
    """A site's value ``[M K, B, *event]`` as a part of z: ``[B, M, K, d]``."""
    B, M, K = like.shape[:3]
    size = site.at.stop - site.at.start
    return value.expand(M * K, B, *site.shape).reshape(M * K, B, size).movedim(0, 1).reshape(B, M, K, size)


def _summed(trace: Any, z: Tensor, latent: bool | None) -> Tensor:
    """The sum of log densities of a trace's sites: all (None), or latent ones alone: ``[B, M, K]``."""
    hidden = ours.latents(trace)
    values = [
        ours.density(site, site["value"])
        for name, site in ours.sites(trace).items()
        if latent is None or name in hidden
    ]
    return _per_sample(sum(values), z)


def _per_sample(value: Any, z: Tensor) -> Tensor:
    B, M, K = z.shape[:3]
    found: Tensor = value.expand(M * K, B).movedim(0, 1).reshape(B, M, K)
    return found
