"""What a model makes of its latent space: samples of its prior, and what lies between two points."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from snrkit.backend.memory import require_memory, within_memory
from snrkit.core.streams import Streams
from snrkit.errors import CapabilityError, NonFiniteError
from snrkit.evaluation.decoding import Decoding, Sentences, decoding
from snrkit.models.base import LatentModel
from snrkit.models.draw import drawn as drawn_from
from snrkit.models.state import in_mode
from snrkit.specs.given import whole
from snrkit.types import Progress

# Points of the latent space that are decoded at once.
_AT_ONCE = 256
_FEWER = "ask for fewer"


def _nothing(_done: float, _total: float, _note: str) -> None:
    pass


@torch.no_grad()
def sample(
    model: LatentModel, number: int, streams: Streams, *, drawn: bool | None = None, progress: Progress | None = None
) -> pd.DataFrame:
    """Samples of the prior p(z), decoded. Each has its own streams: up to rounding it does not depend on how many there are.

    Args:
        model: a model of images or sentences that has ``from_prior``.
        number: how many.
        streams: source of the noise.
        drawn: also draw x from p(x|z), beside what is most probable; None: of sentences.
        progress: called with (done, total, note).

    Returns:
        One row per sample and kind: ``sample``; ``kind`` (``mean`` and ``drawn`` of images, ``greedy`` and ``sampled`` of
        sentences); ``pixels`` or ``text``; ``z``.

    Raises:
        SpecError: fewer than one.
        CapabilityError: the model cannot draw from its prior, or decodes nothing that can be shown.
        ResourceError: they do not fit into memory.
        NonFiniteError: what is decoded is NaN or infinite.
    """
    number, shown = whole("number", number, 1, "ask for some"), decoding(model)
    also = isinstance(shown, Sentences) if drawn is None else drawn
    parts = (shown.likely, shown.drawn) if also else (shown.likely,)
    with in_mode(model, "evaluation"), within_memory("number", f"{number:,} samples", _FEWER):
        _require_room("number", number, _prior(model, streams, [0]), shown, len(parts))
        rows: list[tuple[Any, ...]] = []
        for own in _portions(number, progress):
            z = _prior(model, streams, own)
            for kind in parts:
                found = _decoded(shown, kind, z, own, streams)
                rows += zip(own, [kind] * len(own), found, z.cpu().numpy(), strict=True)
    return pd.DataFrame(rows, columns=["sample", "kind", shown.column, "z"])


def _prior(model: LatentModel, streams: Streams, numbers: Sequence[int]) -> Tensor:
    """Samples of the prior by their numbers, ``[n, D]``."""
    parameter, size = next(model.parameters()), model.prior_size
    noise = [streams.normal("prior", (n,), (size,), dtype=parameter.dtype, device=parameter.device) for n in numbers]
    return model.from_prior(torch.stack(noise))


def _decoded(shown: Decoding, kind: str, z: Tensor, numbers: Sequence[int], streams: Streams) -> list[Any]:
    if kind == shown.likely:
        found = shown.show(z)
    else:
        size = (shown.noise_size(z),)
        noise = [streams.normal("prior-data", (n,), size, dtype=z.dtype, device=z.device) for n in numbers]
        found = shown.draw(z, torch.stack(noise))
    _require_finite(z, found)
    return found


def _require_finite(z: Tensor, found: Sequence[Any]) -> None:
    bad = not bool(torch.isfinite(z).all()) or any(not isinstance(x, str) and not _finite(x) for x in found)
    if bad:
        raise NonFiniteError("model", "decodes to NaN or infinite numbers", "check the model's parameters")


def _finite(x: Any) -> bool:
    return bool(torch.isfinite(torch.as_tensor(x)).all())


def _require_room(argument: str, number: int, z: Tensor, shown: Decoding, kinds: int) -> None:
    """See to it that so many points fit into memory, as they are computed and as they are kept."""
    size = 2 * number * kinds * z.element_size() * (z.shape[-1] + shown.noise_size(z))
    require_memory(argument, f"{number:,} points of the latent space", size, _FEWER)


def _portions(number: int, progress: Progress | None) -> Iterator[list[int]]:
    """Numbers from 0, a few at a time."""
    tell = progress or _nothing
    for start in range(0, number, _AT_ONCE):
        own = list(range(start, min(number, start + _AT_ONCE)))
        yield own
        tell(own[-1] + 1, number, "")


@torch.no_grad()
def at_zero_noise(model: LatentModel, x: Tensor) -> Tensor:
    """z of each data point ``[n, *event]`` at noise of zero, ``[n, D]``.

    That is the mean of a normal proposal; of several layers each one's mean given that of the layer below; of a flow what it
    makes of the mean that it begins with.

    Raises:
        CapabilityError: z is discrete.
    """
    _require_between(model, x)
    parts = []
    for start in range(0, len(x), _AT_ONCE):
        own = x[start : start + _AT_ONCE]
        posterior = model.proposal(own)
        parts.append(
            drawn_from(posterior, own.new_zeros(len(own), 1, 1, *posterior.noise_shape), path=False).z[:, 0, 0]
        )
    return torch.cat(parts)


def _require_between(model: LatentModel, x: Tensor) -> None:
    if not getattr(model.proposal(x[:1]), "reparameterised", True):
        problem = f"z of {type(model).__name__} is discrete, and nothing lies between two of its values"
        raise CapabilityError("model", problem, "look at samples of its prior instead ('snrkit sample')")


@torch.no_grad()
def interpolate(
    model: LatentModel,
    x: Tensor,
    pairs: int,
    steps: int,
    streams: Streams,
    *,
    points: Sequence[int] = (),
    progress: Progress | None = None,
) -> pd.DataFrame:
    """What lies between two points: z = (1 - t) z_1 + t z_2, decoded, for t = 0, ..., 1.

    Args:
        model: a model of images or sentences, whose z is not discrete.
        x: data ``[n, *event]``: of the ends, two for each pair in a row, where ``points`` are given; else any.
        pairs: how many.
        steps: values of t, ends included; at least 2.
        streams: source of the noise.
        points: numbers of the data points, whose z at noise of zero are the ends (see ``at_zero_noise``); none: the ends are
            samples of the prior, the first two of ``sample`` with the same seed, the next two, ...
        progress: called with (done, total, note).

    Returns:
        One row per point on a line: ``pair``; ``place``, from 0; ``t``; ``kind`` (``mean`` or ``greedy``); ``pixels`` or
        ``text``; ``z``; and one for each data point at an end, of kind ``input`` with its number in ``point`` and no ``z``.

    Raises:
        SpecError: no pairs, or fewer than two steps.
        CapabilityError: z is discrete; the model cannot draw from its prior, or decodes nothing that can be shown.
        ResourceError: they do not fit into memory.
        NonFiniteError: what is decoded is NaN or infinite.
    """
    pairs, steps = whole("pairs", pairs, 1, "ask for some"), whole("steps", steps, 2, "the two ends are steps too")
    shown, total = decoding(model), pairs * steps
    with in_mode(model, "evaluation"), within_memory("steps", f"{total:,} points of the latent space", _FEWER):
        _require_between(model, x)
        one = at_zero_noise(model, x[:1]) if points else _prior(model, streams, [0])
        _require_room("steps", total, one, shown, 1)
        ends = at_zero_noise(model, x) if points else _prior(model, streams, range(2 * pairs))
        shares = torch.linspace(0, 1, steps, dtype=torch.float64).tolist()
        rows: list[tuple[Any, ...]] = []
        for own in _portions(total, progress):
            places = [(number // steps, number % steps) for number in own]
            z = torch.stack([torch.lerp(ends[2 * pair], ends[2 * pair + 1], shares[place]) for pair, place in places])
            found = shown.show(z)
            _require_finite(z, found)
            rows += [
                (pair, place, shares[place], shown.likely, one, at, float("nan"))
                for (pair, place), one, at in zip(places, found, z.cpu().numpy(), strict=True)
            ]
    rows += _inputs(shown, x, points, steps, rows)
    return pd.DataFrame(rows, columns=["pair", "place", "t", "kind", shown.column, "z", "point"])


def _inputs(
    shown: Decoding, x: Tensor, points: Sequence[int], steps: int, rows: Sequence[tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    """A row for each data point at an end."""
    if not points:
        return []
    none = rows[0][5][:0]
    return [
        (number // 2, (steps - 1) * (number % 2), float(number % 2), "input", one, none, float(point))
        for number, (point, one) in enumerate(zip(points, shown.inputs(x), strict=True))
    ]
