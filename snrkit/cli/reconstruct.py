"""``snrkit reconstruct``."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from snrkit.backend.memory import require_memory
from snrkit.cli.options import OUTPUT, SEED, Whole, checkpoint_option, common, shortened
from snrkit.cli.output import print_json, tell
from snrkit.files import pinned, require_writable, write_bytes
from snrkit.runs.kinds.reconstructions import RECONSTRUCTIONS

if TYPE_CHECKING:
    import pandas as pd

_ENDINGS = {".parquet", ".pdf", ".png"}
_MOST_POINTS = 1_000_000


def _is_number(text: str) -> bool:
    """Whether a text is a number that can be that of a test point."""
    return text.isdecimal() and len(text) < 19


class Numbers(click.ParamType):  # type: ignore[type-arg]
    """Comma-separated numbers and ranges of numbers, e.g. ``0-9,12``."""

    name = "N-N,N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """Text to numbers, without repetitions."""
        if isinstance(value, list):
            return value
        found: list[int] = []
        for part in str(value).split(","):
            first, dash, last = part.strip().partition("-")
            if not _is_number(first) or (dash and not _is_number(last)):
                self.fail(f"'{shortened(part)}' is no number of a test point; write for example 0-9,12", param, ctx)
            if dash and int(last) < int(first):
                self.fail(f"'{part}' runs backwards; write {last}-{first}", param, ctx)
            numbers = range(int(first), int(last if dash else first) + 1)
            if len(found) + len(numbers) > _MOST_POINTS:
                self.fail(f"names more than {_MOST_POINTS:,} test points; write for example 0-9,12", param, ctx)
            found += numbers
        return list(dict.fromkeys(found))


@click.command(name="reconstruct")
@checkpoint_option
@click.option("--resample", "k", type=Whole(1), default=50, show_default=True, help="Importance samples behind q_IW.")
@click.option("--points", type=Numbers(), default="0-9", show_default=True, help="Test points, counted from 0.")
@click.option("--samples", type=Whole(1), default=5, show_default=True, help="Reconstructions per point and kind.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Root of the noise.")
@click.option("--out", type=OUTPUT, help="FILE.parquet, with the figure beside it. Default: in the run directory.")
@common
def command(  # noqa: PLR0913 (one per option)
    *,
    ckpt: Path,
    k: int,
    points: list[int],
    samples: int,
    seed: int,
    out: Path | None,
    data_dir: Path | None,
    device: str,
    as_json: bool,
    quiet: bool,  # noqa: ARG001 (there is no progress to show)
) -> None:
    """Reconstruct test points, with and without importance resampling.

    Draws z from q(z|x), and from q_IW: k draws from q of which one is kept with probability its normalised weight. Writes
    the images (reconstructions.parquet: input, q, q_iw) and a figure of them side by side (.pdf, .png). Images that are not
    too small get their SSIM with the input.
    """
    from snrkit.core.streams import Streams
    from snrkit.evaluation.points import chosen_points
    from snrkit.evaluation.reconstruct import reconstruct, with_ssim
    from snrkit.evaluation.ssim import has_ssim
    from snrkit.run import Run

    saved = Run.open(ckpt, data_dir=data_dir, device=device)
    x, label = chosen_points(saved.dataset, saved.spec, saved.device, points)
    path = out or saved.beside("reconstructions.parquet")
    base = path.with_suffix("") if path.suffix in _ENDINGS else path
    files = {ending: base.with_name(base.name + ending) for ending in sorted(_ENDINGS)}
    for file in files.values():
        require_writable(file)
    click.get_current_context().with_resource(pinned(path.parent))
    require_memory("--resample", f"{k:,} samples of a point", 8 * k, "ask for fewer")
    # Pixels and latents of both kinds, as they are computed and as they are kept.
    size = 4 * len(points) * samples * x[0].nbytes
    require_memory("--samples", f"{samples:,} reconstructions of {len(points):,} points", size, "ask for fewer")
    images = reconstruct(saved.model, x, points, k, samples, Streams(seed))
    height, width = saved.dataset.image_shape or (1, x.shape[1])
    if has_ssim(saved.model, saved.dataset.image_shape):
        images = with_ssim(images, (height, width))
    table = images.assign(run=saved.name, step=saved.step, data=label, k=k, seed=seed, height=height, width=width)
    RECONSTRUCTIONS.write(files[".parquet"], table)
    _draw(table, files)
    means = {name: _means(table, name) for name in ("log_likelihood", "ssim") if name in table}
    if as_json:
        print_json({"run": saved.name, "files": [str(file) for file in files.values()], **means})
        return
    for line in _lines(means, len(points)):
        tell(line)
    for file in files.values():
        tell(str(file))


def _draw(table: "pd.DataFrame", files: dict[str, Path]) -> None:
    from snrkit.report import style
    from snrkit.report.figures.reconstructions import draw_tables
    from snrkit.report.save import render

    look = style.COLUMNS["a4"]
    with style.context(look):
        figure = draw_tables([table], look).figure
        for ending in ("pdf", "png"):
            write_bytes(files[f".{ending}"], render(figure, ending, look.dpi))


Means = dict[str, tuple[float, float | None]]


def _means(table: "pd.DataFrame", column: str) -> Means:
    """Mean of a column for each kind and of their difference, with standard errors over points; None for one point."""
    drawn = table[table.kind != "input"]
    mean = drawn.groupby(["kind", "point"])[column].mean()
    kinds = {"q": mean["q"], "q_iw": mean["q_iw"], "q_iw - q": mean["q_iw"] - mean["q"]}
    return {name: (float(v.mean()), float(v.sem()) if len(v) > 1 else None) for name, v in kinds.items()}


def _lines(means: dict[str, Means], points: int) -> Iterator[str]:
    """``log p(x|z) of q: -80.12 ± 0.34 nats, mean over points: 10`` and the like."""
    for column, label, digits, unit in (("log_likelihood", "log p(x|z)", 2, " nats"), ("ssim", "SSIM", 3, "")):
        for name, (value, stderr) in means.get(column, {}).items():
            spread = "" if stderr is None else f" ± {stderr:.{digits}f}"
            yield f"{label} of {name}: {value:.{digits}f}{spread}{unit}, mean over points: {points}"
