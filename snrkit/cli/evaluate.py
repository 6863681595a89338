"""``snrkit evaluate``."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from snrkit.cli.flags import flags
from snrkit.cli.options import OUTPUT, Whole, checkpoint_option, common, model_option
from snrkit.cli.output import print_table, progress, tell
from snrkit.interrupt import Interrupted
from snrkit.specs.measure import MeasureSpec

if TYPE_CHECKING:
    from snrkit.evaluation.score import Score


@click.command(name="evaluate")
@checkpoint_option
@model_option
@click.option(
    "--samples", type=Whole(1), default=5000, show_default=True, help="Importance samples per point behind log p(x)."
)
@click.option("--points", type=Whole(2), help="Only the first so many test points.")
@click.option("--data", help="Evaluate on the test set of other data of the same size, e.g. omniglot.")
@click.option("--keep-points", is_flag=True, help="Also write what each point has: bounds, KL, ESS, SSIM (Parquet).")
@click.option("--keep-means", is_flag=True, help="Also write E_q[z|x] of every point (latents.parquet).")
@flags(MeasureSpec, {"seed": "--seed"}, filled=True)
@click.option(
    "--out", type=OUTPUT, help="JSON file. Default: evaluation.json (with --data: evaluation.DATA.json) in the run."
)
@common
def command(  # noqa: PLR0913 (one per option)
    *,
    path: Path,
    model: str | None,
    samples: int,
    points: int | None,
    data: str | None,
    keep_points: bool,
    keep_means: bool,
    seed: int,
    out: Path | None,
    data_dir: Path | None,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Bounds, KL, ESS, active units and SSIM of a trained model on its test set; perplexity of sentences.

    Each with its standard error over test points. Samples are streamed, so memory stays bounded. SSIM compares images of at
    least 11 pixels a side with their reconstructions; for smaller ones it is left out. Of sentences there are reconstruction
    and KL, at weight 1 and with all words given, however the model was trained, and perplexity per word. Ctrl-C keeps
    finished points, and the same command goes on from there.
    """
    from snrkit.run import Run

    run = Run.open(path, data_dir=data_dir, device=device, model=model)
    if data is not None:
        run = run.on(data, data_dir=data_dir)
    try:
        with progress(f"evaluate {run.name}", quiet) as update:
            found = run.evaluate(samples, points, seed=seed, out=out, progress=update)
    except KeyboardInterrupt:
        raise Interrupted from None
    file = found.save(points=keep_points, latents=keep_means)
    if as_json:
        tell(file.read_text().rstrip())
    else:
        _show(found.scores, f"{run.name}, step {run.step}, {found.about['data']}")


def _show(scores: "list[Score]", title: str) -> None:
    table = Table("metric", "value", "± se", "sd", "definition", title=title)
    for score in scores:
        sd = "" if score.sd is None else f"{score.sd:.3f}"
        stderr = "" if math.isnan(score.stderr) else f"{score.stderr:.3f}"
        table.add_row(score.metric, f"{score.value:.3f}", stderr, sd, score.definition)
    print_table(table)
