"""The side of workers: points that are scored there. Every function is called by ``fleet.orders.serve``."""

from dataclasses import dataclass

from torch import Tensor

from snrkit.evaluation.portions import scored, written
from snrkit.fleet.models import from_bytes, unpacked
from snrkit.models.adopt import as_latent_model
from snrkit.models.base import LatentModel
from snrkit.models.blame import users_code
from snrkit.trial.statement import require_stated, stated


@dataclass(frozen=True)
class Scene:
    """A model and the points, ``[N, *event]``, on its device."""

    model: LatentModel
    x: Tensor


def scene(content: bytes) -> Scene:
    """From a cargo.

    Raises:
        SpecError: the model is not the one that was sent.
    """
    plain = from_bytes(content)
    found = Scene(as_latent_model(unpacked(plain["model"])), plain["x"].to(plain["model"]["device"]))
    said, _ = stated(found.model, found.x, "evaluation")
    require_stated(plain["said"], said)
    return found


def portion(scene: Scene, start: int, stop: int, samples: int, seed: int) -> bytes:
    """Scores of some of the points."""
    with users_code():
        return written(scored(scene.model, scene.x, range(start, stop), samples, seed, None))
