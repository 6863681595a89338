"""An evaluation of a run: what was found on its test points, and where it is kept."""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from snrkit.backend.kernels import chosen
from snrkit.backend.machine import Machine
from snrkit.backend.machine import threads as on_threads
from snrkit.backend.memory import require_memory
from snrkit.core.streams import Streams
from snrkit.data.base import Dataset
from snrkit.evaluation.bounds import PointScores, checked_scores, summarise
from snrkit.evaluation.latents import means_table
from snrkit.evaluation.portions import Portions
from snrkit.evaluation.score import Score, as_table
from snrkit.evaluation.sentences import SentenceScores, sentence_scores, summarise_sentences
from snrkit.evaluation.ssim import has_ssim, point_ssim, ssim_score
from snrkit.fleet.elsewhere import Elsewhere
from snrkit.models.base import LatentModel
from snrkit.runs.kinds.evaluation import EVALUATION
from snrkit.runs.kinds.latents import LATENTS
from snrkit.runs.kinds.points import POINTS
from snrkit.runs.place import Place, target
from snrkit.specs.given import whole
from snrkit.types import Array, Progress

# Of each test point, in this order.
_OF_POINT = ("iwae_64", "log_p", "kl_q_p", "elbo", "ess_64", "ess")
_LABELS = ("run", "step", "data", "samples", "seed")


@dataclass(frozen=True)
class Evaluation:
    """What was found.

    Attributes:
        scores: bounds, KL, ESS, active units and SSIM, each with its standard error.
        about: what they are of, as the file says it: run, step, data, samples, seed and the like.
        each: bounds and ESS of every point, and its latent means.
        ssim: of every point, ``[N]``; None where there are no images to compare.
        sentences: reconstruction, KL and words of every point; None where the data are no sentences.
        classes: of the points, ``[N]``; None where they have none.
        portions: the finished points, kept until the evaluation is saved.
        place: where it goes.
        latents_file: where the latent means go.
    """

    scores: list[Score]
    about: Mapping[str, Any]
    each: PointScores = field(repr=False)
    ssim: Array | None = field(repr=False)
    sentences: SentenceScores | None = field(repr=False)
    classes: Any = field(repr=False)
    portions: Portions = field(repr=False)
    place: Place = field(repr=False)
    latents_file: Path = field(repr=False)

    @property
    def table(self) -> pd.DataFrame:
        """The scores, one row per metric: value, stderr, sd, definition, and the threads that they took."""
        return as_table(self.scores, self.about["threads"])

    @property
    def points(self) -> pd.DataFrame:
        """What each test point has, one row each: bounds, KL, ESS, SSIM; of a sentence reconstruction and words."""
        columns = {name: getattr(self.each, name) for name in _OF_POINT}
        table = pd.DataFrame({"point": range(len(self.each.log_p)), **columns})
        table = table if self.ssim is None else table.assign(ssim=self.ssim)
        table = table if self.sentences is None else table.assign(**self.sentences.columns)
        return table.assign(**{name: self.about[name] for name in _LABELS})

    @property
    def latents(self) -> pd.DataFrame:
        """E_q[z|x] of each point, one row per layer and point."""
        labels = {name: self.about[name] for name in ("run", "step", "data")}
        return means_table(self.each.layers, self.classes).assign(**labels)

    def save(self, path: Path | None = None, *, points: bool = False, latents: bool = False) -> Path:
        """Write what was found, whole or not at all; the finished points that were kept for it go.

        Args:
            path: a JSON file; None: where it was announced that it goes.
            points: also write what each point has, beside it (``.points.parquet``).
            latents: also write the latent means (``.latents.parquet``; of a run on its own data: ``latents.parquet``).

        Returns:
            The JSON file.

        Raises:
            OutputError: it cannot be written.
        """
        with target(self.place, path) as file:
            if points:
                POINTS.write(file.with_suffix(".points.parquet"), self.points)
            if latents:
                LATENTS.write(self.latents_file if path is None else file.with_suffix(".latents.parquet"), self.latents)
            EVALUATION.write(file, {**self.about, "rows": [dataclasses.asdict(score) for score in self.scores]})
            self.portions.settle()
        return file


def evaluated(  # noqa: PLR0913 (one option each; most by keyword)
    model: LatentModel,
    x: Tensor,
    dataset: Dataset,
    about: Mapping[str, Any],
    place: Place,
    *,
    context: str,
    latents_file: Path,
    progress: Progress | None = None,
    threads: int | None = None,
    elsewhere: Elsewhere | None = None,
) -> Evaluation:
    """Bounds, diagnostics and SSIM of a model on the first test points; finished portions of them are kept.

    Args:
        model: the model.
        x: the points, ``[N, *event]``.
        dataset: what they are of.
        about: of the result: at least ``samples`` per point and ``seed`` of the noise.
        place: where the result goes; finished portions are kept beside it.
        context: what the scores depend on beside the numbers of the points.
        latents_file: where the latent means go.
        progress: called with (done, total, note).
        threads: of the processor, of each worker where there are several; None: 1 of a worker, else as torch decides.
        elsewhere: workers that score portions; None: this process does.

    Raises:
        SpecError, ModelError, CapabilityError, NonFiniteError, ResourceError: as for ``bounds.evaluate``.
    """
    with on_threads(threads or (None if elsewhere is None else 1)):
        portions = Portions(place.partial, _context(context, model, x, elsewhere), elsewhere)
        return _evaluated(model, x, dataset, about, place, portions, latents_file, progress)


def _context(context: str, model: LatentModel, x: Tensor, elsewhere: Elsewhere | None) -> str:
    """What scores depend on beside what was asked: the last bits."""
    library = chosen(next(model.parameters()).dtype, x.device)
    machine = Machine.here() if elsewhere is None else elsewhere.fleet.hands.machine
    return f"{context} {library} {torch.get_num_threads()} threads {machine.label}"


def _evaluated(
    model: LatentModel,
    x: Tensor,
    dataset: Dataset,
    about: Mapping[str, Any],
    place: Place,
    portions: Portions,
    latents_file: Path,
    progress: Progress | None,
) -> Evaluation:
    whole("samples", about["samples"], 1, "5000 is the papers' choice")
    samples, streams, shape = about["samples"], Streams(about["seed"]), dataset.image_shape
    # The log-weights of one point.
    require_memory("samples", f"{samples:,} samples of a point", 8 * samples, "ask for fewer")
    start = time.perf_counter()
    each = checked_scores(model, x, samples, streams, progress, portions.scores)
    ssim = sentences = None
    scores = summarise(each, samples)
    if shape is not None and has_ssim(model, shape):
        ssim = point_ssim(model, x, shape, streams)
        scores.append(ssim_score(ssim))
    if dataset.kind == "tokens":
        sentences = sentence_scores(model, x, each.elbo, each.log_p)
        scores += summarise_sentences(sentences, samples, dataset.label or dataset.name)
    said = {
        **about, "points": len(x), "seconds": time.perf_counter() - start, "threads": torch.get_num_threads(),
    }  # fmt: skip
    return Evaluation(scores, said, each, ssim, sentences, dataset.test_labels, portions, place, latents_file)
