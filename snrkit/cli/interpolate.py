"""``snrkit interpolate``."""

from pathlib import Path
from typing import Literal

import click

from snrkit.cli.flags import flags
from snrkit.cli.options import OUTPUT, Whole, checkpoint_option, common, model_option
from snrkit.cli.output import progress
from snrkit.cli.shown import tell_shown
from snrkit.specs.measure import NoiseSpec


@click.command(name="interpolate")
@checkpoint_option
@model_option
@click.option(
    "--between",
    type=click.Choice(["test", "prior"]),
    default="test",
    show_default=True,
    help="What lines join: test points 0 and 1, 2 and 3, ... or samples of the prior.",
)
@click.option("--pairs", type=Whole(1), default=5, show_default=True, help="How many lines.")
@click.option("--steps", type=Whole(2), default=11, show_default=True, help="Points on each, ends included.")
@flags(NoiseSpec, {"seed": "--seed"}, filled=True)
@click.option("--out", type=OUTPUT, help="FILE.parquet, with the figure beside it. Default: in the run directory.")
@common
def command(  # noqa: PLR0913 (one per option)
    *,
    path: Path,
    model: str | None,
    between: Literal["test", "prior"],
    pairs: int,
    steps: int,
    seed: int,
    out: Path | None,
    data_dir: Path | None,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """What lies between two points of a model's latent space, decoded.

    z = (1 - t) z_1 + t z_2, of test points at noise of zero (the mean of a normal proposal) or of samples of the prior;
    images as pixel means, sentences greedily. Writes the table (interpolations.parquet) and a figure (.pdf, .png), or the
    sentences (.txt). Between discrete z there is nothing: such models are refused.
    """
    from snrkit.run import Run

    run = Run.open(path, data_dir=data_dir, device=device, model=model)
    with progress(f"interpolate {run.name}", quiet) as update:
        found = run.interpolate(pairs, steps=steps, between=between, seed=seed, out=out, progress=update)
    tell_shown(run.name, found, as_json)
