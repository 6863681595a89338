"""What a model says of a few data points: whether two are the same, here and on a worker."""

import math
from dataclasses import dataclass

import torch

from snrkit.backend.process import seed_generators
from snrkit.core.backward import derivatives, hides_parameters
from snrkit.core.batches import Batch, points, take
from snrkit.core.streams import Streams
from snrkit.errors import SpecError
from snrkit.models.base import LatentModel
from snrkit.models.blame import users_code
from snrkit.models.calling import parameters_of
from snrkit.models.state import Snapshot
from snrkit.specs.base import Mode
from snrkit.trial.opening import standing

# Data points, outer and importance samples at which a model is asked.
_ASKED = 3, 2, 3
# Another order of sums says other digits from here on, of a number itself, and of the largest beside it: what vanishes but
# for rounding is never the same.
_OWN, _BESIDE = 1e-4, 1e-5

# Its class, what it says and its derivatives, as they travel.
Plain = tuple[str, list[float], list[float]]


@dataclass(frozen=True)
class Said:
    """What a model says of its first data points at fixed noise.

    Attributes:
        kind: the model's class.
        values: sums of log p and of log q of each point.
        norms: of the derivative of log w in each trained parameter.
    """

    kind: str
    values: list[float]
    norms: list[float]

    def __str__(self) -> str:
        largest = max(self.norms)
        texts = [f"{value:.5g}" for value in [*self.values, largest]]
        texts += [f"{norm / largest:.4f}" for norm in self.norms] if largest > 0 else []
        return f"{self.kind} " + " ".join(texts)

    @property
    def plain(self) -> Plain:
        """As it travels."""
        return self.kind, self.values, self.norms

    def agrees(self, other: "Said") -> bool:
        """Whether another says the same, but for the order of its sums."""
        return self.kind == other.kind and _close(self.values, other.values) and _close(self.norms, other.norms)


def _close(one: list[float], other: list[float]) -> bool:
    largest = max((abs(value) for value in one if math.isfinite(value)), default=0.0)
    return len(one) == len(other) and all(
        math.isclose(a, b, rel_tol=_OWN, abs_tol=_BESIDE * largest) or (math.isnan(a) and math.isnan(b))
        for a, b in zip(one, other, strict=True)
    )


def stated(model: LatentModel, x: Batch, mode: Mode) -> tuple[Said, Snapshot]:
    """What a model says in a mode, and its state there; it is left as it is.

    Args:
        model: the model.
        x: data ``[B, *event]``.
        mode: of its modules.

    Raises:
        ModelError: its own code raised.
    """
    with standing(model, mode):
        start = Snapshot(model)
        with users_code():
            said = said_of(model, x)
        start.restore()
    return said, start


def require_stated(asked: Plain, said: Said) -> None:
    """See to it that a model that has come to a worker is the one that was sent.

    Raises:
        SpecError: it says something else.
    """
    if not Said(*asked).agrees(said):
        problem = "is another one on a worker, which says other log-weights or derivatives of the same noise"
        raise SpecError("model", problem, "have it sent with its code, send='cloudpickle'")


def said_of(model: LatentModel, x: Batch) -> Said:
    """What a model says of its first data points at fixed noise: log densities, and their derivatives.

    Its tensors do not tell all: a temperature or an activation may be a plain attribute, and whether something is detached
    shows in derivatives only. As text all is rounded, so that another order of sums (another number of threads) mostly says
    the same there too.

    Args:
        model: the model; the global generators are seeded, and its caller's to put back.
        x: data ``[B, *event]``.
    """
    seed_generators(0)
    with torch.enable_grad():
        values, norms = _said(model, take(x, slice(0, min(_ASKED[0], points(x)))))
    kind = type(model)
    return Said(f"{kind.__module__}.{kind.__qualname__}", values, norms)


def _said(model: LatentModel, x: Batch) -> tuple[list[float], list[float]]:
    """Sums of log p and log q of each data point, and the norm of the derivative of log w in each trained parameter."""
    _, M, K = _ASKED
    like = next(model.parameters())
    shape = (points(x), M, K, *model.noise_shape(x))
    weights = model(x, Streams(0).normal("statement", (), shape, dtype=like.dtype, device=like.device))
    values = [float(row) for part in (weights.log_p, weights.log_q) for row in part.detach().double().sum(dim=(1, 2))]
    total = weights.log_w.sum()
    trained = [parameter for parameter in parameters_of(model).values() if parameter.requires_grad]
    found = derivatives(model, [total], trained, hidden=hides_parameters([total]))
    return values, [float(gradient.double().norm()) for gradient in found]
