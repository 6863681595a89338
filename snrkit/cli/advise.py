"""``snrkit advise``."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from snrkit.cli.flags import flags
from snrkit.cli.folders import Found, Opening, on_runs, runs_options
from snrkit.cli.options import (
    NAMES,
    OUTPUT,
    Whole,
    build_estimators,
    common,
    fleet_options,
    model_option,
    parse_options,
    threads_option,
)
from snrkit.cli.output import print_table, progress, tell
from snrkit.specs.measure import MeasureSpec, Root
from snrkit.specs.shard import Shard

if TYPE_CHECKING:
    from snrkit.diagnostics.advise import Advice
    from snrkit.run import Run


@click.command(name="advise")
@runs_options()
@model_option
@click.option("--budget", type=Whole(1), help="Samples per data point, T = M K.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Instead: what a training step may take.")
@click.option(
    "--estimator",
    "names",
    type=NAMES,
    help="Candidates; default: common ones, by whether z is discrete.",
)
@click.option(
    "--option", "options", multiple=True, metavar="NAME=VALUE", help="Of an estimator, e.g. beta=0.5 (ciwae)."
)
@flags(MeasureSpec, {"draws": "--draws", "data_points": "--data-points", "seed": "--seed"}, filled=True)
@click.option("--out", type=OUTPUT, help="JSON file. Default: advice.json in the run directory.")
@threads_option
@fleet_options
@common
def command(  # noqa: PLR0913 (one per option)
    *,
    ckpts: tuple[Path, ...],
    shard: Shard,
    again: bool,
    model: str | None,
    budget: int | None,
    seconds: float | None,
    names: list[str] | None,
    options: tuple[str, ...],
    draws: int,
    data_points: int,
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
    """Which estimator, M and K to spend T = M K samples per data point on, by measuring them all.

    Shown: snr_pooled of both networks' gradients, seconds per training step, and by how much the bound is loose. A
    setting is recommended only where its 95 % intervals against all others exclude a tie; the margin over the next is told.
    Inference network: highest SNR. Generative network: tightest bound, and the cheapest of those with the same gradient.
    Both: highest inference SNR among the tightest bounds. A folder of runs may be given, too.
    """
    from snrkit.fleet.fleet import fleet
    from snrkit.interrupt import stop_requests
    from snrkit.runs.done import Made

    candidates = build_estimators(names, parse_options(options)) if names else None

    def work(run: "Run", place: str) -> Found:
        with progress(f"advise {run.name}{place}", quiet) as update, stop_requests() as stopped:
            advice = run.advise(
                budget, seconds=seconds, estimators=candidates, draws=draws, data_points=data_points, seed=seed, out=out,
                progress=update, stop=stopped, threads=threads, executor=executor,
            )  # fmt: skip
        file = advice.save()
        about = f"{advice.about['data']}, T = {advice.about['budget']}, {draws} draws"
        title = f"{run.name}, step {run.step}, {about}"
        return Found(json.loads(file.read_text()), lambda: _show(advice, title), [Made(file)])

    opening = Opening(ckpts, model, data_dir, device, shard, again)
    decides = {
        "budget": budget, "seconds": seconds, "estimators": names, "options": options, "draws": draws,
        "points": data_points, "seed": seed, "threads": threads,
    }  # fmt: skip
    with fleet(workers, scheduler) as executor:
        on_runs(opening, work, decides, results="advice", as_json=as_json, out=out)


def _plain(table: Any) -> list[dict[str, Any]]:
    """Rows without NaN and infinity, which JSON lacks."""
    rows: list[dict[str, Any]] = table.to_dict("records")
    return [{key: None if _infinite(value) else value for key, value in row.items()} for row in rows]


def _infinite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _show(advice: "Advice", heading: str) -> None:
    table = Table("estimator", title=heading)
    for column in ("M", "K", "SNR inference ± se", "SNR generative ± se", "ms/step", "log p̂ − bound"):
        table.add_column(column, justify="right")
    for row in _plain(advice.table):
        snr = [
            _with_error(row[f"snr_{network}"], row[f"snr_{network}_stderr"]) for network in ("inference", "generative")
        ]
        cost = f"{1000 * row['seconds_per_step']:.1f}"
        table.add_row(row["estimator"], str(row["M"]), str(row["K"]), *snr, cost, f"{row['bound_gap']:.3f}")
    print_table(table)
    for row in _plain(advice.table):
        if row["same"]:
            tell(f"{row['estimator']} M={row['M']} K={row['K']} is the same gradient as {row['same']}: one row")
    for row in _plain(advice.recommendations):
        tell(f"{row['goal']}: {row['setting'] + ', since ' if row['setting'] else ''}{row['reason']}{_needed(row)}")


def _needed(row: dict[str, Any]) -> str:
    if row["setting"]:
        return ""
    if row["draws_needed"] is None:
        return " (how many cannot be said from these)"
    return f" (about {row['draws_needed']:,.0f} draws would settle it if the estimates hold)"


def _with_error(value: float, error: float | None) -> str:
    return f"{value:.4f}" + ("" if error is None else f" ± {error:.4f}")
