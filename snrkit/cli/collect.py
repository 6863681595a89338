"""``snrkit collect``."""

from pathlib import Path

import click

from snrkit.cli.options import INPUT, OUTPUT
from snrkit.cli.output import complain, late_progress, print_json, tell
from snrkit.runs.kinds import KINDS


@click.command(name="collect")
@click.argument("paths", nargs=-1, type=INPUT)
@click.option("--out", type=OUTPUT, required=True, help="The table: a file that ends in .parquet or .csv.")
@click.option("--kind", default="snr", show_default=True, help=f"Of the results: {', '.join(KINDS.names)}.")
@click.option("--all-settings", is_flag=True, help="All settings of the runs, not only those that differ.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout instead of a line.")
@click.option("--quiet", is_flag=True, help="Do not say what is missing.")
def command(paths: tuple[Path, ...], out: Path, kind: str, all_settings: bool, as_json: bool, quiet: bool) -> None:
    """One tidy table of the results of many runs, with the settings of each as columns.

    PATHS are run directories, folders that hold some at any depth, or result files [default: checkpoints]. The columns are
    the run, its directory, the settings that differ, by their dotted names (estimator.K; run.seed where the results have a
    seed of their own), and those of the results. A run that was copied counts once. A table of gradient measurements can be
    given to 'snrkit report'.
    """
    from snrkit.report.collected import collect, require_table, write

    require_table(out)
    with late_progress("collect", quiet) as update:
        table = collect(paths or (Path("checkpoints"),), kind, all_settings=all_settings, progress=update)
    write(table, out, kind)
    remarks = [str(remark) for remark in table.attrs["remarks"]]
    if not quiet:
        for remark in remarks:
            complain(remark)
    runs = int(table["folder"].nunique())
    if as_json:
        columns = [str(name) for name in table.columns]
        print_json({"path": str(out), "rows": len(table), "runs": runs, "columns": columns, "notes": remarks})
    else:
        tell(f"{out}: {len(table):,} rows of {runs} {'run' if runs == 1 else 'runs'}")
