"""The SNR of each estimator at its largest K, as points with their intervals."""

import pandas as pd

from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.layout import named_rows, panels
from snrkit.report.lines import joined
from snrkit.report.naming import names
from snrkit.report.style import Look, estimator_style

COMMAND = "snrkit snr --ckpt CHECKPOINT --estimator iwae,dreg"


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """A row for each reading of the inference network, largest K first."""
    rows = tables["snr"]
    rows = rows[(rows["metric"] == "snr_mean") & (rows["block"] == "inference")]
    rows = rows.sort_values("K", ascending=False).drop_duplicates(["run", "estimator", "options"])
    if rows.empty:
        return Missing(f"no SNR was measured: run '{COMMAND}'")
    keys = [row for _, row in rows.iterrows()]
    called, height = named_rows(look, names(keys, ["K"]))
    figure, (axes,) = panels(look, 1, height=height)
    for place, row in enumerate(keys):
        colour, marker, _ = estimator_style(row["estimator"])
        axes.plot([row["ci_low"], row["ci_high"]], [place, place], color=colour)
        axes.plot(row["value"], place, color=colour, marker=marker)
    axes.set_yticks(range(len(called)), called)
    axes.set_xlabel("SNR of the inference network")
    data: pd.DataFrame = rows[["run", "estimator", "options", "M", "K", "value", "ci_low", "ci_high"]]
    told = "; ".join(f"{row['estimator']}: {row['value']:.2f}" for row in keys)
    return Drawing(figure, data, f"SNR at K = {joined(rows['K'])}. Bars: 95 % intervals.", f"Dot chart of SNR. {told}.")


figure = FigureKind(
    title="Strength of the signal",
    section="gradients",
    needs=("snr",),
    command=COMMAND,
    definition="SNR: |E[Δ]| / sd[Δ] of each coordinate, averaged over the coordinates of the inference network.",
    uncertainty="Bars: 95 % intervals of the reading expected at these draws.",
    draw=draw,
)
