"""How a model travels: as its specification and its tensors, or, with its owner's consent, by cloudpickle.

What is plain is read as plain tensors; nothing in it is executed. cloudpickle carries code, which workers then run.
"""

import dataclasses
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from snrkit.backend.device import kind_of
from snrkit.core.batches import Batch
from snrkit.errors import SpecError
from snrkit.models.base import LatentModel, build_model
from snrkit.models.own import lending
from snrkit.models.summary import DataSummary
from snrkit.specs.run import ModelSpec

Send = Literal["specification", "cloudpickle"]


@dataclass(frozen=True)
class Recipe:
    """What builds a model as a run built it, before its parameters are put in.

    Attributes:
        spec: of the model.
        seed: of the run.
        dtype: of its parameters.
        summary: of the data that it was built for.
        given: ``FILE.py:CLASS`` of a model of one's own, which is read and run where the model is built; None: ours.
    """

    spec: ModelSpec
    seed: int
    dtype: str
    summary: DataSummary
    given: str | None = None

    def plain(self) -> dict[str, Any]:
        """As plain values and tensors."""
        summary = {field.name: getattr(self.summary, field.name) for field in dataclasses.fields(self.summary)}
        return {
            "spec": self.spec.model_dump_json(), "seed": self.seed, "dtype": self.dtype, "summary": summary,
            "given": self.given,
        }  # fmt: skip

    @staticmethod
    def built(plain: Mapping[str, Any]) -> LatentModel:
        """The model of ``plain``, with parameters of its own.

        Raises:
            SpecError: it is not to be had here.
            ModelError: its file raises.
        """
        spec = ModelSpec.model_validate_json(plain["spec"])
        with lending(spec, plain["given"]):
            model = build_model(spec, DataSummary(**plain["summary"]), plain["seed"])
        return model.to(getattr(torch, plain["dtype"]))


def packed(model: nn.Module, recipe: Recipe | None, send: Send, device: torch.device) -> dict[str, Any]:
    """A model as plain values, tensors and, with consent, code.

    Args:
        model: the model.
        recipe: what builds it; None: it is no run's.
        send: how it may travel.
        device: where workers are to have it.

    Raises:
        SpecError: it cannot travel so.
    """
    if send == "cloudpickle":
        return {"code": pickled("model", model), "device": device.type, "kind": kind_of(device)}
    if recipe is None:
        problem = "is no run's, so that workers do not know how to build it"
        raise SpecError(
            "model", problem, "say send='cloudpickle' to have it sent with its code, which workers then run"
        )
    tensors = {name: tensor.detach().cpu() for name, tensor in _named(model).items()}
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return {
        "recipe": recipe.plain(),
        "tensors": tensors,
        "trained": trained,
        "device": device.type,
        "kind": kind_of(device),
    }


def unpacked(plain: Mapping[str, Any]) -> nn.Module:
    """The model, on the kind of device that was asked for.

    Raises:
        SpecError: what builds it is not to be had here, or builds another one; or there is no such device.
    """
    if plain["device"] == "cuda" and not torch.cuda.is_available():
        raise SpecError("device", "a worker has no CUDA device", "give workers that have, or device='cpu'")
    if (kind := kind_of(torch.device(plain["device"]))) != plain["kind"]:
        problem = f"a worker has {kind}, and {plain['kind']} is used here: last bits would differ"
        raise SpecError("device", problem, "give workers with GPUs of one kind, that of this process")
    if "code" in plain:
        return unpickled(plain["code"]).to(plain["device"])  # type: ignore[no-any-return]
    model = Recipe.built(plain["recipe"])
    named = _named(model)
    if {name: t.shape for name, t in named.items()} != {name: t.shape for name, t in plain["tensors"].items()}:
        raise SpecError("model", "a worker builds another one of the same specification", "install the same versions")
    with torch.no_grad():
        for name, tensor in named.items():
            tensor.copy_(plain["tensors"][name])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in plain["trained"])
    return model.to(plain["device"])


def _named(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def to_bytes(content: Mapping[str, Any]) -> bytes:
    """Plain values and tensors as bytes."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    return buffer.getvalue()


def from_bytes(content: bytes) -> dict[str, Any]:
    """The same again; nothing in them is executed."""
    found: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return found


def on(x: Batch, device: str) -> Batch:
    """A batch on a kind of device."""
    from snrkit.core.batches import transform

    return transform(x, lambda tensor: tensor.to(device))


def pickled(argument: str, thing: object) -> bytes:
    """Anything, with its code.

    Raises:
        SpecError: it cannot be pickled, or cloudpickle is not there.
    """
    try:
        import cloudpickle
    except ImportError:
        raise SpecError("send", "cloudpickle is not installed", "pip install 'snrkit[cluster]'") from None
    try:
        content: bytes = cloudpickle.dumps(thing)
    except Exception as error:  # a user's object may raise anything
        problem = f"cannot be pickled ({type(error).__name__}: {str(error).partition(chr(10))[0][:200]})"
        raise SpecError(argument, problem, "leave out what cannot, such as open files, locks and generators") from error
    return content


def unpickled(content: bytes) -> Any:
    """What ``pickled`` made; its code is run."""
    import pickle

    return pickle.loads(content)
