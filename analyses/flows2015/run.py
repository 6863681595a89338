"""Planar and radial flows (Rezende & Mohamed 2015): densities in the plane, layers on the digits, SNR against K.

    python -m analyses.flows2015.run                every section at cpu scale, then RESULTS.md
    python -m analyses.flows2015.run energies       one section, then RESULTS.md
    python -m analyses.flows2015.run layers --settings analyses/flows2015/full.toml

Runs live in runs/, go on where they were stopped and are skipped when done; numbers go to results/SCALE/SECTION.csv.
"""

from pathlib import Path

from analyses.common.report import Analysis
from analyses.flows2015.sections import energies, layers, snr

ANALYSIS = Analysis(Path(__file__).parent, {"energies": energies.run, "layers": layers.run, "snr": snr.run})

if __name__ == "__main__":
    ANALYSIS.main()
