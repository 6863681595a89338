"""``snrkit sample``."""

from pathlib import Path

import click

from snrkit.cli.flags import flags
from snrkit.cli.options import OUTPUT, Whole, checkpoint_option, common, model_option
from snrkit.cli.output import progress
from snrkit.cli.shown import tell_shown
from snrkit.specs.measure import NoiseSpec


@click.command(name="sample")
@checkpoint_option
@model_option
@click.option("--number", type=Whole(1), default=20, show_default=True, help="How many.")
@click.option(
    "--drawn/--no-drawn",
    default=None,
    help="Also draw pixels or words from p(x|z), beside pixel means or the most probable words.  [default: words only]",
)
@flags(NoiseSpec, {"seed": "--seed"}, filled=True)
@click.option("--out", type=OUTPUT, help="FILE.parquet, with the figure beside it. Default: in the run directory.")
@common
def command(  # noqa: PLR0913 (one per option)
    *,
    path: Path,
    model: str | None,
    number: int,
    drawn: bool | None,
    seed: int,
    out: Path | None,
    data_dir: Path | None,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Samples of a model's prior, decoded.

    Images as pixel means, sentences greedily and drawn word by word. Writes the table (prior-samples.parquet) and a figure
    (.pdf, .png), or the sentences (.txt). Sample i is the same whatever the number is.
    """
    from snrkit.run import Run

    run = Run.open(path, data_dir=data_dir, device=device, model=model)
    with progress(f"sample {run.name}", quiet) as update:
        found = run.sample(number, drawn=drawn, seed=seed, out=out, progress=update)
    tell_shown(run.name, found, as_json)
