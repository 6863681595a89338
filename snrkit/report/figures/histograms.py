"""Histograms of single coordinates of the gradient at several K (the layout of Rainforth et al. 2018, figure 1)."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from snrkit.report import style
from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.escape import mathtext
from snrkit.report.layout import panels
from snrkit.report.lines import joined
from snrkit.report.style import Look

COMMAND = "snrkit snr --ckpt CHECKPOINT --K 1,3,10,100,1000 --keep-draws 'TENSOR[0],TENSOR[1]'"

_GROUP = ["source", "run", "step", "data", "estimator", "options", "M", "seed", "method"]
_BINS = 60
_MOST = 4
# Bins reach so many standard deviations to either side; what lies beyond is counted in the caption.
_REACH = 4.0


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """One panel per kept coordinate, one histogram per K, of the estimator whose draws cover most K."""
    kept = tables["draws"]
    kept = kept[np.isfinite(kept["value"])] if len(kept) else kept
    if kept.empty:
        return Missing(f"no draws of single coordinates were kept: run '{COMMAND}'")
    groups = [group for _, group in kept.groupby(_GROUP, sort=False, dropna=False)]
    # Most K first, then the smallest M, then the latest step.
    chosen = max(groups, key=lambda g: (g["K"].nunique(), -g["M"].iloc[0], g["step"].iloc[0]))
    # "largest" and "median" may name another coordinate at each K: those seen at most K are shown.
    seen = chosen.groupby("coordinate", sort=False)["K"].nunique()
    coordinates = list(seen[seen == seen.max()].index[:_MOST])
    chosen = chosen[chosen["coordinate"].isin(coordinates)]
    samples = sorted(int(k) for k in chosen["K"].unique())
    colours = dict(zip(samples, style.shades(len(samples)), strict=True))
    handles = [Line2D([], [], color=colour, label=f"K = {k}") for k, colour in colours.items()]
    figure, axes = panels(look, len(coordinates), handles=handles)
    data = pd.concat([_densities(chosen[chosen["coordinate"] == name]) for name in coordinates], ignore_index=True)
    for place, name in zip(axes, coordinates, strict=True):
        _panel(place, name, data[data["coordinate"] == name], colours)
    axes[0].set_ylabel("density")
    others = len(groups) - 1
    notes = (f"draws of {others} other settings (estimator, M or step) are not shown",) if others else ()
    return Drawing(figure, data, _caption(chosen), _alt(data), notes)


def _densities(rows: pd.DataFrame) -> pd.DataFrame:
    """Histogram of each K: bin edges and density, with the coordinate's mean, standard deviation and SNR."""
    parts = []
    for k, own in rows.groupby("K"):
        values = own["value"].to_numpy(float)
        mean, sd = values.mean(), values.std(ddof=1) if len(values) > 1 else 0.0
        spread = _REACH * sd or 1e-12
        counts, edges = np.histogram(values, bins=_BINS, range=(mean - spread, mean + spread))
        density = counts / len(values) / np.diff(edges)
        parts.append(
            pd.DataFrame({"low": edges[:-1], "high": edges[1:], "density": density}).assign(
                coordinate=own["coordinate"].iloc[0], K=k, draws=len(values), mean=mean, sd=sd,
                snr=abs(mean) / sd if sd > 0 else np.nan, beyond=int(len(values) - counts.sum()),
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _panel(axes: Axes, name: str, data: pd.DataFrame, colours: dict[int, str]) -> None:
    import seaborn as sns

    for k, own in data.groupby("K"):
        edges = np.append(own["low"].to_numpy(), own["high"].iloc[-1])
        # Bins counted before, for the twin: one value in each, of its density's weight.
        sns.histplot(
            x=own["low"], weights=own["density"], bins=edges.tolist(), element="step", color=colours[int(str(k))],
            alpha=0.25, label=f"K = {k}", gid="histogram", ax=axes,
        )  # fmt: skip
    # Thin and behind: at large K a whole histogram may be as narrow as a line.
    thin = 0.5 * mpl.rcParams["lines.linewidth"]
    axes.axvline(0, color=style.DARK_GREY, linestyle=style.FLOOR_DASHES, linewidth=thin, gid="zero", zorder=0.5)
    peaks = data.groupby("K")["density"].max()
    axes.set_yscale("log")
    axes.set_ylim(peaks.min() / 30, peaks.max() * 1.6)
    axes.yaxis.set_major_locator(LogLocator(numticks=6))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_title(f"Δ({mathtext(name)})")
    axes.set(xlabel="gradient of one draw", ylabel="")


def _caption(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    return (
        f"Histograms of the gradient estimate Δ of the coordinates {joined(rows['coordinate'].unique())} over "
        f"{joined(sorted(rows.groupby(['coordinate', 'K']).size().unique()))} draws of the noise each, "
        f"{style.estimator_label(str(first['estimator']), str(first['options']))}, M = {first['M']}, {first['called']}, "
        f"step {first['step']}, {first['data']}. Ascent directions of the mean over the data points. The density is on a "
        f"log axis; bins reach {_REACH:g} standard deviations to either side of the mean. Dashed: zero."
    )


def _alt(data: pd.DataFrame) -> str:
    parts = []
    for name, own in data.groupby("coordinate", sort=False):
        each = own.drop_duplicates("K")
        numbers = each[["K", "mean", "sd", "snr"]].to_numpy()
        texts = [f"K {k:g}: mean {mean:.2g}, sd {sd:.2g}, SNR {snr:.2g}" for k, mean, sd, snr in numbers]
        parts.append(f"{name}: {'; '.join(texts)}")
    return f"Overlaid histograms, one per K, by coordinate. {'. '.join(parts)}."


figure = FigureKind(
    title="Histograms of the gradient",
    section="gradients",
    needs=("draws",),
    command=COMMAND,
    definition=(
        "Density of single draws of one coordinate of the gradient estimate. Where the bulk straddles zero, a draw hardly "
        "tells the sign of the expected gradient."
    ),
    uncertainty="Histograms show the draws themselves; the mean of R draws is known to sd/√R.",
    draw=draw,
)
