"""``snrkit advise``."""

import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from snrkit.cli.options import NAMES, OUTPUT, SEED, Whole, build_estimators, checkpoint_option, common, parse_options
from snrkit.cli.output import print_json, print_table, progress, tell
from snrkit.errors import ResultsError, SpecError
from snrkit.files import pinned, read_json, require_writable, write_json
from snrkit.runs.kinds.advice import ADVICE

if TYPE_CHECKING:
    from snrkit.diagnostics.advise import Advice
    from snrkit.run import Run


@click.command(name="advise")
@checkpoint_option
@click.option("--budget", type=Whole(1), help="Samples per data point, T = M K.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Instead: what a training step may take.")
@click.option("--estimator", "names", type=NAMES, help="Candidates; default: vae, iwae, piwae, dreg.")
@click.option(
    "--option", "options", multiple=True, metavar="NAME=VALUE", help="Of an estimator, e.g. beta=0.5 (ciwae)."
)
@click.option("--draws", type=Whole(4), default=1000, show_default=True, help="Gradient draws R per setting.")
@click.option("--data-points", type=Whole(1), default=10, show_default=True, help="Test points.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Root of the noise.")
@click.option("--out", type=OUTPUT, help="JSON file. Default: advice.json in the run directory.")
@common
def command(  # noqa: PLR0913 (one per option)
    *,
    ckpt: Path,
    budget: int | None,
    seconds: float | None,
    names: list[str] | None,
    options: tuple[str, ...],
    draws: int,
    data_points: int,
    seed: int,
    out: Path | None,
    data_dir: Path | None,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Which estimator, M and K to spend T = M K samples per data point on, by measuring them all.

    Shown: snr_pooled of both networks' gradients, seconds per training step, and by how much the bound is loose. A
    setting is recommended only where its 95 % interval against the runner-up excludes a tie. Inference network: highest
    SNR. Generative network: tightest bound, and the cheapest of those with the same gradient. Both: highest inference SNR
    among the tightest bounds.
    """
    if (budget is None) == (seconds is None):
        raise SpecError("--budget", "give either --budget or --seconds", "for example --budget 64")
    from snrkit.diagnostics.advise import advise, affordable, cost_batch, default_estimators
    from snrkit.evaluation.points import named_points
    from snrkit.interrupt import stop_requests
    from snrkit.run import Run

    saved = Run.open(ckpt, data_dir=data_dir, device=device)
    path = out or saved.beside("advice.json")
    require_writable(path)
    click.get_current_context().with_resource(pinned(path.parent))
    chosen = build_estimators(names, parse_options(options)) if names else default_estimators()
    x, label = named_points(saved.dataset, saved.spec, saved.device, data_points)
    batch = cost_batch(x, saved.spec.batch_size)
    folder = path.with_suffix(".partial")
    begun = folder / "budget.json"
    total = budget if budget is not None else _known(begun, saved, float(seconds or 0))
    if total is None:
        total = affordable(saved.model, batch, float(seconds or 0))
        # Timed again, it might come out otherwise, and what was drawn for it would be lost.
        write_json(begun, _about(saved, float(seconds or 0)) | {"budget": total})
    with progress(f"advise {saved.name}", quiet) as update, stop_requests() as stopped:
        advice = advise(
            saved.model, x, batch, total, chosen, draws=draws, seed=seed, seconds=seconds,
            folder=folder, progress=update, stop=stopped,
        )  # fmt: skip
    result = {
        "run": saved.name, "step": saved.step, "data": label, "budget": total, "draws": draws, "seed": seed,
        "table": advice.table.to_dict("records"), "recommendations": advice.recommendations.to_dict("records"),
    }  # fmt: skip
    written = ADVICE.write(path, result)
    advice.measurement.settle()
    begun.unlink(missing_ok=True)
    with suppress(OSError):  # blocks of another measurement are in it, or none were kept
        folder.rmdir()
    if as_json:
        print_json(written)
    else:
        _show(advice, f"{saved.name}, step {saved.step}, {label}, T = {total}, {draws} draws")


def _about(saved: "Run", seconds: float) -> dict[str, Any]:
    """What an affordable budget depends on, beside how fast the machine is."""
    return {"run": saved.name, "step": saved.step, "device": str(saved.device), "seconds": seconds}


def _known(file: Path, saved: "Run", seconds: float) -> int | None:
    """The budget that an interrupted call found affordable; None if there is none."""
    try:
        found = read_json(file)
        budget = int(found.pop("budget"))
        return budget if budget >= 1 and found == _about(saved, seconds) else None
    except (ResultsError, AttributeError, KeyError, TypeError, ValueError):
        return None


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
