"""SNR levels of IWAE beside those of Daudel et al. 2023's published results (d = 20, REP, alpha = 0)."""

from typing import Any

import numpy as np
import pandas as pd

import snrkit
from sections.toy import toy
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.plan import Plan

# (perturbation, network) -> |mean|/sd of one coordinate, mean over ten runs, at K = 2, 16, 128, 512, 1,000 draws each.
PUBLISHED = {
    (0.01, "inference"): (0.289, 0.101, 0.0425, 0.0262),
    (0.01, "generative"): (0.622, 0.886, 2.27, 4.50),
    (0.5, "inference"): (18.2, 16.0, 14.2, 12.8),
    (0.5, "generative"): (32.6, 32.2, 32.5, 31.8),
}
_BLOCK = {"inference": "b", "generative": "mu"}


def run(settings: dict[str, Any]) -> tuple[str, pd.DataFrame]:
    """Mean over instances of snr_mean, with the standard error over instances."""
    own = settings["published"]
    iwae = snrkit.build_estimator("iwae", {})
    rows = []
    for perturb in own["perturb"]:
        found: dict[tuple[str, int], list[float]] = {}
        for seed in range(own["instances"]):
            # Near the optimum the mean is lent by DReG, so that so few draws do not read as noise.
            lender = "dreg" if perturb < 0.1 else None
            plan = Plan((iwae,), tuple(own["K"]), draws=own["draws"], seed=seed, blocks=("b", "mu"), mean_from=lender)
            table = diagnose(*toy(settings, perturb, seed), plan).table.query("metric == 'snr_mean'")
            for block, K, value in zip(table.block, table.K, table.value, strict=True):
                found.setdefault((block, K), []).append(value)
        for network, block in _BLOCK.items():
            for K, published in zip(own["K"], PUBLISHED[perturb, network], strict=True):
                values = np.array(found[block, K])
                stderr = values.std(ddof=1) / np.sqrt(len(values))
                rows.append((perturb, network, K, values.mean(), stderr, published))
    text = (
        "## Published levels\n\nMean of |E[g]|/sd[g] over the coordinates of b (inference) and mu (generative), over "
        f"{own['instances']} instances ± its standard error over instances. The published numbers are means over ten "
        "single coordinates of ten instances with diagonal A and data N(0, 2 I), and uncertain by a quarter; those at "
        "their floor of 0.025 (0.0262) are noise. What must agree is the trend. Near the optimum our inference means come "
        f"from DReG draws; all else rests on {own['draws']} own draws, whose floor in snr_mean is "
        f"{np.sqrt(2 / np.pi / own['draws']):.3f}."
    )
    columns = ["perturbation", "network", "K", "ours", "stderr", "published"]
    return text, pd.DataFrame(rows, columns=columns)
