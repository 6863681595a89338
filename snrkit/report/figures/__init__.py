"""Figures, by name. A figure is one file here and one line in this table.

Each entry is a function that takes what was collected and returns a ``Drawing``, or ``Missing`` with the reason.
"""

from snrkit.registry import Registry

FIGURES = Registry(
    "figure",
    {
        "snr_vs_k": "snrkit.report.figures.snr_vs_k:draw",
        "training": "snrkit.report.figures.training:draw",
    },
)
