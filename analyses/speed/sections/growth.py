"""How the time grows with the number of draws and with K."""

from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from analyses.common.report import Place
from analyses.speed.sections.engines import engine
from analyses.speed.sections.reference import device_name, reference
from analyses.speed.sections.timing import interleaved

BY_DRAWS = (1_000, 3_000, 10_000, 30_000, 100_000)
BY_K = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)


def run(place: Place) -> tuple[str, list[dict[str, Any]]]:
    """One row per point, and growth.png."""
    model, x = reference()
    draws = interleaved({str(R): (engine("factors", model, x, 1, R), 1) for R in BY_DRAWS})
    samples = interleaved({str(K): (engine("factors", model, x, K, 2), 2) for K in BY_K})
    curves = {
        "draws at K = 1": (BY_DRAWS, [found.median for found in draws.values()]),
        "K, one draw": (BY_K, [found.median for found in samples.values()]),
    }
    figure, panels = plt.subplots(1, 2, figsize=(7, 2.8), layout="constrained")
    rows, exponents = [], {}
    for axes, (label, (sizes, ms)) in zip(panels, curves.items(), strict=True):
        top = [i for i, size in enumerate(sizes) if size >= sizes[-1] / 100]
        slope, offset = np.polyfit(np.log([sizes[i] for i in top]), np.log([ms[i] for i in top]), 1)
        exponents[label] = slope
        axes.loglog(sizes, ms, "o", color="C0")
        axes.loglog(sizes, np.exp(offset) * np.array(sizes) ** slope, "-", color="C1", label=f"exponent {slope:.2f}")
        axes.set(xlabel=label, ylabel="milliseconds")
        axes.legend(frameon=False)
        rows += [{"against": label, "size": size, "ms": value} for size, value in zip(sizes, ms, strict=True)]
    figure.savefig(place.results / "growth.png", dpi=150)
    fitted = ", ".join(f"{slope:.3f} against {label}" for label, slope in exponents.items())
    text = f"Exponents over the top two decades: {fitted}.\n\n![growth](results/{device_name()}/growth.png)"
    return text, rows
