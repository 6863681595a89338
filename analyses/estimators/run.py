"""Every estimator on the Gaussian toy: rates in K, the OVIS figure, the VR-IWAE table.

    python -m analyses.estimators.run              all sections, then RESULTS.md
    python -m analyses.estimators.run slopes       one section, then RESULTS.md

Each section writes its numbers to analyses/estimators/results/cpu/SECTION.csv and its text to SECTION.md.
"""

from pathlib import Path

from analyses.common.report import Analysis
from analyses.estimators.sections import analytic, ovis, slopes, vr

ANALYSIS = Analysis(
    Path(__file__).parent,
    {
        "slopes": lambda place: slopes.run(place.settings),
        "ovis": lambda place: ovis.run(place.settings),
        "vr": lambda place: vr.run(place.settings),
        "analytic": analytic.run,
    },
)

if __name__ == "__main__":
    ANALYSIS.main()
