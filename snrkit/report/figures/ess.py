"""Effective sample size per test point, as violins (Rainforth et al. 2018, figure 7)."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from snrkit.report.collect import Tables
from snrkit.report.compared import at_steps
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.layout import named_rows, panels
from snrkit.report.lines import Line, fewest, joined
from snrkit.report.naming import named_lines
from snrkit.report.repetitions import as_one, owners, steps_notes
from snrkit.report.style import Look

COMMAND = "snrkit evaluate --ckpt CHECKPOINT --keep-points"
SAMPLES = 64


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """One violin per evaluation, of each run's last evaluated step."""
    points = tables["points"]
    if points.empty:
        return Missing(f"no scores of single test points were kept: run '{COMMAND}'")
    value = points["ess_64"].astype(float) / SAMPLES
    rows = points.assign(value=value)[np.isfinite(value)]
    rows = rows[rows["step"] == rows.groupby(["folder", "data"])["step"].transform("max")]
    if rows.empty:
        return Missing(f"no finite effective sample size was kept: run '{COMMAND}'")
    lost = int((~np.isfinite(value)).sum())
    notes = (f"{lost} of {len(points)} points have no finite ESS and are not drawn",) if lost else ()
    rows = rows.assign(owner=owners(rows, ["data", "point"]))
    groups, over = fewest([_pooled(group) for _, group in rows.groupby(["owner", "data"], sort=False)])
    found = named_lines(groups, ["M", "K", "trained_on", "data", "model", "seed"])
    # Horizontal violins leave room for names.
    names, height = named_rows(look, [line.label for line in found])
    figure, (axes,) = panels(look, 1, height=height)
    _violins(axes, found)
    axes.set_yticks(range(len(found)), names)
    data = pd.concat([line.rows for line in found], ignore_index=True)
    columns = [c for c in ("line", "run", "data", "step", "point", "value") if c in data]
    return Drawing(figure, data[columns], _caption(found), _alt(found), (*notes, *over, *steps_notes(data)))


def _pooled(group: pd.DataFrame) -> pd.DataFrame:
    """The points of all runs of a setting."""
    steps = at_steps(group[["called" if "called" in group else "run", "step"]].itertuples(index=False, name=None))
    return group.assign(**as_one(group), steps=steps)


def _violins(axes: Axes, found: Sequence[Line]) -> None:
    import seaborn as sns

    spread = [(place, line) for place, line in enumerate(found) if np.ptp(line.rows["value"]) > 0]
    if spread:
        rows = pd.concat([line.rows[["value"]].assign(place=place) for place, line in spread])
        colours = {place: line.style.colour for place, line in spread}
        sns.violinplot(
            rows, x="value", y="place", hue="place", palette=colours, saturation=1, orient="h", native_scale=True,
            inner=None, cut=0, width=0.8, density_norm="width", legend=False, ax=axes,
        )  # fmt: skip
        for body, colour in zip(axes.collections, colours.values(), strict=True):
            body.set(edgecolor=colour, alpha=0.3, gid="violin")
    for place, line in enumerate(found):
        values = line.rows["value"].to_numpy(float)
        colour = line.style.colour
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        axes.hlines(place, low, high, color=colour, linewidth=2.2 * mpl.rcParams["lines.linewidth"])
        axes.plot(middle, place, marker=line.style.marker, color="white", markeredgecolor=colour, gid="median")
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_ylabel("")
    axes.set_xlabel(f"effective sample size of {SAMPLES} samples / {SAMPLES}")


def _caption(found: Sequence[Line]) -> str:
    return (
        "Distribution over test points of the normalised effective sample size (Σw)²/(K Σw²), K = 64, of the "
        "trained proposals. "
        "Bar: quartiles; mark: median. "
        + "; ".join(f"{x.label}: {joined(x.rows['data'].unique())}, {len(x.rows)} points" for x in found)
        + "."
    )


def _alt(found: Sequence[Line]) -> str:
    texts = []
    for line in found:
        low, middle, high = line.rows["value"].quantile([0.25, 0.5, 0.75])
        texts.append(f"{line.label}: median {middle:.2f}, quartiles {low:.2f} and {high:.2f}")
    return f"Violin chart of normalised effective sample size. {'; '.join(texts)}."


figure = FigureKind(
    title="Effective sample size",
    section="bound",
    needs=("points",),
    command=COMMAND,
    definition=(
        "ESS = (Σw)²/Σw² over 64 samples of the proposal, per test point (mean over groups), divided by 64: "
        "1 is a perfect proposal."
    ),
    uncertainty="Violins show the spread between test points, not an error.",
    draw=draw,
)
