"""The reproduction of 2021: its evaluation and objective faults, its learnt beta, its options, its SSIM.

python -m analyses.mcharrak2021.run                    all sections, then RESULTS.md
python -m analyses.mcharrak2021.run learnt_beta        one section, then RESULTS.md
python -m analyses.mcharrak2021.run ssim --runs DIR    the same from finished runs; nothing is trained
"""

from pathlib import Path

from analyses.common.report import Analysis
from analyses.mcharrak2021.mcharrak import beta_curve, evaluation, learnt_beta, objectives, parameters, ssim, updates

ANALYSIS = Analysis(
    Path(__file__).parent,
    {
        "parameters": parameters.run,
        "evaluation": evaluation.run,
        "objectives": objectives.run,
        "learnt_beta": learnt_beta.run,
        "beta_curve": beta_curve.run,
        "updates": updates.run,
        "ssim": ssim.run,
    },
    takes_runs=True,
)

if __name__ == "__main__":
    ANALYSIS.main()
