"""``snrkit evaluate``."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from snrkit.cli.flags import flags
from snrkit.cli.folders import Found, Opening, on_runs, runs_options
from snrkit.cli.options import OUTPUT, Whole, common, fleet_options, model_option, threads_option
from snrkit.cli.output import print_table, progress
from snrkit.interrupt import Interrupted
from snrkit.runs.kinds.points import POINTS
from snrkit.specs.measure import MeasureSpec, Root
from snrkit.specs.shard import Shard

if TYPE_CHECKING:
    from snrkit.evaluation.score import Score
    from snrkit.run import Run


@click.command(name="evaluate")
@runs_options()
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
@threads_option
@fleet_options
@common
def command(  # noqa: PLR0913 (one per option)
    *,
    ckpts: tuple[Path, ...],
    shard: Shard,
    again: bool,
    model: str | None,
    samples: int,
    points: int | None,
    data: str | None,
    keep_points: bool,
    keep_means: bool,
    seed: Root,
    threads: int | None,
    workers: int | None,
    scheduler: str | None,
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
    finished points, and the same command goes on from there. Of a folder of runs each is evaluated, but for those on which
    the very same was done before; one that fails does not stop the rest.
    """
    from snrkit.fleet.fleet import fleet
    from snrkit.runs.done import Made

    def work(run: "Run", place: str) -> Found:
        own = run if data is None else run.on(data, data_dir=data_dir)
        try:
            with progress(f"evaluate {own.name}{place}", quiet) as update:
                found = own.evaluate(
                    samples, points, seed=seed, out=out, progress=update, threads=threads, executor=executor
                )
        except KeyboardInterrupt:
            raise Interrupted from None
        file = found.save(points=keep_points, latents=keep_means)
        title = f"{own.name}, step {own.step}, {found.about['data']}"
        made = [file, *([POINTS.beside(file)] if keep_points else []), *([found.latents_file] if keep_means else [])]
        return Found(json.loads(file.read_text()), lambda: _show(found.scores, title), [Made(one) for one in made])

    opening = Opening(ckpts, model, data_dir, device, shard, again)
    decides = {
        "samples": samples, "points": points, "data": data, "seed": seed, "each": keep_points, "means": keep_means,
        "threads": threads,
    }  # fmt: skip
    with fleet(workers, scheduler) as executor:
        on_runs(opening, work, decides, results="evaluations", as_json=as_json, out=out)


def _show(scores: "list[Score]", title: str) -> None:
    table = Table("metric", "value", "± se", "sd", "definition", title=title)
    for score in scores:
        sd = "" if score.sd is None else f"{score.sd:.3f}"
        stderr = "" if math.isnan(score.stderr) else f"{score.stderr:.3f}"
        table.add_row(score.metric, f"{score.value:.3f}", stderr, sd, score.definition)
    print_table(table)
