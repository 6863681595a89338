"""The report's figures from tables in memory, for a notebook: each call gives matplotlib axes.

``snr_vs_k``, ``snr_vs_m``, ``dsnr_vs_k``, ``dsnr_vs_m``, ``bias_variance``, ``noise_parts`` and ``snr_training`` take the
tidy table of ``snrkit.measure``; ``figure`` draws any figure of the report, those of installed packages among them, from the
tables that it needs. Nothing is drawn twice: these call what ``snrkit report`` calls.
"""

from snrkit.plot.figures import (
    bias_variance,
    dsnr_vs_k,
    dsnr_vs_m,
    figure,
    noise_parts,
    snr_training,
    snr_vs_k,
    snr_vs_m,
)
from snrkit.plot.panels import Panels

__all__ = [
    "Panels",
    "bias_variance",
    "dsnr_vs_k",
    "dsnr_vs_m",
    "figure",
    "noise_parts",
    "snr_training",
    "snr_vs_k",
    "snr_vs_m",
]
