"""What a run's model makes of its latent space, as files: samples, what lies between two points, reconstructions."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from snrkit.core.streams import Streams
from snrkit.errors import SpecError
from snrkit.evaluation.canvases import canvases
from snrkit.evaluation.points import chosen_points
from snrkit.evaluation.reconstruct import reconstruct, rewrite, with_ssim
from snrkit.evaluation.samples import interpolate, sample
from snrkit.evaluation.ssim import has_ssim
from snrkit.opened import Opened
from snrkit.pictures import ENDINGS, WRITTEN, Reconstructions, Shown, reserved_pictures
from snrkit.runs.kinds.canvases import CANVASES
from snrkit.runs.kinds.interpolations import INTERPOLATIONS
from snrkit.runs.kinds.samples import SAMPLES
from snrkit.specs.base import short
from snrkit.specs.given import items, whole
from snrkit.types import Progress

if TYPE_CHECKING:
    from snrkit.report.drawing import Drawing
    from snrkit.report.style import Look


class Samples(Shown):
    """Samples of the prior."""

    kind = SAMPLES

    def lines(self) -> Iterator[str]:
        """See ``Shown``."""
        if self.is_text:
            rows = zip(self.table["sample"], self.table["kind"], self.table["text"], strict=True)
            yield from (f"{number} {kind}: {text}" for number, kind, text in sorted(rows, key=lambda row: row[:2]))
        else:
            size = f"{self.table['height'].iloc[0]} x {self.table['width'].iloc[0]} pixels"
            yield f"{self.table['sample'].nunique()} samples of the prior, {size}: {', '.join(self.table['kind'].unique())}"

    def _drawing(self, look: "Look") -> "Drawing":
        from snrkit.report.figures.samples import draw_tables

        return draw_tables([self.table], look)


class Interpolations(Shown):
    """What lies between two points."""

    kind = INTERPOLATIONS

    def lines(self) -> Iterator[str]:
        """See ``Shown``."""
        if self.is_text:
            # A data point stands before or behind the line that begins or ends at it.
            side = (2 * self.table["t"] - 1).where(self.table["kind"] == "input", 0.0)
            ordered = self.table.assign(side=side).sort_values(["pair", "place", "side"])
            rows = zip(ordered["pair"], ordered["kind"], ordered["t"], ordered["text"], strict=True)
            yield from (
                f"{pair} {'input' if kind == 'input' else f't={t:.2f}'}: {text}" for pair, kind, t, text in rows
            )
        else:
            pairs, places = self.table["pair"].nunique(), self.table["place"].nunique()
            yield f"{pairs} lines of {places} images between {_ENDS[str(self.table['between'].iloc[0])]}"

    def _drawing(self, look: "Look") -> "Drawing":
        from snrkit.report.figures.interpolations import draw_tables

        return draw_tables([self.table], look)


class Canvases(Shown):
    """Images as they are written step by step."""

    kind = CANVASES

    def lines(self) -> Iterator[str]:
        """What there is, and the mean over images of each step's divergence."""
        written = self.table[self.table["kind"] == "canvas"]
        images, steps = written["number"].nunique(), written["t"].nunique()
        yield f"{images} {_ENDS[str(self.table['of'].iloc[0])]} in {steps} steps"
        for t in sorted(written["t"].unique()):
            kl = written.loc[written["t"] == t, "kl"]
            if kl.notna().all():
                spread = f" ± {kl.sem():.3f}" if len(kl) > 1 else ""
                yield f"step {t}: KL {kl.mean():.3f}{spread} nats, mean over images: {len(kl)}"

    def _drawing(self, look: "Look") -> "Drawing":
        from snrkit.report.figures.canvases import draw_tables

        return draw_tables([self.table], look)


_ENDS = {"test": "test points", "prior": "samples of the prior"}


