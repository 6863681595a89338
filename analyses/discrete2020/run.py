"""Estimators for discrete latents: exact means, SNR against K, training with exact values, the digits, advice.

    python -m analyses.discrete2020.run                 all sections, then RESULTS.md
    python -m analyses.discrete2020.run snr             one section, then RESULTS.md

Each section writes its numbers to results/cpu/SECTION.csv and its text to SECTION.md; `snrkit report
analyses/discrete2020/results/cpu` draws the tables of `snr` and of the runs.
"""

from pathlib import Path

from analyses.common.report import Analysis
from analyses.discrete2020.sections import digits, means, snr, training

ANALYSIS = Analysis(
    Path(__file__).parent,
    {"means": means.run, "snr": snr.run, "training": training.run, "digits": digits.run, "advice": digits.advice},
)

if __name__ == "__main__":
    ANALYSIS.main()
