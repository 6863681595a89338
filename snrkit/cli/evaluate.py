"""``snrkit evaluate``."""

import dataclasses
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from snrkit.backend.memory import require_memory
from snrkit.cli.options import OUTPUT, SEED, Whole, checkpoint_option, common
from snrkit.cli.output import print_json, print_table, progress
from snrkit.files import pinned, require_writable
from snrkit.interrupt import Interrupted
from snrkit.runs.kinds.evaluation import EVALUATION
from snrkit.runs.kinds.latents import LATENTS
from snrkit.runs.kinds.points import POINTS

if TYPE_CHECKING:
    import torch

    from snrkit.evaluation.bounds import PointScores
    from snrkit.evaluation.score import Score
    from snrkit.run import Run


@click.command(name="evaluate")
@checkpoint_option
@click.option(
    "--samples", type=Whole(1), default=5000, show_default=True, help="Importance samples per point behind log p(x)."
)
@click.option("--points", type=Whole(2), help="Only the first so many test points.")
@click.option("--data", "other", help="Evaluate on the test set of other data of the same size, e.g. omniglot.")
@click.option("--keep-points", is_flag=True, help="Also write what each point has: bounds, KL, ESS, SSIM (Parquet).")
@click.option("--keep-means", is_flag=True, help="Also write E_q[z|x] of every point (latents.parquet).")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Root of the noise.")
@click.option(
    "--out", type=OUTPUT, help="JSON file. Default: evaluation.json (with --data: evaluation.DATA.json) in the run."
)
@common
def command(  # noqa: PLR0913 (one per option)
    *,
    ckpt: Path,
    samples: int,
    points: int | None,
    other: str | None,
    keep_points: bool,
    keep_means: bool,
    seed: int,
    out: Path | None,
    data_dir: Path | None,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Bounds, KL, ESS, active units and SSIM of a trained model on its test set.

    Each with its standard error over test points. Samples are streamed, so memory stays bounded. SSIM compares images of at
    least 11 pixels a side with their reconstructions; for smaller ones it is left out. Ctrl-C keeps finished points, and the
    same command goes on from there.
    """
    from snrkit.cli.portions import Portions
    from snrkit.core.streams import Streams
    from snrkit.evaluation.bounds import checked_scores, summarise
    from snrkit.evaluation.latents import means_table
    from snrkit.evaluation.points import described
    from snrkit.evaluation.ssim import has_ssim, point_ssim, ssim_score
    from snrkit.run import Run

    saved = Run.open(ckpt, data_dir=data_dir, device=device)
    trained_on = saved.spec.data.name
    if other is not None:
        saved = saved.on(other, data_dir=data_dir)
    x, label = saved.points(points)
    path = out or saved.beside("evaluation.json" if other is None else f"evaluation.{other}.json")
    kept = path.with_suffix(".points.parquet")
    own = other is None and out is None
    means = saved.beside("latents.parquet") if own else path.with_suffix(".latents.parquet")
    require_writable(path)
    click.get_current_context().with_resource(pinned(path.parent))
    # The log-weights of one point.
    require_memory("--samples", f"{samples:,} samples of a point", 8 * samples, "ask for fewer")
    streams, shape = Streams(seed), saved.dataset.image_shape
    start = time.perf_counter()
    kept_portions = Portions(path.with_suffix(".partial"), _context(saved, x, samples, seed))
    try:
        with progress(f"evaluate {saved.name}", quiet) as update:
            each = checked_scores(saved.model, x, samples, streams, update, kept_portions.scores)
    except KeyboardInterrupt:
        raise Interrupted from None
    ssim = None
    if shape is not None and has_ssim(saved.model, shape):
        ssim = point_ssim(saved.model, x, shape, streams)
    scores = summarise(each, samples) + ([] if ssim is None else [ssim_score(ssim)])
    about = {"run": saved.name, "step": saved.step, "data": label, "samples": samples, "seed": seed}
    result = {
        **about,
        **described(saved.dataset, saved.spec.data, f"test[0:{len(x)}]"),
        "trained_on": trained_on,
        "points": len(x),
        "seconds": time.perf_counter() - start,
        "rows": [dataclasses.asdict(score) for score in scores],
    }
    if keep_points:
        _keep(kept, about, each, ssim)
    if keep_means:
        table = means_table(each.layers, saved.dataset.test_labels)
        LATENTS.write(means, table.assign(run=saved.name, step=saved.step, data=label))
    written = EVALUATION.write(path, result)
    kept_portions.settle()
    if as_json:
        print_json(written)
    else:
        _show(scores, f"{saved.name}, step {saved.step}, {label}")


def _context(saved: "Run", x: "torch.Tensor", samples: int, seed: int) -> str:
    """What the scores of points depend on."""
    from snrkit.diagnostics.store import fingerprint

    tensors = [*saved.model.named_parameters(), *saved.model.named_buffers()]
    return fingerprint(tensors, x, saved.spec.model.model_dump_json(), samples, seed, saved.device.type)


def _keep(path: Path, about: dict[str, Any], scores: "PointScores", ssim: Any) -> None:
    """One row per test point, whole or not at all."""
    import pandas as pd

    columns = {name: getattr(scores, name) for name in ("iwae_64", "log_p", "kl_q_p", "elbo", "ess_64", "ess")}
    table = pd.DataFrame({"point": range(len(scores.log_p)), **columns} | ({} if ssim is None else {"ssim": ssim}))
    POINTS.write(path, table.assign(**about))


def _show(scores: "list[Score]", title: str) -> None:
    table = Table("metric", "value", "± se", "sd", "definition", title=title)
    for score in scores:
        sd = "" if score.sd is None else f"{score.sd:.3f}"
        stderr = "" if math.isnan(score.stderr) else f"{score.stderr:.3f}"
        table.add_row(score.metric, f"{score.value:.3f}", stderr, sd, score.definition)
    print_table(table)
