"""``snrkit reconstruct``."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from snrkit.cli.flags import flags
from snrkit.cli.folders import Found, Opening, on_runs, runs_options
from snrkit.cli.options import OUTPUT, Whole, common, model_option, shortened
from snrkit.cli.output import one_line, tell
from snrkit.specs.measure import NoiseSpec
from snrkit.specs.shard import Shard

if TYPE_CHECKING:
    from snrkit.pictures import Means
    from snrkit.run import Run

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
@runs_options()
@model_option
@click.option("--resample", "k", type=Whole(1), default=50, show_default=True, help="Importance samples behind q_IW.")
@click.option("--points", type=Numbers(), default="0-9", show_default=True, help="Test points, counted from 0.")
@click.option("--samples", type=Whole(1), default=5, show_default=True, help="Reconstructions per point and kind.")
@flags(NoiseSpec, {"seed": "--seed"}, filled=True)
@click.option("--out", type=OUTPUT, help="FILE.parquet, with the figure beside it. Default: in the run directory.")
@common
def command(  # noqa: PLR0913 (one per option)
    *,
    ckpts: tuple[Path, ...],
    shard: Shard,
    again: bool,
    model: str | None,
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
    too small get their SSIM with the input. Sentences are decoded word by word, the most probable one each, and come as a
    text (.txt) instead of a figure, with what the mean of q is decoded to. A folder of runs may be given, too.
    """
    from snrkit.runs.done import Made

    def work(run: "Run", _place: str) -> Found:
        found = run.reconstruct(points, k=k, samples=samples, seed=seed, out=out)
        files = found.save()

        def show() -> None:
            for line in [*map(one_line, found.lines()), *_lines(found.means, len(points)), *files]:
                tell(str(line))

        wanted = found.table[["point", "kind", "sample", "text"]].to_dict("records") if found.is_text else []
        written = {"sentences": wanted} if found.is_text else {}
        record = {"run": run.name, "files": [str(file) for file in files], **found.means, **written}
        return Found(record, show, [Made(file) for file in files])

    opening = Opening(ckpts, model, data_dir, device, shard, again)
    decides = {"k": k, "points": points, "samples": samples, "seed": seed}
    on_runs(opening, work, decides, results="reconstructions", as_json=as_json, out=out)


def _lines(means: "dict[str, Means]", points: int) -> Iterator[str]:
    """``log p(x|z) of q: -80.12 ± 0.34 nats, mean over points: 10`` and the like."""
    for column, label, digits, unit in (("log_likelihood", "log p(x|z)", 2, " nats"), ("ssim", "SSIM", 3, "")):
        for name, (value, stderr) in means.get(column, {}).items():
            spread = "" if stderr is None else f" ± {stderr:.{digits}f}"
            yield f"{label} of {name}: {value:.{digits}f}{spread}{unit}, mean over points: {points}"
