"""``snrkit snr``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from snrkit.cli.flags import flags, put
from snrkit.cli.folders import Found, Opening, on_runs, runs_options
from snrkit.cli.options import INPUT, OUTPUT, common, fleet_options, model_option, parse_options, required, with_options
from snrkit.cli.output import print_table, progress, tell
from snrkit.cli.wording import in_flags
from snrkit.errors import DIVERGED, SpecError
from snrkit.specs.base import apply_settings, read_toml
from snrkit.specs.grid import TABLES
from snrkit.specs.measure import Choice, Execution, MeasureFile, MeasureSpec
from snrkit.specs.run import RunSpec
from snrkit.specs.schema1 import SCHEMA_1
from snrkit.specs.shard import Shard

if TYPE_CHECKING:
    import pandas as pd

    from snrkit.diagnostics.measure import Measurement
    from snrkit.run import Run

_WHAT = {
    "K": "--K", "M": "--M", "draws": "--draws", "data_points": "--data-points", "estimators": "--estimator",
    "blocks": "--block", "bias": "--bias", "K_ref": "--K-ref", "dsnr": "--dsnr", "mean_from": "--mean-from",
    "nested": "--nested", "keep": "--keep-draws", "metrics": "--metrics", "mode": "--mode",
    "samples": "--samples", "direct": "--direct", "seed": "--seed",
}  # fmt: skip


@click.command(name="snr")
@runs_options(needed=False)
@model_option
@click.option("--config", type=INPUT, help="A TOML file with a table [measure]; flags and --set go over it.")
@flags(MeasureSpec, _WHAT, "measure")
@click.option(
    "--option", "options", multiple=True, metavar="NAME=VALUE", help="Of an estimator, e.g. beta=0.5 (ciwae)."
)
@flags(Execution, {"engine": "--engine", "chunk": "--chunk", "threads": "--threads"}, "execution")
@fleet_options
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any of --settings, e.g. measure.draws=9.")
@click.option("--settings", "list_settings", is_flag=True, help="List all settings; measure nothing.")
@click.option("--out", type=OUTPUT, help="Parquet file. Default: snr.parquet in the run directory.")
@common
def command(  # noqa: PLR0913 (one per option)
    *,
    ckpts: tuple[Path, ...],
    shard: Shard,
    again: bool,
    model: str | None,
    config: Path | None,
    options: tuple[str, ...],
    settings: tuple[str, ...],
    list_settings: bool,
    workers: int | None,
    scheduler: str | None,
    out: Path | None,
    data_dir: Path | None,
    device: str,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Signal-to-noise ratio of the gradients of a trained model, against M and K.

    The table shows the mean over coordinates of |E[g]|/sd[g] ± its standard error, and the floor: what pure noise would
    read with as many draws. All metrics go to a Parquet file, slopes and comparisons to CSV files beside it; rows measured
    again replace the old ones. What was measured is written there too, to snr.toml, which --config takes. Ctrl-C leaves what
    is finished, and the same command goes on from there. Of a folder of runs each is measured, but for those on which the
    very same was done before; one that fails does not stop the rest.
    """
    if list_settings:
        from snrkit.cli.settings import of_measurements, show

        show(of_measurements(), as_json)
        return
    required("ckpts", ckpts)
    asked = _asked(config, given, settings)
    from snrkit.fleet.fleet import fleet
    from snrkit.interrupt import stop_requests
    from snrkit.runs.done import Made

    def work(run: "Run", place: str) -> Found:
        what = asked.measure.replaced(estimators=_estimators(run, asked.measure, options))
        with progress(f"snr {run.name}{place}", quiet) as update, stop_requests() as stopped:
            measurement = run.measure(what, asked.execution, out=out, progress=update, stop=stopped, executor=executor)
        path = measurement.save()
        title = f"{run.name}, step {run.step}, {measurement.source.provenance.data}, {measurement.plan.method}"
        return Found(
            _json(measurement, path), lambda: _show(measurement, title, path), [Made(path, measurement.table)],
            measurement.complete, DIVERGED if measurement.lost else 0,
        )  # fmt: skip

    opening = Opening(ckpts, model, data_dir, device, shard, again)
    decides = {"asked": asked.model_dump(mode="json"), "options": options}
    with fleet(workers, scheduler) as executor:
        on_runs(opening, work, decides, results="measurements", as_json=as_json, out=out, shares=True)


def _asked(config: Path | None, given: dict[str, Any], settings: tuple[str, ...]) -> MeasureFile:
    """What to measure, and how. A file of a run or a sweep serves as well: what it says of those is left aside."""
    written = {} if config is None else read_toml(config)
    data = {key: value for key, value in written.items() if key not in (*RunSpec.model_fields, *SCHEMA_1, *TABLES)}
    if config is not None and not data:
        raise SpecError(str(config), "has no table [measure]", "write one, or leave the file out")
    if isinstance(data.get("measure"), dict):
        data["measure"].pop("every", None)
    put(data, given)
    apply_settings(data, settings)
    return MeasureFile(**data)


def _estimators(run: "Run", what: MeasureSpec, options: tuple[str, ...]) -> tuple[Choice, ...]:
    """Those named, or the run's own where an option of it is given."""
    own = run.spec.estimator
    chosen = what.estimators or (Choice(name=own.name, options=own.numbers()),)
    return with_options(chosen, parse_options(options)) if options else what.estimators


def _json(measurement: "Measurement", path: Path) -> dict[str, Any]:
    tables = {"rows": measurement.table, "slopes": measurement.slopes, "comparisons": measurement.comparisons}
    about = {"path": str(path), "complete": measurement.complete, "remarks": measurement.remarks}
    return about | {k: _records(t) for k, t in tables.items()}


def _show(measurement: "Measurement", title: str, path: Path) -> None:
    from snrkit.cli.summary import comparison_table, extra_table, slope_table, snr_table

    for table in (
        snr_table(measurement.table, title),
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
