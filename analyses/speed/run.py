"""How fast the diagnostics are, against the obvious ways and against the hardware.

    make speed                                 all sections, on CUDA where there is one
    python -m analyses.speed.run engines       one section

All contenders of a section run in one process, interleaved, float32 (no TF32), with freed memory kept
(snrkit.backend.memory), which helps the peers as well. Rounds in which other processes took more than a tenth of the
machine's time are repeated, up to ten, and counted. Each section writes results/DEVICE/SECTION.csv and .md; RESULTS.md is
made of all that are there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from analyses.common.report import Analysis, Place, Section
from analyses.speed.sections import agreement, choice, engines, ensembles, grid, growth, memory, training
from analyses.speed.sections.reference import device_name
from snrkit.backend.memory import keep_freed_memory

SECTIONS = {
    "engines": engines.run,
    "choice": choice.run,
    "grid": grid.run,
    "memory": memory.run,
    "growth": growth.run,
    "training": training.run,
    "ensembles": ensembles.run,
    "agreement": agreement.run,
}


def _of(name: str, section: Callable[[], tuple[str, list[dict[str, Any]]]]) -> Section:
    def run(place: Place) -> tuple[str, pd.DataFrame]:
        text, rows = section()
        place.notes.append(f"{place.scale}, float32")
        return f"### {name}\n\n{text}", pd.DataFrame(rows)

    return run


ANALYSIS = Analysis(
    Path(__file__).parent,
    {name: _of(name, section) for name, section in SECTIONS.items()},
    settings="",
    together="{}",
    scale=device_name,
)


def main() -> None:
    """Time the sections named on the command line and rewrite RESULTS.md."""
    keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = False
    ANALYSIS.main()


if __name__ == "__main__":
    main()
