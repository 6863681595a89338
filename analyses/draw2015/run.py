"""DRAW (Gregor et al. 2015) on digits: with and without attention, each step's share, and the SNR of each step's gradient.

    python -m analyses.draw2015.run                 every section at cpu scale, then RESULTS.md
    python -m analyses.draw2015.run steps           one section, then RESULTS.md
    python -m analyses.draw2015.run bounds --settings analyses/draw2015/full.toml

Runs live in runs/, go on where they were stopped and are skipped when done; numbers go to results/SCALE/SECTION.csv.
"""

from pathlib import Path

from analyses.common.report import Analysis
from analyses.draw2015.sections import bounds, snr, steps

ANALYSIS = Analysis(Path(__file__).parent, {"bounds": bounds.run, "steps": steps.run, "snr": snr.run})

if __name__ == "__main__":
    ANALYSIS.main()
