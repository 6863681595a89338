"""The figure: exact values along training."""

import pandas as pd
from matplotlib.figure import Figure

from snrkit.report import style

LOOK = style.COLUMNS["a4"]
CAPTION = (
    "Exact log p(x), and the exact divergence of the posterior from the proposal, along training on data of a network with "
    "256 states; mean over seeds and its standard error. Every estimator begins alike and sees the same minibatches and "
    "noise."
)
_PANELS = (("log_p", "log p(x), nats"), ("kl", "KL(q, p), nats"))


def draw(curves: pd.DataFrame) -> Figure:
    """Log-likelihood and divergence, one line an estimator."""
    lines = list(dict.fromkeys(zip(curves.estimator, curves.options, strict=True)))
    looks = style.assign([(estimator, options) for estimator, options in lines])
    with style.context(LOOK):
        figure = Figure(figsize=(LOOK.column, 3.6), layout="constrained")
        for axes, (column, label) in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
            for (estimator, options), look in zip(lines, looks, strict=True):
                rows = curves[(curves.estimator == estimator) & (curves.options == options) & (curves.step > 0)]
                found = rows.groupby("step")[column].agg(["mean", "sem"])
                name = style.estimator_label(estimator, options)
                axes.plot(found.index, found["mean"], color=look.colour, dashes=look.dashes[1] or (1, 0), label=name)
                low, high = found["mean"] - found["sem"], found["mean"] + found["sem"]
                axes.fill_between(found.index, low, high, color=look.colour, alpha=0.15, linewidth=0)
            axes.set_xlabel("step")
            axes.set_ylabel(label)
        figure.axes[1].set_yscale("log")
        last = curves[curves.step == curves.step.max()].log_p
        figure.axes[0].set_ylim(float(last.min()) - 0.3, float(last.max()) + 0.05)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure
