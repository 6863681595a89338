"""Figures, by name, in the order of the story. A figure is one file here and one line in this table.

Each entry is a ``FigureKind``: what the figure needs, which command makes that, what it means and how it is drawn.
"""

from snrkit.registry import Registry

_HERE = "snrkit.report.figures"

FIGURES = Registry(
    "figure",
    {
        "training": f"{_HERE}.training:figure",
        "learned_beta": f"{_HERE}.learned_beta:figure",
        "metrics_vs_m": f"{_HERE}.metrics_vs_m:figure",
        "metrics_vs_beta": f"{_HERE}.metrics_vs_beta:figure",
        "ess": f"{_HERE}.ess:figure",
        "active_units": f"{_HERE}.active_units:figure",
        "generalisation": f"{_HERE}.generalisation:figure",
        "reconstructions": f"{_HERE}.reconstructions:figure",
        "samples": f"{_HERE}.samples:figure",
        "interpolations": f"{_HERE}.interpolations:figure",
        "canvases": f"{_HERE}.canvases:figure",
        "latents": f"{_HERE}.latents:figure",
        "histograms": f"{_HERE}.histograms:figure",
        "snr_vs_k": f"{_HERE}.snr_vs_k:figure",
        "snr_vs_m": f"{_HERE}.snr_vs_m:figure",
        "dsnr_vs_k": f"{_HERE}.dsnr_vs_k:figure",
        "dsnr_vs_m": f"{_HERE}.dsnr_vs_m:figure",
        "bias_variance": f"{_HERE}.bias_variance:figure",
        "noise_parts": f"{_HERE}.noise_parts:figure",
        "snr_training": f"{_HERE}.snr_training:figure",
        "frontier": f"{_HERE}.frontier:figure",
    },
    group="snrkit.figures",
    what="snrkit.report.drawing:FigureKind",
)
