"""The toy of Rainforth et al. 2018: closed forms, slopes, published levels and coverage.

    python -m analyses.toy.run              all sections, then RESULTS.md
    python -m analyses.toy.run slopes       one section, then RESULTS.md
    python -m analyses.toy.run figures      draws for the figures: resumable, half an hour

Each section writes its numbers to analyses/toy/results/SECTION.csv and its text to SECTION.md.
"""

from pathlib import Path

from analyses.common.report import Analysis
from analyses.toy.sections import advise, closed_forms, coverage, figures, published, slope_in_m, slopes

ANALYSIS = Analysis(
    Path(__file__).parent,
    {
        "closed_forms": lambda place: closed_forms.run(place.settings),
        "slopes": lambda place: slopes.run(place.settings),
        "slope_in_m": lambda place: slope_in_m.run(place.settings),
        "published": lambda place: published.run(place.settings),
        "coverage": lambda place: coverage.run(place.settings),
        "advise": lambda place: advise.run(place.settings),
        "figures": lambda place: figures.run(place.settings),
    },
    settings="toy.toml",
    scaled=False,
)

if __name__ == "__main__":
    ANALYSIS.main()
