"""The side of workers: a model and data that have come to them, and what they are asked to make of them.

Every function here is called by ``fleet.orders.serve`` and gives bytes; the other side is ``crew``.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from snrkit.core.streams import Streams
from snrkit.diagnostics.engines import ENGINES
from snrkit.diagnostics.plan import Job
from snrkit.diagnostics.projecting import Onto, Projected, projected
from snrkit.diagnostics.rounding import Compared, Sizes, Unchecked
from snrkit.diagnostics.store import sealed, written
from snrkit.diagnostics.worker import Worker
from snrkit.errors import SpecError
from snrkit.fleet.models import from_bytes, on, to_bytes, unpacked
from snrkit.models.adopt import as_latent_model
from snrkit.models.blame import users_code
from snrkit.registry import makers
from snrkit.runs.metrics import METRICS
from snrkit.trial.opening import standing
from snrkit.trial.statement import require_stated, stated

# Of projected draws, by name.
_PARTS = ("norms", "products", "kept")


class Station:
    """A model and data, ready to be drawn from again and again.

    Args:
        content: see ``crew``.

    Raises:
        SpecError: the model is not the one that was sent.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._mode = content["mode"]
        self._model = as_latent_model(unpacked(content["model"]))
        x = on(content["x"], content["model"]["device"])
        said, start = stated(self._model, x, self._mode)
        require_stated(content["said"], said)
        made_by = makers(self._model, ENGINES.load(content["engine"]))
        if made_by != content["made_by"]:
            problem = f"a worker has {made_by or 'no plug-in'} where {content['made_by'] or 'no plug-in'} is used here"
            raise SpecError("executor", problem, "install the same packages on all workers")
        self._worker = Worker(
            self._model, x, Streams(content["seed"]), engine=content["engine"], chunk=content["chunk"],
            restart=start if content["whole"] else None, exchangeable=content["exchangeable"],
        )  # fmt: skip

    @contextmanager
    def ready(self) -> Iterator[Worker]:
        """What makes draws, within the block."""
        with standing(self._model, self._mode), users_code():
            yield self._worker


def station(content: bytes) -> Station:
    """A model with its data, from a cargo."""
    return Station(from_bytes(content))


def block(station: Station, job: Job, start: int, stop: int) -> bytes:
    """The moments of a block of draws."""
    with station.ready() as worker:
        return written(worker.block(job, range(start, stop)))


def weights(station: Station, job: Job, draws: int, metrics: Sequence[str]) -> bytes:
    """What the log-weights of the first draws say, to the families of these metrics."""
    with station.ready() as worker:
        return sealed(worker.weights(job, draws, [METRICS.load(name) for name in metrics]).plain())


def rounding(station: Station, job: Job) -> bytes:
    """What is known of the rounding of a job's draws."""
    with station.ready() as worker:
        found = worker.rounding(job)
    if isinstance(found, Unchecked):
        return sealed({"unchecked": np.array([found.eps]), "words": np.array([found.dtype, found.why])})
    assert isinstance(found, Compared)
    sizes = (found.own, found.other, *found.every)
    return sealed(
        {
            "eps": np.array([one.eps for one in sizes]), "rms": np.stack([one.rms for one in sizes]),
            "sd": np.stack([one.sd for one in sizes]), "smallest": np.array([found.smallest]),
            "words": np.array([found.dtype]),
        }
    )  # fmt: skip


def rounding_of(plain: Mapping[str, Any], size: int) -> Compared | Unchecked | None:
    """What ``rounding`` gave, of so many coordinates; None where it is none."""
    if "unchecked" in plain:
        return Unchecked(float(plain["unchecked"][0]), str(plain["words"][0]), str(plain["words"][1]))
    if not {"eps", "rms", "sd", "smallest", "words"} <= plain.keys():
        return None
    arrays = plain["rms"], plain["sd"]
    if any(array.shape != (4, size) or array.dtype != np.float64 or not np.isfinite(array).all() for array in arrays):
        return None
    own, other, *every = (Sizes(float(e), r, s) for e, r, s in zip(plain["eps"], *arrays, strict=True))
    return Compared(own, other, (every[0], every[1]), str(plain["words"][0]), float(plain["smallest"][0]))


def serving(station: Station, job: Job) -> bytes:
    """Name of each parameter to the engine that computes its moments."""
    with station.ready() as worker:
        return json.dumps(worker.serving(job)).encode()


def packed(onto: Onto) -> bytes:
    """What draws are projected on, for a cargo."""
    return to_bytes(
        {
            "networks": [[network.start, network.stop] for network in onto.networks], "M": list(onto.M),
            "means": [mean.cpu() for mean in onto.means], "chosen": list(onto.chosen),
            "place": onto.means[0].device.type,
        }
    )  # fmt: skip


def onto(content: bytes) -> Onto:
    """What draws are projected on, from a cargo: of ``packed``."""
    plain = from_bytes(content)
    place = torch.device(plain["place"])
    networks = [slice(*bounds) for bounds in plain["networks"]]
    return Onto(networks, [mean.to(place) for mean in plain["means"]], plain["M"], plain["chosen"])


def projections(station: Station, onto: Onto, job: Job, start: int, stop: int) -> bytes:
    """The draws of a block, projected."""
    with station.ready() as worker:
        return sealed_projections(projected(worker, job, range(start, stop), onto))


def sealed_projections(found: Projected) -> bytes:
    """Projected draws as bytes."""
    return sealed(
        {f"{m} {name}": t.cpu().numpy() for m, parts in found.items() for name, t in zip(_PARTS, parts, strict=True)}
    )


def projections_of(plain: Mapping[str, Any], onto: Onto) -> Projected | None:
    """What ``sealed_projections`` gave, of draws on this; None where it is not that."""
    networks, found = len(onto.networks), Projected()
    shapes = [(networks,), (networks, len(onto.means[0])), (len(onto.chosen),)]
    for m in onto.M:
        parts = [plain.get(f"{m} {name}") for name in _PARTS]
        if any(p is None or p.shape[1:] != s or not np.isfinite(p).all() for p, s in zip(parts, shapes, strict=True)):
            return None
        norms, products, kept = (torch.from_numpy(part) for part in parts)
        found[m] = norms, products, kept
    return found
