"""Scores of test points, kept portion by portion, so that an evaluation that was stopped goes on where it was."""

import dataclasses
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from torch import Tensor

from snrkit.core.streams import Streams
from snrkit.evaluation.bounds import PointScores, point_scores
from snrkit.evaluation.latents import LayerMeans
from snrkit.files import atomic_path
from snrkit.models.base import LatentModel
from snrkit.types import Progress

# Importance samples of one portion, and at least and at most so many points: seconds of work on a CPU.
_SAMPLES, _FEWEST, _MOST = 2**18, 2, 64
# A GPU does so many times as much in less time.
_ON_CUDA = 64
_SCORES = [field.name for field in dataclasses.fields(PointScores) if field.name != "layers"]


class _From(Streams):
    """The streams of the test points from one on, under numbers that begin with 0.

    Args:
        seed: the root.
        first: number of that point.
    """

    def __init__(self, seed: int, first: int) -> None:
        super().__init__(seed)
        self._first = first

    def _sequence(self, purpose: str, index: Sequence[int]) -> np.random.SeedSequence:
        # Where all numbers of a stream come from; a point's number comes first in the index.
        return super()._sequence(purpose, (index[0] + self._first, *index[1:]))


class Portions:
    """Scores of portions of the test points in a folder, each in a file named by all that it depends on.

    Args:
        folder: where; made when the first portion is finished.
        context: what the scores depend on beside the points' numbers.
    """

    def __init__(self, folder: Path, context: str) -> None:
        self._folder, self._context = folder, context
        self._own: list[Path] = []

    def scores(
        self, model: LatentModel, x: Tensor, samples: int, streams: Streams, progress: Progress | None
    ) -> PointScores:
        """What ``point_scores`` gives for all points, bit for bit, from kept portions and new ones.

        Raises:
            OutputError: the folder cannot be written.
        """
        found = []
        for points in portions(len(x), samples, _ON_CUDA if x.is_cuda else 1):

            def told(done: float, _: float, note: str, first: int = points.start) -> None:
                if progress is not None:
                    progress(first + done, len(x), note)

            file = self._folder / f"points-{self._digest(points)}.npz"
            kept = _read(file, len(points))
            if kept is None:
                own = x[points.start : points.stop]
                kept = point_scores(model, own, samples, _From(streams.seed, points.start), told)
                _write(file, kept)
            self._own.append(file)
            told(len(points), len(points), "points")
            found.append(kept)
        return _joined(found)

    def settle(self) -> None:
        """Delete the portions, and the folder if nothing else is in it: what they were for is written."""
        with suppress(OSError):
            for file in self._own:
                file.unlink(missing_ok=True)
            self._folder.rmdir()

    def _digest(self, points: range) -> str:
        return hashlib.sha256(f"{self._context} {points.start} {points.stop}".encode()).hexdigest()[:24]


def portions(points: int, samples: int, times: int = 1) -> list[range]:
    """The numbers of all points in portions of at least two, unless there is but one: a function of the counts alone.

    Args:
        points: how many there are.
        samples: importance samples of each.
        times: how much larger than a CPU's portions they are.
    """
    size = min(max(times * _SAMPLES // samples, _FEWEST), times * _MOST)
    starts = list(range(0, max(points - 1, 1), size))
    return [range(start, stop) for start, stop in zip(starts, [*starts[1:], points], strict=True)]


def _joined(parts: list[PointScores]) -> PointScores:
    scores = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _SCORES}
    layers = [
        LayerMeans(
            np.concatenate([layer.means for layer in layers]),
            np.concatenate([layer.variances for layer in layers]),
            layers[0].samples,
        )
        for layers in zip(*(part.layers for part in parts), strict=True)
    ]
    return PointScores(**scores, layers=layers)


def _write(file: Path, scores: PointScores) -> None:
    content = {name: getattr(scores, name) for name in _SCORES}
    for number, layer in enumerate(scores.layers):
        content |= {f"layer{number}.{name}": value for name, value in dataclasses.asdict(layer).items()}
    with atomic_path(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **content)


def _read(file: Path, points: int) -> PointScores | None:
    """A kept portion, or None where there is none that can be used."""
    if not file.is_file():
        return None
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            content = {name: archive[name] for name in archive.files}
        scores = {name: content[name] for name in _SCORES}
        layers: list[LayerMeans] = []
        while f"layer{len(layers)}.means" in content:
            means, variances, samples = (content[f"layer{len(layers)}.{n}"] for n in ("means", "variances", "samples"))
            layers.append(LayerMeans(means, variances, int(samples)))
    except Exception:  # numpy and zipfile raise nearly anything on a damaged file; it is computed again
        return None
    arrays = [*scores.values(), *(array for layer in layers for array in (layer.means, layer.variances))]
    sound = layers and all(array.dtype == np.float64 and len(array) == points for array in arrays)
    if (
        not sound
        or not all(np.isfinite(array).all() for array in arrays)
        or any((a.variances < 0).any() for a in layers)
    ):
        return None
    return PointScores(**scores, layers=layers)
