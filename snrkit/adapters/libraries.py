"""Models of Pyro and pythae, each library imported when its own is asked for."""

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from torch import nn

from snrkit.adapters.found import holder, modules_of
from snrkit.core.batches import Batch
from snrkit.errors import CapabilityError, SpecError

if TYPE_CHECKING:
    from snrkit.adapters.pyro_models import FromPyro
    from snrkit.adapters.pythae_models import FromPythae


def from_pyro(model: Callable[..., Any], guide: Callable[..., Any], *, modules: Any = None) -> "FromPyro":
    """A Pyro model with its guide, which everything here takes: normal latents in one plate of the data points.

    The gradient of ``vae`` is that of ``Trace_ELBO``, of ``vae-analytic`` that of ``TraceMeanField_ELBO``, of ``iwae``
    that of ``RenyiELBO(alpha=0)``, each per data point where Pyro sums. For other ELBOs see ``pyro_loss``.

    Args:
        model: called with the data, as by ``svi.step``: one tensor, several (a tuple) or by name (a dict).
        guide: the same. The modules that both use are found; parameters of ``pyro.param`` are those of the store.
        modules: those that are trained, where they are not all found.

    Raises:
        SpecError: Pyro is not installed, or no module with parameters is found.
        CapabilityError: a parameter lies in no module. What a site cannot be served for is told when data are there: global
            latents, subsampling, enumeration, other distributions.
    """
    own: Any = _pyro()
    found = modules_of((model, guide))
    if modules is None and not found and own.of_store(None):
        adapted: FromPyro = own.FromPyro(model, guide, {})
    else:
        adapted = own.FromPyro(model, guide, holder(found, modules))
    return adapted


def pyro_loss(model: Callable[..., Any], guide: Callable[..., Any], elbo: Any) -> Callable[..., Any]:
    """Any of Pyro's losses, for ``measure_loss``: ``TraceGraph_ELBO``, ``RenyiELBO``, ``ReweightedWakeSleep`` and the rest.

    Args:
        model: called with the data.
        guide: the same.
        elbo: an object of ``pyro.infer``; its own ``loss_and_grads`` calls ``backward``.

    Returns:
        A function of (what is trained, data), as ``measure_loss`` takes it.

    Raises:
        SpecError: Pyro is not installed, or the object has no ``loss_and_grads``.
    """
    _pyro()
    if not callable(getattr(elbo, "loss_and_grads", None)):
        raise SpecError("elbo", f"is a {type(elbo).__name__}", "give an object of pyro.infer, e.g. TraceGraph_ELBO()")

    def loss(_trained: Any, x: Batch) -> None:
        named = dict(x) if isinstance(x, dict) else {}
        elbo.loss_and_grads(model, guide, *(() if named else x if isinstance(x, tuple) else (x,)), **named)

    return loss


def _pyro() -> ModuleType:
    try:
        from snrkit.adapters import pyro_models
    except ImportError:
        raise SpecError("pyro", "is not installed", "pip install 'snrkit[pyro]'") from None
    return pyro_models


def from_pythae(model: Any) -> "FromPythae":
    """A model of pythae, which everything here takes.

    ``measure(adapted, x, [adapted.trains.estimator], K=adapted.trains.K, M=adapted.trains.M)`` measures what pythae trains
    with; ``says`` in the place of ``trains`` what the model's name stands for; ``remarks`` say where the two differ.

    Args:
        model: a VAE, BetaVAE, IWAE, MIWAE, PIWAE, CIWAE, VAMP or VAE_IAF of ``pythae.models``.

    Raises:
        SpecError: it is none of pythae's.
        CapabilityError: it is another model of pythae; its loss can be measured.
    """
    from snrkit.adapters.pythae_models import SERVED, FromPythae

    name = getattr(model, "model_name", None)
    if not isinstance(model, nn.Module) or not isinstance(name, str) or not hasattr(model, "encoder"):
        raise SpecError("model", f"is a {type(model).__name__}, none of pythae's", "give an object of pythae.models")
    if name not in SERVED:
        remedy = "measure its loss: snrkit.measure_loss(lambda m, x: m({'data': x}).loss, model, x)"
        raise CapabilityError("model", f"pythae's {name} is none of {', '.join(SERVED)}", remedy)
    return FromPythae(model)
