"""``snrkit snr``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from snrkit.cli.options import COUNTS, DIRECTORY, NAMES, build_estimators, checkpoint_option, common, parse_options
from snrkit.cli.output import print_json, print_table, progress
from snrkit.errors import SpecError
from snrkit.results import merge_table

if TYPE_CHECKING:
    import pandas as pd


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
@checkpoint_option
@click.option("--K", "importance", type=COUNTS, default="1,10,100,1000", show_default=True, help="Importance samples.")
@click.option("--M", "outer", type=COUNTS, default="1", show_default=True, help="Outer samples; more cost no draws.")
@click.option("--draws", default=1000, show_default=True, help="Gradient draws R per setting.")
@click.option("--data-points", type=click.IntRange(min=1), default=10, show_default=True, help="Test points.")
@click.option("--estimator", "names", type=NAMES, help="One or several; default: the run's own. Same noise for all.")
@click.option(
    "--option", "options", multiple=True, metavar="NAME=VALUE", help="Of an estimator, e.g. beta=0.5 (ciwae)."
)
@click.option("--block", "blocks", type=NAMES, help="inference, generative, all or tensor names; default: every one.")
@click.option("--chunk", type=Chunk(), default="auto", show_default=True, help="Draws in one pass; changes speed only.")
@click.option("--engine", default="vmap", show_default=True, help="vmap or loop.")
@click.option("--direct", is_flag=True, help="Draw at each (M, K) itself instead of using the algebra of units.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Root of the noise.")
@click.option("--out", type=DIRECTORY, help="Parquet file. Default: snr.parquet beside the checkpoint.")
@common
def command(
    *,
    ckpt: Path,
    importance: list[int],
    outer: list[int],
    draws: int,
    data_points: int,
    names: list[str] | None,
    options: tuple[str, ...],
    blocks: list[str] | None,
    chunk: int | None,
    engine: str,
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
    read with as many draws. All metrics go to a Parquet file; rows measured again replace the old ones.
    """
    from snrkit.cli.saved import open_saved
    from snrkit.diagnostics.measure import Provenance, measure

    saved = open_saved(ckpt, data_dir, device)
    own = saved.spec.estimator
    chosen = build_estimators(names or [own.name], parse_options(options) or (own.options if names is None else {}))
    x, label = saved.test_points(data_points)
    path = out or saved.run.snr
    if path.suffix != ".parquet":
        raise SpecError("--out", f"'{path}' does not end in .parquet", "name a Parquet file")
    with progress(f"snr {saved.run.name}", quiet) as update:
        table = measure(
            saved.model, x, chosen, importance, outer, draws, seed,
            engine=engine, direct=direct, chunk=chunk, blocks=blocks,
            provenance=Provenance(saved.run.name, saved.step, label), progress=update,
        )  # fmt: skip
    merge_table(path, table)
    if as_json:
        print_json({"path": str(path), "rows": table.astype(object).where(table.notna(), None).to_dict("records")})
    else:
        print_table(summary(table, f"{saved.run.name}, step {saved.step}, {label}, {draws} draws"))
        click.echo(f"all metrics and blocks: {path}")


def summary(table: "pd.DataFrame", title: str) -> Table:
    """One line per (estimator, M, K): snr_mean of both networks and the floor. A star marks what noise could read too."""
    shown = Table("estimator", title=title, caption="* the 95 % interval reaches down to the floor: no signal shown")
    for column in ("M", "K", "SNR inference ± se", "SNR generative ± se", "floor"):
        shown.add_column(column, justify="right")
    means = table[table.metric == "snr_mean"]
    for (estimator, options, M, K), rows in means.groupby(["estimator", "options", "M", "K"], sort=False):
        cells, floors = [], []
        for block in ("inference", "generative"):
            row = rows[rows.block == block]
            cells.append("-" if row.empty else _reading(row.iloc[0]))
            floors += [f"{floor:.3f}" for floor in row.floor]
        name = f"{estimator} ({options})" if options else str(estimator)
        shown.add_row(name, str(M), str(K), *cells, " / ".join(dict.fromkeys(floors)))
    return shown


def _reading(row: "pd.Series[Any]") -> str:
    star = " *" if not row.ci_low > row.floor else ""
    return f"{row.value:.4f} ± {row.stderr:.4f}{star}"
