"""Training curves with exact values."""

import pandas as pd

from analyses.common.report import Place
from analyses.discrete2020.chart import CAPTION, LOOK, draw
from analyses.discrete2020.learning import climb
from analyses.discrete2020.listed import Listed, built
from analyses.discrete2020.sections.snr import data_of
from snrkit.diagnostics.tables import title
from snrkit.report.drawing import Drawing
from snrkit.report.save import Destination, save_drawing


def run(place: Place) -> tuple[str, dict[str, pd.DataFrame]]:
    """Exact log p(x) and both divergences along training, every estimator from the same beginnings."""
    own = place.settings["training"]
    truth, data = data_of(place.settings)
    rows = []
    for estimator in built(place.settings["estimators"]):
        print(f"  {title(estimator)}", flush=True)
        for seed in own["seeds"]:
            model = Listed(truth.pixels, truth.widths, seed)
            for step in climb(model, data, estimator, own, seed=seed, K=own["K"]):
                if step % own["every"] == 0 or step == own["steps"]:
                    log_p, reverse, forward = model.exact(data)
                    rows.append(
                        {
                            "estimator": estimator.name, "options": estimator.describe(), "seed": seed, "step": step,
                            "log_p": log_p, "kl": reverse, "forward_kl": forward,
                        }
                    )  # fmt: skip
    curves = pd.DataFrame(rows)
    drawing = Drawing(draw(curves), curves, CAPTION, CAPTION)
    save_drawing(
        "training", drawing, (), Destination(place.results, ("python", "-m", "analyses.discrete2020.run"), LOOK)
    )
    text = (
        f"## Training with exact values\n\n![training](results/{place.scale}/training.png)\n\nThe same data; "
        f"{own['steps']:,} steps of {own['batch']} data points, K = {own['K']}, Adam {own['lr']}, {len(own['seeds'])} "
        "seeds, each with the same beginning, minibatches and noise for all estimators. Exact values at the last step, mean "
        f"and standard error over seeds; the network that the data are from has log p(x) {truth.exact(data)[0]:.3f}.\n\n"
    )
    return text, {"_last": _last(curves, own["steps"])}


def _last(curves: pd.DataFrame, steps: int) -> pd.DataFrame:
    last = curves[curves.step == steps].copy()
    last["name"] = [f"{e} ({o})" if o else e for e, o in zip(last.estimator, last.options, strict=True)]
    found = []
    for name, rows in last.groupby("name", sort=False):
        line: dict[str, object] = {"estimator": name}
        for column, label in (("log_p", "log p(x)"), ("kl", "KL(q, p)"), ("forward_kl", "KL(p, q)")):
            line |= {label: rows[column].mean(), f"{label} se": rows[column].sem()}
        found.append(line)
    return pd.DataFrame(found).sort_values("log p(x)", ascending=False, ignore_index=True)
