"""The five estimators on MNIST: bounds, KL, SNR and active units, beside the published ones.

python analyses/rainforth2018/run.py                  all sections, then RESULTS.md
python analyses/rainforth2018/run.py table            one section, then RESULTS.md
python analyses/rainforth2018/run.py --runs DIR       the same, but for curves, from the finished runs of a sweep
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from common.report import run_sections  # noqa: E402 (the folders above make it importable)
from rainforth import curves, orders, table, training  # noqa: E402

SECTIONS = {"table": table.run, "orders": orders.run, "training": training.run, "curves": curves.run}


def main(argv: list[str] | None = None) -> None:
    """Run the sections named on the command line and rewrite RESULTS.md."""
    run_sections(HERE, SECTIONS, argv)


if __name__ == "__main__":
    main()
