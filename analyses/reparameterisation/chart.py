"""The figure: variance against minibatch size."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from snrkit.report import style
from snrkit.report.axes import log_limits, log_x, log_y

LOOK = style.COLUMNS["a4"]
TITLES = {"pathwise": "reparameterised", "score": "score function"}
LOOKS = {
    "shared": ("#0072B2", "o", "one weight draw per minibatch"),
    "own": ("#D55E00", "s", "local reparameterisation"),
}


def draw(table: pd.DataFrame, parts: pd.DataFrame) -> Figure:
    """One panel per estimator, trace over all coordinates."""
    with style.context(LOOK):
        figure = Figure(figsize=(LOOK.column, 2.7), layout="constrained")
        for axes, (estimator, title) in zip(figure.subplots(1, 2), TITLES.items(), strict=True):
            rows = table[(table.estimator == estimator) & (table.block == "all")]
            M = np.geomspace(rows.M.min(), rows.M.max(), 60)
            for weights, (colour, marker, label) in LOOKS.items():
                own = rows[rows.weights == weights]
                known = parts.query("weights == @weights and estimator == @estimator and block == 'all'").iloc[0]
                axes.plot(M, known["var"] / M + (M - 1) / M * known["cov"], color=colour, zorder=1)
                axes.errorbar(own.M, own.measured, own.stderr, color=colour, marker=marker, linestyle="", label=label)
                if known["cov"] > 0:
                    axes.axhline(known["cov"], color=colour, dashes=style.FLOOR_DASHES[1], linewidth=0.8)
            log_x(axes, [int(m) for m in sorted(rows.M.unique())], log_limits(rows.M.min(), rows.M.max()))
            log_y(axes, log_limits(rows.measured.min(), rows.measured.max()))
            axes.set_title(title)
            axes.set_xlabel("minibatch size M")
        figure.axes[0].set_ylabel("trace of gradient covariance")
        figure.axes[0].legend(loc="lower left")
    return figure
