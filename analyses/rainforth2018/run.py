"""The five estimators on MNIST: bounds, KL, SNR and active units, beside the published ones.

python -m analyses.rainforth2018.run                  all sections, then RESULTS.md
python -m analyses.rainforth2018.run table            one section, then RESULTS.md
python -m analyses.rainforth2018.run --runs DIR       the same, but for curves, from the finished runs of a sweep
"""

from pathlib import Path

from analyses.common.report import Analysis
from analyses.rainforth2018.rainforth import curves, orders, table, training, units

ANALYSIS = Analysis(
    Path(__file__).parent,
    {"table": table.run, "orders": orders.run, "training": training.run, "curves": curves.run, "units": units.run},
    takes_runs=True,
)

if __name__ == "__main__":
    ANALYSIS.main()
