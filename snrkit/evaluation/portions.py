"""Scores of test points, kept portion by portion, so that an evaluation that was stopped goes on where it was."""

import dataclasses
import hashlib
import io
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from snrkit import checksums
from snrkit.backend.kernels import chosen
from snrkit.core.streams import Streams
from snrkit.evaluation.bounds import PointScores, point_scores
from snrkit.evaluation.latents import LayerMeans
from snrkit.files import read_bytes, write_bytes
from snrkit.fleet.dispatch import Task
from snrkit.fleet.elsewhere import Elsewhere
from snrkit.models.base import LatentModel
from snrkit.trial.statement import stated
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
        folder: where; made when the first portion is finished. None: nothing is kept.
        context: what the scores depend on beside the points' numbers.
        elsewhere: workers that score portions; None: this process does.
    """

    def __init__(self, folder: Path | None, context: str, elsewhere: Elsewhere | None = None) -> None:
        self._folder, self._context, self._elsewhere = folder, context, elsewhere
        self._own: list[Path] = []

    def scores(
        self, model: LatentModel, x: Tensor, samples: int, streams: Streams, progress: Progress | None
    ) -> PointScores:
        """What ``point_scores`` gives for all points, bit for bit, from kept portions and new ones.

        Raises:
            OutputError: the folder cannot be written.
        """
        every = portions(len(x), samples, _ON_CUDA if x.is_cuda else 1)
        if self._elsewhere is not None:
            return _joined(self._gathered(self._elsewhere, model, x, samples, streams.seed, every, progress))
        found = []
        for points in every:

            def told(done: float, _: float, note: str, first: int = points.start) -> None:
                if progress is not None:
                    progress(first + done, len(x), note)

            kept = self._kept(points)
            if kept is None:
                kept = scored(model, x, points, samples, streams.seed, told)
                self._keep(points, written(kept))
            told(len(points), len(points), "points")
            found.append(kept)
        return _joined(found)

    def _gathered(
        self,
        elsewhere: Elsewhere,
        model: LatentModel,
        x: Tensor,
        samples: int,
        seed: int,
        every: list[range],
        progress: Progress | None,
    ) -> list[PointScores]:
        """Portions that are kept, and those of workers, in order."""
        kept = {points: self._kept(points) for points in every}
        done = sum(len(points) for points, scores in kept.items() if scores is not None)

        def taken(points: range, _: PointScores, content: bytes | None) -> None:
            nonlocal done
            self._keep(points, content or b"")
            done += len(points)
            if progress is not None:
                progress(done, len(x), "points")

        said, _ = stated(model, x, "evaluation")
        cargo = elsewhere.cargo({"x": x.cpu(), "said": said.plain}, model, x.device, "snrkit.evaluation.remote:scene")
        tasks = {
            points: Task(
                "snrkit.evaluation.remote:portion", (points.start, points.stop, samples, seed), (cargo,),
                partial(read, points=len(points)), partial(taken, points), cost=len(points),
            )
            for points in every
            if kept[points] is None
        }  # fmt: skip
        like = next(model.parameters())
        with elsewhere.dispatch(chosen(like.dtype, x.device)) as dispatch:
            dispatch.expect(tasks.items())
            return [kept[points] or dispatch.result(points, tasks[points]) for points in every]

    def _file(self, points: range) -> Path | None:
        return None if self._folder is None else self._folder / f"points-{self._digest(points)}.npz"

    def _kept(self, points: range) -> PointScores | None:
        """A kept portion, or None where there is none that can be used."""
        file = self._file(points)
        if file is None:
            return None
        self._own.append(file)
        with suppress(OSError):
            return read(read_bytes(file), len(points))
        return None

    def _keep(self, points: range, content: bytes) -> None:
        file = self._file(points)
        if file is not None:
            write_bytes(file, content)

    def settle(self) -> None:
        """Delete the portions, and the folder if nothing else is in it: what they were for is written."""
        with suppress(OSError):
            for file in self._own:
                file.unlink(missing_ok=True)
            if self._folder is not None:
                self._folder.rmdir()

    def _digest(self, points: range) -> str:
        return hashlib.sha256(f"{self._context} {points.start} {points.stop}".encode()).hexdigest()[:24]


def scored(
    model: LatentModel, x: Tensor, points: range, samples: int, seed: int, progress: Progress | None
) -> PointScores:
    """Scores of some of the points, as ``point_scores`` gives them of all."""
    return point_scores(model, x[points.start : points.stop], samples, _From(seed, points.start), progress)


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


def written(scores: PointScores) -> bytes:
    """Scores as bytes with a checksum."""
    content = {name: getattr(scores, name) for name in _SCORES}
    for number, layer in enumerate(scores.layers):
        content |= {f"layer{number}.{name}": value for name, value in dataclasses.asdict(layer).items()}
    buffer = io.BytesIO()
    np.savez(buffer, **content)
    return checksums.seal_zip(buffer.getvalue())


def read(sealed: bytes, points: int) -> PointScores | None:
    """What ``written`` gave of so many points; None where it is damaged, or none of them.

    Scores may be infinite or no numbers, which is for whoever sees all of them to judge.
    """
    try:
        if not checksums.verify(sealed):
            return None
        with np.load(io.BytesIO(sealed), allow_pickle=False) as archive:
            content = {name: archive[name] for name in archive.files}
        scores = {name: content[name] for name in _SCORES}
        layers: list[LayerMeans] = []
        while f"layer{len(layers)}.means" in content:
            means, variances, samples = (content[f"layer{len(layers)}.{n}"] for n in ("means", "variances", "samples"))
            layers.append(LayerMeans(means, variances, int(samples)))
    except Exception:  # numpy and zipfile raise nearly anything on a damaged file; it is computed again
        return None
    arrays = [*scores.values(), *(array for layer in layers for array in (layer.means, layer.variances))]
    sound = all(array.dtype == np.float64 and len(array) == points for array in arrays)
    if not sound or any((layer.variances < 0).any() for layer in layers):
        return None
    return PointScores(**scores, layers=layers)
