"""Does a richer proposal change how the SNR of the IWAE gradient falls with K?"""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analyses.common.report import Place
from analyses.common.runs import opened_run
from analyses.flows2015.sections.layers import cells
from snrkit.report import style
from snrkit.report.axes import log_limits, log_x, log_y
from snrkit.report.drawing import Drawing
from snrkit.report.save import Destination, save_drawing
from snrkit.runs.kinds.slopes import SLOPES
from snrkit.runs.kinds.snr import SNR
from snrkit.specs.measure import MeasureSpec

LOOK = style.COLUMNS["a4"]
CAPTION = (
    "SNR (pooled over the encoder's coordinates) of the gradients of iwae and dreg in the encoder against K, models trained "
    "alike with and without a flow, seed {seed}; {draws} draws, {points} test points, bars: one standard error; readings of "
    "0 are not drawn."
)


def run(place: Place) -> tuple[str, dict[str, pd.DataFrame]]:
    """Measure the trained models of one seed; the slopes are the section's table."""
    own = place.settings["snr"]
    known = {cell.label: cell for cell in cells(place, [own["seed"]])}
    tables, slopes = [], []
    for label in own["flows"]:
        run = known[label].runs[0]
        # Kept under its own name: the run's table may hold other measurements.
        path = run.path / "flows2015.parquet"
        if not path.exists():
            print(f"  measuring {label}", flush=True)
            opened_run(run).measure(MeasureSpec(**own["measure"]), out=path).save()
        tables.append(SNR.read(path).assign(layers=label))
        slopes.append(SLOPES.read(path.with_suffix(".slopes.csv")).assign(layers=label))
    table = pd.concat(tables).query("metric == 'snr_pooled' and block == 'inference' and M == 1")
    points = table[["layers", "estimator", "K", "value", "stderr", "floor"]].reset_index(drop=True)
    caption = CAPTION.format(seed=own["seed"], draws=own["measure"]["draws"], points=own["measure"]["data_points"])
    command = ("python", "-m", "analyses.flows2015.run", "snr")
    save_drawing(
        "snr",
        Drawing(_draw(points, own["flows"]), points, caption, caption),
        (),
        Destination(place.results, command, LOOK),
    )
    fitted = pd.concat(slopes).query("block == 'inference' and axis == 'K'")
    columns = ["layers", "estimator", "over", "slope", "stderr", "verdict", "reason"]
    return _text(own, points), {"_slopes": fitted[columns].rename(columns={"stderr": "slope se"})}


def _draw(points: pd.DataFrame, flows: list[str]) -> Figure:
    """On axes of powers, so without readings of 0, which are those that do not stand clear of noise."""
    drawn = points[points.value > 0]
    lowest, highest = (drawn.value.min(), drawn.value.max()) if len(drawn) else (0.1, 1.0)
    with style.context(LOOK):
        figure = Figure(figsize=(LOOK.column, 2.7), layout="constrained")
        for axes, estimator in zip(figure.subplots(1, 2, sharey=True), ("iwae", "dreg"), strict=True):
            for label, colour, marker in zip(flows, ("#0072B2", "#D55E00", "#009E73"), "os^", strict=True):
                rows = drawn[(drawn.estimator == estimator) & (drawn.layers == label)].sort_values("K")
                axes.errorbar(rows.K, rows.value, rows.stderr, color=colour, marker=marker, label=label)
            log_x(axes, sorted(points.K.unique().tolist()), log_limits(points.K.min(), points.K.max()))
            log_y(axes, log_limits(lowest, highest))
            axes.set_title(estimator)
            axes.set_xlabel("K")
        figure.axes[0].set_ylabel("SNR of the encoder's gradient")
        figure.axes[0].legend(loc="lower left")
    return figure


def _text(own: dict[str, Any], points: pd.DataFrame) -> str:
    wide = points[points.estimator == "iwae"].pivot(index="layers", columns="K", values="value").loc[own["flows"]]
    first, last = wide.columns[0], wide.columns[-1]
    falls = ", ".join(f"{label} {row[first]:.3f} to {row[last]:.3f}" for label, row in wide.iterrows())
    return (
        "## SNR against K\n\n"
        f"Of the runs of the section before, seed {own['seed']}: SNR of iwae and dreg in the encoder (`snr.csv`). E[g] of "
        "iwae is taken from the draws of dreg, which has the same mean. The encoders differ in their number of coordinates, "
        f"over which the SNR is pooled, so levels compare less well than slopes. iwae, from K = {first} to {last}: {falls}. "
        "A slope that is not in the asymptotic regime says so.\n\n![SNR against K](results/cpu/snr.png)"
    )