class Showing(Opened):
    """A checkpoint of a run, opened, and what its model makes of its latent space."""

    def sample(
        self,
        number: int = 20,
        *,
        drawn: bool | None = None,
        seed: int = 0,
        out: str | Path | None = None,
        progress: Progress | None = None,
    ) -> Samples:
        """Samples of the prior, decoded to images or sentences.

        Args:
            number: how many.
            drawn: also draw binary pixels, or words, from p(x|z), beside what is most probable; None: words only.
            seed: root of the noise; sample i is the same whatever the number is.
            out: the Parquet file that it is for, pictures or texts going beside it; None: in the run.
            progress: called with (done, total, note).

        Raises:
            SpecError, CapabilityError, ResourceError, NonFiniteError: as for ``evaluation.samples.sample``.
            OutputError: it cannot be written there.
        """
        path = Path(out) if out else self.beside("prior-samples.parquet")
        with reserved_pictures(path, self._endings) as place:
            table = sample(self.model, number, Streams(seed), drawn=drawn, progress=progress)
        return Samples(self._labelled(table, self._title, seed), place)

    def interpolate(
        self,
        pairs: int = 5,
        *,
        steps: int = 11,
        between: Literal["test", "prior"] = "test",
        seed: int = 0,
        out: str | Path | None = None,
        progress: Progress | None = None,
    ) -> Interpolations:
        """What lies on straight lines between two z, decoded to images or sentences.

        Args:
            pairs: how many lines.
            steps: points on each, ends included.
            between: ``test``: lines join the z of test points 0 and 1, 2 and 3, ... at noise of zero; ``prior``: samples of
                the prior, those that ``sample`` gives with the same seed.
            seed: root of the noise.
            out: the Parquet file that it is for, pictures or texts going beside it; None: in the run.
            progress: called with (done, total, note).

        Raises:
            SpecError: there are not so many test points, or nothing is asked for.
            CapabilityError: z is discrete, and as for ``sample``.
            ResourceError, NonFiniteError: as for ``evaluation.samples.interpolate``.
            OutputError: it cannot be written there.
        """
        if between not in _ENDS:
            raise SpecError("between", f"cannot be {short(between)}", f"choose from {', '.join(_ENDS)}")
        pairs = whole("pairs", pairs, 1, "ask for some")
        most = len(self.dataset.test) // 2
        if between == "test" and pairs > most:
            raise SpecError("pairs", f"{pairs} asked for, and the test set has points for {most}", "ask for fewer")
        numbers = list(range(2 * pairs)) if between == "test" else []
        x, label = chosen_points(self.dataset, self.spec, self.device, numbers or [0])
        path = Path(out) if out else self.beside("interpolations.parquet")
        with reserved_pictures(path, self._endings) as place:
            table = interpolate(self.model, x, pairs, steps, Streams(seed), points=numbers, progress=progress)
        table = table.assign(between=between)
        return Interpolations(self._labelled(table, label if numbers else self._title, seed), place)

    def canvases(
        self,
        points: Sequence[int] = tuple(range(6)),
        *,
        of: Literal["test", "prior"] = "test",
        seed: int = 0,
        out: str | Path | None = None,
    ) -> Canvases:
        """Images as a model of several steps writes them: the canvas after each, and where it read and wrote.

        Args:
            points: numbers of test points, from 0, or of samples of the prior.
            of: ``test``: reconstructions of test points, a sample of q(z|x) each; ``prior``: the samples that ``sample``
                gives with the same seed.
            seed: root of the noise.
            out: the Parquet file that it is for, pictures going beside it; None: in the run.

        Raises:
            SpecError: there is no such point, or nothing is asked for.
            CapabilityError: the model does not write in steps.
            ResourceError, NonFiniteError: as for ``evaluation.canvases.canvases``.
            OutputError: it cannot be written there.
        """
        if of not in _ENDS:
            raise SpecError("of", f"cannot be {short(of)}", f"choose from {', '.join(_ENDS)}")
        remedy = "give numbers of test points, for example [0, 1]"
        points = [whole("points", point, 0, remedy) for point in items("points", points, int, remedy)]
        x, label = chosen_points(self.dataset, self.spec, self.device, points if of == "test" else [0])
        path = Path(out) if out else self.beside("canvases.parquet")
        with reserved_pictures(path) as place:
            table = canvases(self.model, x if of == "test" else None, points, Streams(seed)).assign(of=of)
        return Canvases(self._labelled(table, label if of == "test" else self._title, seed), place)

    def reconstruct(
        self,
        points: Sequence[int] = tuple(range(10)),
        *,
        k: int = 50,
        samples: int = 5,
        seed: int = 0,
        out: str | Path | None = None,
    ) -> Reconstructions:
        """Test points beside their reconstructions from q(z|x) and from q_IW, which resamples by importance weights.

        Sentences are decoded greedily, from the mean of q too.

        Args:
            points: numbers of test points, from 0.
            k: importance samples behind each of q_IW.
            samples: reconstructions per point and kind.
            seed: root of the noise.
            out: the Parquet file that it is for, pictures or a text going beside it; None: in the run.

        Raises:
            SpecError: there is no such point, or nothing is asked for.
            CapabilityError: the model has no ``pixel_means``, and decodes no sentences.
            NonFiniteError, ResourceError: as for ``evaluation.reconstruct.resample``.
            OutputError: it cannot be written there.
        """
        remedy = "give numbers of test points, for example [0, 1]"
        points = [whole("points", point, 0, remedy) for point in items("points", points, int, remedy)]
        x, label = chosen_points(self.dataset, self.spec, self.device, points)
        path = Path(out) if out else self.beside("reconstructions.parquet")
        shared: dict[str, Any] = {**self.labels, "data": label, "k": k, "seed": seed}
        if self.dataset.kind == "tokens":
            with reserved_pictures(path, WRITTEN) as place:
                sentences = rewrite(self.model, x, points, k, samples, Streams(seed))
            return Reconstructions(sentences.assign(**shared), place)
        with reserved_pictures(path) as place:
            images = reconstruct(self.model, x, points, k, samples, Streams(seed))
            height, width = self.dataset.image_shape or (1, x.shape[1])
            if has_ssim(self.model, self.dataset.image_shape):
                images = with_ssim(images, (height, width))
        return Reconstructions(images.assign(**shared, height=height, width=width), place)

    @property
    def _title(self) -> str:
        return self.dataset.label or self.spec.data.name

    @property
    def _endings(self) -> tuple[str, ...]:
        return ENDINGS if hasattr(self.model, "pixel_means") else WRITTEN

    def _labelled(self, table: pd.DataFrame, data: str, seed: int) -> pd.DataFrame:
        about: dict[str, Any] = {**self.labels, "data": data, "seed": seed}
        if "pixels" in table:
            height, width = self.dataset.image_shape or (1, len(table["pixels"].iloc[0]))
            about |= {"height": height, "width": width}
        return table.assign(**about)
