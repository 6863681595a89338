"""Sentences through a latent variable: posterior collapse and its remedies (Bowman et al. 2016).

    python -m analyses.sentences2016.run              all sections, then RESULTS.md
    python -m analyses.sentences2016.run collapse     one section, then RESULTS.md

The text comes with `pip install 'snrkit[text]'`. Each section writes its numbers to
analyses/sentences2016/results/cpu/SECTION.csv and its text to SECTION.md.
"""

from pathlib import Path

from analyses.common.report import Analysis
from analyses.sentences2016.sections import along, between, collapse

ANALYSIS = Analysis(Path(__file__).parent, {"collapse": collapse.run, "between": between.run, "along": along.run})

if __name__ == "__main__":
    ANALYSIS.main()
