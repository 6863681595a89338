"""Burda et al. 2016: likelihoods and active units with one and two stochastic layers, 2-D latents, sampling from q_IW.

    python -m analyses.burda2016.run [--settings FILE.toml] [--out FOLDER] [SECTION ...]

Trains what is missing, evaluates it, and writes results/SCALE/SECTION.csv and .md and RESULTS.md, SCALE being the name of
the settings file. Finished runs are not trained again; interrupted ones go on.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.burda2016.sections import latents, likelihoods, reconstructions
from analyses.burda2016.sections.runs import Runs
from analyses.common.report import Analysis, Place, Section
from snrkit.backend.device import select_device


def _of(section: Callable[[dict[str, Any], Runs, Path], tuple[str, dict[str, pd.DataFrame]]]) -> Section:
    """The section on runs of its own, with what they took."""

    def run(place: Place) -> tuple[str, dict[str, pd.DataFrame]]:
        runs = Runs(place.settings, place.runs / place.scale)
        found = section(place.settings, runs, place.results)
        minutes = f"{runs.seconds / 60:.0f} min of training and evaluation in {runs.count} runs"
        place.notes.append(f"{minutes} on {select_device('auto')}")
        return found

    return run


ANALYSIS = Analysis(
    Path(__file__).parent,
    {
        "likelihoods": _of(likelihoods.run),
        "latents": _of(latents.run),
        "reconstructions": _of(reconstructions.run),
    },
    together="Scale: {}",
)

if __name__ == "__main__":
    ANALYSIS.main()
