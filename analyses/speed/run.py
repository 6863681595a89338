"""How fast the diagnostics are, against the obvious ways and against the hardware.

    make speed                                          all sections, on CUDA where there is one
    python -m analyses.speed.run engines                one section
    python -m analyses.speed.run engines --quick --out DIR   a few draws, to see that it works; its numbers mean nothing

All contenders of a section run in one process, interleaved, float32 (no TF32, but where a row says so), with freed memory
kept (snrkit.backend.memory), which helps the peers as well. Rounds in which other processes took more than a tenth of the
machine's time are repeated, up to eight, and counted. Each section writes results/DEVICE/SECTION.csv and .md; RESULTS.md is
made of all that are there.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from analyses.common.report import Analysis, Place, Section
from analyses.speed.sections import (
    agreement,
    busy,
    choice,
    engines,
    ensembles,
    evaluation,
    fleet,
    grid,
    growth,
    losses,
    measuring,
    memory,
    monitoring,
    training,
    workers,
)
from analyses.speed.sections.reference import device_name
from analyses.speed.sections.sizes import sizes
from snrkit.backend.memory import keep_freed_memory

Found = tuple[str, list[dict[str, Any]]]

SECTIONS: dict[str, Callable[[Place, bool], Found]] = {
    "engines": lambda _, quick: engines.run(sizes(quick)),
    "measure": lambda _, quick: measuring.run(sizes(quick)),
    "choice": lambda *_: choice.run(),
    "grid": lambda *_: grid.run(),
    "memory": lambda *_: memory.run(),
    "growth": lambda place, _: growth.run(place),
    "training": lambda _, quick: training.run(sizes(quick)),
    "evaluation": lambda _, quick: evaluation.run(sizes(quick)),
    "ensembles": lambda _, quick: ensembles.run(sizes(quick)),
    "losses": lambda _, quick: losses.run(sizes(quick)),
    "monitoring": lambda _, quick: monitoring.run(sizes(quick)),
    "busy": lambda _, quick: busy.run(sizes(quick)),
    "fleet": lambda _, quick: fleet.run(quick),
    "workers": lambda _, quick: workers.run(quick),
    "agreement": lambda _, quick: agreement.run(sizes(quick)),
}
QUICK = "--quick"


def _of(name: str, section: Callable[[Place, bool], Found], quick: bool) -> Section:
    def run(place: Place) -> tuple[str, pd.DataFrame]:
        text, rows = section(place, quick)
        place.notes.append(f"{place.scale}, float32")
        return f"### {name}\n\n{text}", pd.DataFrame(rows)

    return run


def analysis(quick: bool) -> Analysis:
    """The benchmark, or a quick look at whether it works."""
    return Analysis(
        Path(__file__).parent,
        {name: _of(name, section, quick) for name, section in SECTIONS.items()},
        settings="",
        together="{}",
        scale=device_name,
    )


ANALYSIS = analysis(quick=False)


def main(argv: list[str] | None = None) -> None:
    """Time the sections named on the command line and rewrite RESULTS.md."""
    given = sys.argv[1:] if argv is None else argv
    if QUICK in given and "--out" not in given:
        raise SystemExit("run.py: --quick: its numbers mean nothing; give --out DIR, so that they are not kept here")
    keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = False
    analysis(QUICK in given).main([word for word in given if word != QUICK])


if __name__ == "__main__":
    main()
