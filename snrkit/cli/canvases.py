"""``snrkit canvases``."""

from pathlib import Path
from typing import Literal

import click

from snrkit.cli.flags import flags
from snrkit.cli.options import OUTPUT, checkpoint_option, common, model_option
from snrkit.cli.reconstruct import Numbers
from snrkit.cli.shown import tell_shown
from snrkit.specs.measure import NoiseSpec


@click.command(name="canvases")
@checkpoint_option
@model_option
@click.option(
    "--of",
    type=click.Choice(["test", "prior"]),
    default="test",
    show_default=True,
    help="Reconstructions of test points, or samples of the prior.",
)
@click.option("--points", type=Numbers(), default="0-5", show_default=True, help="Which of them, counted from 0.")
@flags(NoiseSpec, {"seed": "--seed"}, filled=True)
@click.option("--out", type=OUTPUT, help="FILE.parquet, with the figure beside it. Default: in the run directory.")
@common
def command(  # noqa: PLR0913 (one per option)
    *,
    path: Path,
    model: str | None,
    of: Literal["test", "prior"],
    points: list[int],
    seed: int,
    out: Path | None,
    data_dir: Path | None,
    device: str,
    as_json: bool,
    quiet: bool,  # noqa: ARG001 (there is no progress to show)
) -> None:
    """Images as a model of several steps writes them (draw).

    The canvas after each step, with the windows through which the image was read and the canvas written to, and the KL
    divergence of each step from the prior given the steps before it. Writes the table (canvases.parquet) and a figure (.pdf,
    .png).
    """
    from snrkit.run import Run

    run = Run.open(path, data_dir=data_dir, device=device, model=model)
    tell_shown(run.name, run.canvases(points, of=of, seed=seed, out=out), as_json)
