"""``snrkit beta``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from snrkit.cli.flags import flags
from snrkit.cli.folders import Found, Opening, on_runs, runs_options
from snrkit.cli.options import OUTPUT, Whole, common, fleet_options, model_option, threads_option
from snrkit.cli.output import print_table, progress, tell
from snrkit.specs.measure import MeasureSpec, Root
from snrkit.specs.shard import Shard

if TYPE_CHECKING:
    from snrkit.diagnostics.beta_curve import BetaCurve
    from snrkit.run import Run


@click.command(name="beta")
@runs_options()
@model_option
@click.option("--K", "importance", type=Whole(1), default=64, show_default=True, help="Samples per group, at least 2.")
@click.option("--M", "outer", type=Whole(1), default=1, show_default=True, help="Groups, by algebra.")
@click.option("--block", default="inference", show_default=True, help="inference, generative, all or a tensor's name.")
@flags(MeasureSpec, {"draws": "--draws", "data_points": "--data-points", "seed": "--seed"}, filled=True)
@click.option("--out", type=OUTPUT, help="CSV file. Default: beta.csv in the run directory.")
@threads_option
@fleet_options
@common
def command(  # noqa: PLR0913 (one per option)
    *,
    ckpts: tuple[Path, ...],
    shard: Shard,
    again: bool,
    model: str | None,
    importance: int,
    outer: int,
    draws: int,
    data_points: int,
    block: str,
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
    """SNR of ciwae's gradient against beta, exact for every beta from the moments of its two parts.

    For a run in stages of Burda's schedule: measure at the end of a stage, choose, and go on with one beta more, e.g.
    'snrkit train --resume --out RUN --epochs 13 --set estimator.options.beta=[0.5,0.5,0.2]'. The beta of the highest SNR is
    not that of the best bound; remarks say when it misleads. Ctrl-C keeps finished draws, and the same command goes on from
    there. A folder of runs may be given, too.
    """
    from snrkit.fleet.fleet import fleet
    from snrkit.interrupt import stop_requests
    from snrkit.runs.done import Made

    def work(run: "Run", place: str) -> Found:
        with progress(f"beta {run.name}{place}", quiet) as update, stop_requests() as stopped:
            curve = run.beta(
                importance, M=outer, draws=draws, data_points=data_points, block=block, seed=seed, out=out,
                progress=update, stop=stopped, threads=threads, executor=executor,
            )  # fmt: skip
        file = curve.save()
        setting = f"{block}, M={outer}, K={importance}, {draws} draws"
        title = f"{run.name}, step {run.step}, {curve.table['data'].iloc[0]}, {setting}"
        return Found(_json(curve, file), lambda: _show(curve, title), [Made(file)])

    opening = Opening(ckpts, model, data_dir, device, shard, again)
    decides = {
        "K": importance, "M": outer, "draws": draws, "points": data_points, "block": block, "seed": seed,
        "threads": threads,
    }  # fmt: skip
    with fleet(workers, scheduler) as executor:
        on_runs(opening, work, decides, results="curves", as_json=as_json, out=out)


def _json(curve: "BetaCurve", file: Path) -> dict[str, Any]:
    rows = curve.table.astype(object).where(curve.table.notna(), None).to_dict("records")
    best = None if curve.best != curve.best else curve.best  # JSON has no NaN
    return {"path": str(file), "rows": rows, "best": best, "told_apart": curve.told_apart, "remarks": curve.remarks}


def _show(curve: "BetaCurve", title: str) -> None:
    shown = Table("beta", title=title)
    metrics = ("snr_mean", "snr_median", "snr_pooled", "mean_norm", "cosine")
    for metric in metrics:
        shown.add_column(f"{metric} ± se", justify="right")
    for beta, rows in curve.table.groupby("beta"):
        found: Any = rows.set_index("metric")
        cells = [f"{found.value[metric]:.3g} ± {found.stderr[metric]:.2g}" for metric in metrics]
        shown.add_row(f"{beta:g}", *(cell.replace("nan ± nan", "-").replace(" ± nan", "") for cell in cells))
    print_table(shown)
    if curve.best == curve.best:  # not NaN
        tell(f"highest snr_pooled: beta = {curve.best:g}")
    for remark in curve.remarks:
        tell(f"note: {remark}")
