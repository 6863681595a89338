"""``snrkit snr``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from snrkit.cli.options import COUNTS, INPUT, MODE, NAMES, OUTPUT, SEED, Whole, build_estimators, common, parse_options
from snrkit.cli.output import print_json, print_table, progress, tell
from snrkit.cli.summary import comparison_table, extra_table, slope_table, snr_table
from snrkit.cli.wording import in_flags
from snrkit.errors import DIVERGED, SpecError
from snrkit.interrupt import Interrupted

if TYPE_CHECKING:
    import pandas as pd

    from snrkit.diagnostics.measure import Measurement
    from snrkit.estimators.base import Estimator
    from snrkit.run import Run
    from snrkit.specs.base import Mode


class Chunk(click.ParamType):  # type: ignore[type-arg]
    """``auto`` or a number of draws."""

    name = "auto|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """``auto`` to None."""
        if value is None or value == "auto":
            return None
        try:
            return int(value)
        except ValueError:
            self.fail(f"'{value}' is neither auto nor an integer", param, ctx)


@click.command(name="snr")
@click.option("--ckpt", "ckpts", type=INPUT, required=True, multiple=True, help="A run.pt, a run directory, or a "
              "folder of runs or of checkpoints; may be repeated.")  # fmt: skip
@click.option("--K", "importance", type=COUNTS, default="1,10,100,1000", show_default=True, help="Importance samples.")
@click.option("--M", "outer", type=COUNTS, default="1", show_default=True, help="Outer samples; more cost no draws.")
@click.option("--draws", type=Whole(4), default=1000, show_default=True, help="Gradient draws R per setting.")
@click.option("--data-points", type=Whole(1), default=10, show_default=True, help="Test points.")
@click.option("--estimator", "names", type=NAMES, help="One or several; default: the run's own. Same noise for all.")
@click.option(
    "--option", "options", multiple=True, metavar="NAME=VALUE", help="Of an estimator, e.g. beta=0.5 (ciwae)."
)
@click.option("--block", "blocks", type=NAMES, help="inference, generative, all or tensor names; default: every one.")
@click.option("--bias", default="none", show_default=True, help="Bias against: bound (own), log_p (generative), none.")
@click.option(
    "--K-ref",
    "reference",
    type=Whole(1),
    default=5000,
    show_default=True,
    help="Samples that stand for log p where unknown.",
)
@click.option("--dsnr", is_flag=True, help="Also the DSNR; takes a second pass over the draws.")
@click.option(
    "--mean-from", help="Take the mean gradient from this estimator, unbiased for the same bound (e.g. dreg)."
)
@click.option(
    "--nested", is_flag=True, help="Groups of the largest K's samples serve smaller K: more draws, more time."
)
@click.option("--keep-draws", type=NAMES, help="Keep draws of coordinates: largest, median, or TENSOR[INDEX].")
@click.option("--chunk", type=Chunk(), default="auto", show_default=True, help="Draws in one pass; changes speed only.")
@click.option("--engine", default="factors", show_default=True, help="factors (fast), vmap or loop.")
@click.option(
    "--mode", type=MODE, default="evaluation", show_default=True, help="training: dropout and batch norm as in a step."
)
@click.option("--direct", is_flag=True, help="Draw at each (M, K) itself instead of using the algebra of units.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Root of the noise.")
@click.option("--out", type=OUTPUT, help="Parquet file. Default: snr.parquet in the run directory.")
@common
def command(  # noqa: PLR0913 (one per option)
    *,
    ckpts: tuple[Path, ...],
    importance: list[int],
    outer: list[int],
    draws: int,
    data_points: int,
    names: list[str] | None,
    options: tuple[str, ...],
    blocks: list[str] | None,
    bias: str,
    reference: int,
    dsnr: bool,
    mean_from: str | None,
    nested: bool,
    keep_draws: list[str] | None,
    chunk: int | None,
    engine: str,
    mode: "Mode",
    direct: bool,
    seed: int,
    out: Path | None,
    data_dir: Path | None,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Signal-to-noise ratio of the gradients of a trained model, against M and K.

    The table shows the mean over coordinates of |E[g]|/sd[g] ± its standard error, and the floor: what pure noise would
    read with as many draws. All metrics go to a Parquet file, slopes and comparisons to CSV files beside it; rows measured
    again replace the old ones. Ctrl-C leaves what is finished, and the same command goes on from there.
    """
    from snrkit.interrupt import stop_requests
    from snrkit.run import Run
    from snrkit.runs.checkpoint import find_checkpoints
    from snrkit.specs.measure import Execution, MeasureSpec

    files = find_checkpoints(ckpts)
    if out is not None and out.suffix != ".parquet":
        raise SpecError("--out", f"'{out}' does not end in .parquet", "name a Parquet file")
    shown, lost = [], []
    for file in files:
        run = Run.open(file, data_dir=data_dir, device=device)
        asked: dict[str, Any] = {
            "K": importance, "M": outer, "draws": draws, "seed": seed, "direct": direct, "nested": nested, "blocks": blocks,
            "bias": bias, "K_ref": reference, "dsnr": dsnr, "mean_from": mean_from, "keep": keep_draws or (), "mode": mode,
            "data_points": data_points,
        }  # fmt: skip
        how, chosen = Execution(engine=engine, chunk=chunk), _estimators(run, names, options)
        with progress(f"snr {run.name}", quiet) as update, stop_requests() as stopped:
            measurement = run.measure(
                MeasureSpec(**asked), how, estimators=chosen, out=out, progress=update, stop=stopped
            )
        path = measurement.save()
        if as_json:
            shown.append(_json(measurement, path))
        else:
            label = measurement.source.provenance.data
            _show(measurement, f"{run.name}, step {run.step}, {label}, {measurement.plan.method}", path)
        lost += measurement.lost
        if not measurement.complete:
            break
    if as_json:
        print_json(shown[0] if len(files) == 1 else {"measurements": shown})
    if not measurement.complete:
        raise Interrupted
    if lost:
        raise click.exceptions.Exit(DIVERGED)


def _estimators(run: "Run", names: list[str] | None, options: tuple[str, ...]) -> "list[Estimator]":
    if not names and not options:
        return [run.estimator]
    own = run.spec.estimator
    inherited = own.numbers() if names is None else {}
    return build_estimators(names or [own.name], {**inherited, **parse_options(options)})


def _json(measurement: "Measurement", path: Path) -> dict[str, Any]:
    tables = {"rows": measurement.table, "slopes": measurement.slopes, "comparisons": measurement.comparisons}
    about = {"path": str(path), "complete": measurement.complete, "remarks": measurement.remarks}
    return about | {k: _records(t) for k, t in tables.items()}


def _show(measurement: "Measurement", title: str, path: Path) -> None:
    print_table(snr_table(measurement.table, title))
    for table in (
        extra_table(measurement.table),
        slope_table(measurement.slopes),
        comparison_table(measurement.comparisons),
    ):
        if table is not None:
            print_table(table)
    for remark in measurement.remarks:
        tell(f"note: {in_flags(remark, command)}")
    tell(f"all metrics and blocks: {path}")


def _records(table: "pd.DataFrame") -> list[dict[str, Any]]:
    # JSON has no NaN.
    records: list[dict[str, Any]] = table.astype(object).where(table.notna(), None).to_dict("records")  # type: ignore[assignment]
    return records
