"""IWAE-64 and KL as the released code computes them, and as they are defined, for one model."""

import numpy as np
import pandas as pd

from analyses.common.report import Array, Place
from analyses.common.runs import evaluated
from analyses.common.tables import pm
from analyses.mcharrak2021.mcharrak.runs import ESTIMATORS, obtain

# Standard deviation over the last 200 published epochs of the bound on so many batches (read from its logs).
PUBLISHED_SD = {1: 5.1, 8: 1.8, 64: 0.60}


def run(place: Place) -> tuple[str, pd.DataFrame]:
    """The right numbers, then those of the first k batches of a shuffled test set."""
    own = place.settings["evaluation"]
    trained, _ = obtain(place, ESTIMATORS["miwae"])
    scores, points = evaluated(trained, own["samples"], own["points"], name="whole")
    log_p = points.log_p.to_numpy()
    rows = [
        ["right", name, pm(*scores.loc[metric, ["value", "stderr"]], 3), "", "", ""]
        for name, metric in (("IWAE-64", "iwae_64"), ("log p̂", "log_p"), ("KL(Q‖P)", "kl_q_p"))
    ]
    for k in (1, 8, 64):
        values = faulty(log_p, k, own["batch"], own["shuffles"])
        kl = log_p.mean() - values
        rows.append([
            "faulty", f'"IWAE-{k}"', f"{values[0]:.3f}", f"{values.std(ddof=1):.3f}", PUBLISHED_SD[k],
            f"{kl[0]:+.3f}; negative in {100 * (kl < 0).mean():.0f} %",
        ])  # fmt: skip
    text = (
        f"## Evaluation\n\nThe released evaluation collects the {own['samples']}-sample bound (there: 5,000) of one batch "
        f"of {own['batch']} images after the other in shuffled order, and then takes the first k entries of that list "
        'for "IWAE-k": the same bound on k batches, not a bound of k samples. So its "KL" is the difference of one bound '
        f"between a part and the whole of the test set. MIWAE(8, 8), {points.data.iloc[0]}. faulty: from one shuffle; "
        f"sd: over {own['shuffles']} shuffles, beside that of the published logs over 200 epochs; faulty KL: of that "
        "shuffle, and how often it is negative, which a KL cannot be."
    )
    columns = ["way", "metric", "value", "sd over shuffles", "published sd", "faulty KL"]
    return text, pd.DataFrame(rows, columns=columns)


def faulty(log_p: Array, batches: int, size: int, shuffles: int) -> Array:
    """The mean bound over the first batches of a shuffled test set: ``[N]`` to ``[shuffles]``."""
    dice = np.random.Generator(np.random.PCG64DXSM(0))
    return np.array([dice.permutation(log_p)[: batches * size].mean() for _ in range(shuffles)])
