"""Which units of the full-scale runs there are: what lies in the folders of ``units.toml``, and nothing else."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.common.report import Place
from analyses.common.runs import finished
from analyses.rainforth2018.state import MANIFEST
from snrkit.files import read_json
from snrkit.runs.folder import RunDir

HOME = Path(__file__).parents[1]
# MNIST has 10,000 test images, Omniglot 8,070.
WHOLE, SAMPLES = 8000, 5000


def run(_: Place) -> tuple[str, pd.DataFrame]:
    """One row per unit."""
    text = (
        "## Units of the full-scale runs\n\nWhat there is of the published scale, unit by unit (`units.toml`, with the "
        "commands): runs that are finished and exported, those of them that are evaluated on the whole test set with "
        "5,000 samples and whose inference network's SNR is measured, and how far a state that is kept between visits "
        "is. Where moments were rounded between visits, `rounded` says how often."
    )
    return text, table(HOME)


def table(home: Path) -> pd.DataFrame:
    """The table of the units that ``home`` has."""
    units = tomllib.loads((home / "units.toml").read_text(encoding="utf-8"))["unit"]
    return pd.DataFrame([_row(home, unit) for unit in units])


def _row(home: Path, unit: Mapping[str, Any]) -> dict[str, Any]:
    folder = home / unit["folder"]
    runs = [
        (run, spec)
        for run, spec in (finished(folder) if folder.is_dir() else ())
        if spec.epochs == unit["epochs"] and spec.seed in unit.get("seeds", [spec.seed])
    ]
    precisions = sorted({str(getattr(spec, "precision", "float32")) for _, spec in runs})
    return {
        "unit": unit["name"], "what": unit["what"], "epochs": unit["epochs"],
        "finished": f"{len(runs)} of {unit['runs']}" if runs else "not run",
        "precision": ", ".join(precisions) or "-",
        "evaluated": sum(is_evaluated(run) for run, _ in runs) if runs else "not run",
        "SNR": sum(run.snr.exists() for run, _ in runs) if runs else "not run",
        "unfinished": _kept(home / unit["state"]) if "state" in unit else "-",
        "rounded": max((_roundings(run) for run, _ in runs), default=0) if runs else "-",
    }  # fmt: skip


def is_evaluated(run: RunDir) -> bool:
    """Whether a run was evaluated at the papers' scale."""
    try:
        about = json.loads(run.evaluation.read_text(encoding="utf-8"))
    except OSError:
        return False
    return about.get("samples") == SAMPLES and about.get("points", 0) >= WHOLE


def _kept(state: Path) -> str:
    """How far the state is that is kept between visits."""
    if not (state / MANIFEST).exists():
        return "none kept"
    about = read_json(state / MANIFEST)["runs"].values()
    epochs, rounded = {own["epoch"] for own in about}, max(len(own["rounded"]) for own in about)
    return f"epoch {min(epochs)}, moments rounded {rounded}x"


def _roundings(run: RunDir) -> int:
    """How often a run went on from rounded moments."""
    return len({row["rounded_at"] for row in run.read_metrics() if row.get("rounded_at") is not None})
