"""The reproduction of 2021: its evaluation and objective faults, its learnt beta, its options, its SSIM.

python analyses/mcharrak2021/run.py                    all sections, then RESULTS.md
python analyses/mcharrak2021/run.py learnt_beta        one section, then RESULTS.md
python analyses/mcharrak2021/run.py ssim --runs DIR    the same from finished runs; nothing is trained
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from common.report import run_sections  # noqa: E402 (the folders above make it importable)
from mcharrak import beta_curve, evaluation, learnt_beta, objectives, parameters, ssim, updates  # noqa: E402

SECTIONS = {
    "parameters": parameters.run,
    "evaluation": evaluation.run,
    "objectives": objectives.run,
    "learnt_beta": learnt_beta.run,
    "beta_curve": beta_curve.run,
    "updates": updates.run,
    "ssim": ssim.run,
}


def main(argv: list[str] | None = None) -> None:
    """Run the sections named on the command line and rewrite RESULTS.md."""
    run_sections(HERE, SECTIONS, argv)


if __name__ == "__main__":
    main()
