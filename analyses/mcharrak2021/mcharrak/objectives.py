"""What PIWAE(8, 8) and CIWAE(0.5) were meant to be, and what the released code optimised: gradients at one model."""

import pandas as pd

from analyses.common.report import Place
from analyses.common.runs import opened_run
from analyses.common.tables import pm
from analyses.mcharrak2021.mcharrak.runs import ESTIMATORS, obtain
from snrkit.core.streams import Streams
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.plan import Plan
from snrkit.estimators.base import build_estimator
from snrkit.evaluation.bounds import sample_log_weights

# Name, phi's estimator with (M, K), theta's with (M, K), samples drawn per data point and step.
CASES = [
    ("PIWAE(8, 8) as defined", ("miwae", 8, 8), ("iwae", 1, 64), 64),
    ("PIWAE as released", ("miwae", 10, 10), ("iwae", 1, 10), 110),
    ("CIWAE(0.5), K = 64, as defined", ("ciwae", 1, 64), ("ciwae", 1, 64), 64),
    ("CIWAE(0.5) as released: K = 1, own sample per part", ("vae", 2, 1), ("vae", 2, 1), 2),
    ("VAE, 64 samples", ("vae", 64, 1), ("vae", 64, 1), 64),
]


def run(place: Place) -> tuple[str, pd.DataFrame]:
    """SNR of both networks' gradients and the value of each network's bound."""
    own = place.settings["objectives"]
    trained, _ = obtain(place, ESTIMATORS["miwae"])
    opened = opened_run(trained)
    x, data = opened.points(own["points"])
    log_w = sample_log_weights(opened.model, x, own["samples"], Streams(0))
    rows = []
    for name, phi, theta, samples in CASES:
        row: list[object] = [name, samples]
        for network, (kind, M, K) in (("inference", phi), ("generative", theta)):
            estimator = build_estimator(kind, {})
            units = estimator.units(M, K)[0].count
            plan = Plan(estimators=estimator, K=K, M=M, draws=own["draws"] * units, blocks=(network,))
            found = diagnose(opened.model, x, plan).table.set_index("metric").loc["snr_mean"]
            groups = log_w.shape[1] // K
            value = estimator.bound(log_w[:, : groups * K].reshape(len(x), groups, K)).mean()
            row += [f"{kind}({M}, {K})", f"{float(value):.3f}", pm(found.value, found.stderr, 3)]
        rows.append(row)
    text = (
        "## Objectives\n\nThe released code hard-codes M = K = 10 for PIWAE's encoder and M = 1, K = 10 for its decoder, on "
        'separate samples, whatever the flags; and its CIWAE runs leave K at 1, where the "IWAE" term is an ELBO of its own '
        "sample, so that beta does nothing to the mean: it is that of a VAE. With a sample to each part the variance is "
        "(beta^2 + (1 - beta)^2) s^2, s^2 that of one sample: at beta = 0.5 that of a VAE with two. Measured at one model, "
        "MIWAE(8, 8), "
        f"{data}, {own['draws']} draws of each estimate; snr_mean ± s.e. over draws; bounds in nats from {own['samples']} "
        "samples per point, the same for all."
    )
    columns = ["objective", "samples", "phi", "its bound", "its SNR", "theta", "its bound ", "its SNR "]
    return text, pd.DataFrame(rows, columns=columns)
