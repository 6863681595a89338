"""Tables on a page, and tables of a run put beside it."""

import math
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from snrkit.report.tables import rounded

# What the report reads of a run.
KEPT = ("config.toml", "status.json", "metrics.jsonl", "*.json", "*.csv", "*.parquet", "steps/*.json")


def markdown(table: pd.DataFrame) -> str:
    """A table as Markdown, numbers to four significant digits; a column "X se" becomes the error of the column "X"."""
    shown = pd.DataFrame(index=table.index)
    for name in table.columns:
        if f"{name} se" in table:
            pairs = [rounded(*pair) for pair in zip(table[name], table[f"{name} se"], strict=True)]
            shown[name] = [f"{value} ± {error}" if error else value for value, error in pairs]
        elif not (name.endswith(" se") and name.removesuffix(" se") in table):
            shown[name] = [_cell(value) for value in table[name]]
    rows = [list(shown.columns), ["---"] * shown.shape[1], *shown.to_numpy().tolist()]
    # A bar within a cell would end it.
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    return str(value)


def pm(value: float, error: float, digits: int = 2) -> str:
    """``value ± error``."""
    return f"{value:.{digits}f} ± {error:.{digits}f}" if math.isfinite(error) else f"{value:.{digits}f}"


def copy_tables(run: Path, to: Path, limit: float = math.inf) -> None:
    """Copy what the report reads of a run, without checkpoints: of at most ``limit`` bytes together, small files first."""
    files = {file for pattern in KEPT for file in run.glob(pattern) if file.name != "env.json"}
    total = 0
    for file in sorted(files, key=lambda file: (file.stat().st_size, file)):
        total += file.stat().st_size
        if total > limit:
            return
        copy = to / file.relative_to(run)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
