"""``snrkit evaluate``."""

import dataclasses
import time
from pathlib import Path

import click
from rich.table import Table

from snrkit.cli.options import DIRECTORY, SEED, checkpoint_option, common
from snrkit.cli.output import print_json, print_table, progress
from snrkit.results import require_writable, write_json


@click.command(name="evaluate")
@checkpoint_option
@click.option("--samples", default=5000, show_default=True, help="Importance samples per point behind log p(x).")
@click.option("--points", type=click.IntRange(min=2), help="Only the first so many test points.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Root of the noise.")
@click.option("--out", type=DIRECTORY, help="JSON file. Default: evaluation.json beside the checkpoint.")
@common
def command(
    *,
    ckpt: Path,
    samples: int,
    points: int | None,
    seed: int,
    out: Path | None,
    data_dir: Path | None,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Bounds, KL, ESS and active units of a trained model on its test set.

    Each with its standard error over test points. Samples are streamed, so memory stays bounded.
    """
    from snrkit.cli.saved import open_saved
    from snrkit.streams import Streams
    from snrkit.training.evaluate import evaluate

    saved = open_saved(ckpt, data_dir, device)
    x, label = saved.test_points(points)
    path = out or saved.beside("evaluation.json")
    require_writable(path)
    start = time.perf_counter()
    with progress(f"evaluate {saved.run.name}", quiet) as update:
        scores = evaluate(saved.model, x, samples, Streams(seed), update)
    result = {
        "schema": 1,
        "run": saved.run.name,
        "step": saved.step,
        "data": label,
        "points": len(x),
        "samples": samples,
        "seed": seed,
        "seconds": time.perf_counter() - start,
        "rows": [dataclasses.asdict(score) for score in scores],
    }
    write_json(path, result)
    if as_json:
        print_json(result)
        return
    table = Table("metric", "value", "± se", "definition", title=f"{saved.run.name}, step {saved.step}, {label}")
    for score in scores:
        table.add_row(score.metric, f"{score.value:.3f}", f"{score.stderr:.3f}", score.definition)
    print_table(table)
