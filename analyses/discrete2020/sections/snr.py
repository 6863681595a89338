"""SNR of every estimator against K on a trained network whose likelihood is known exactly."""

from typing import Any

import pandas as pd
import torch

from analyses.common.report import Place
from analyses.discrete2020.learning import climb
from analyses.discrete2020.listed import Listed, built, dreamt, random_network
from snrkit.core.streams import Streams
from snrkit.diagnostics.measure import Measurement, diagnose
from snrkit.diagnostics.plan import Plan
from snrkit.diagnostics.tables import Provenance, title
from snrkit.runs.kinds.comparisons import COMPARISONS
from snrkit.runs.kinds.slopes import SLOPES
from snrkit.runs.kinds.snr import SNR

_BLOCKS = ("inference", "generative")


def data_of(settings: dict[str, Any]) -> tuple[Listed, torch.Tensor]:
    """The network that the data are drawn from, and the data ``[points, P]``."""
    own = settings["listed"]
    streams = Streams(own["seed"])
    truth = random_network(own["pixels"], (own["latents"],), own["scale"], streams)
    return truth, dreamt(truth, own["points"], streams)


def run(place: Place) -> tuple[str, dict[str, pd.DataFrame]]:
    """SNR against K, slopes with theory's, and exact biases; the tables that the report draws go beside."""
    own = place.settings["snr"]
    truth, data = data_of(place.settings)
    (estimator,) = built([own["estimator"]])
    model = Listed(truth.pixels, truth.widths, own["steps"])
    for _ in climb(model, data, estimator, own, seed=0, K=own["K_trained"]):
        pass
    x = data[: own["points"]]
    asked: dict[str, Any] = {"K": own["K"], "draws": own["draws"], "blocks": _BLOCKS}
    every = Plan(estimators=built(place.settings["estimators"]), bias="log_p", **asked)
    provenance = Provenance("listed", own["steps"], f"dreams[0:{len(x)}]")
    found = diagnose(model, x, every, provenance=provenance)
    lent = diagnose(
        model, x, Plan(estimators=built(own["lent"]), mean_from="ovis-tilde", **asked), provenance=provenance
    )
    _save(place, found, lent)
    return _text(truth, model, data, own, found), _tables(found, lent)


def _save(place: Place, found: Measurement, lent: Measurement) -> None:
    path = place.results / "snr.parquet"
    SNR.write(path, pd.concat([found.table, lent.table], ignore_index=True))
    SLOPES.write(SLOPES.beside(path), pd.concat([found.slopes, lent.slopes], ignore_index=True))
    COMPARISONS.write(COMPARISONS.beside(path), found.comparisons)


def _text(truth: Listed, model: Listed, data: torch.Tensor, own: dict[str, Any], found: Measurement) -> str:
    evidence, reverse, forward = model.exact(data)
    floored = _on_the_floor(found, max(own["K"]))
    return (
        f"## SNR against K\n\n{truth.pixels} pixels, {truth.latent} latents ({2**truth.latent} states), {len(data)} data "
        f"drawn from a network with weights of standard deviation {own.get('scale', 1.5)} (its own mean log p(x): "
        f"{truth.exact(data)[0]:.3f}). Trained for {own['steps']:,} steps with {own['estimator']['name']} at K = "
        f"{own['K_trained']}: exact log p(x) {evidence:.3f}, KL(q, p) {reverse:.3f}, KL(p, q) {forward:.3f} nats. "
        f"{own['points']} data points, {own['draws']} unit draws. `snr_mean` with its floor, then the slope of "
        '`snr_pooled`. "mean from": E[g] from draws of that estimator, which has the same mean.\n\n'
        f"On the floor at K = {max(own['K'])} (the 95 % interval of the signed square contains 0): "
        f"{', '.join(floored) or 'none'}."
    )


def _rows(measured: Measurement, metric: str, block: str) -> pd.DataFrame:
    table = measured.table
    return table[(table.metric == metric) & (table.block == block) & (table.scope == "minibatch")]


def _on_the_floor(found: Measurement, K: int) -> list[str]:
    rows = _rows(found, "snr_pooled_squared", "inference")
    return [_name(row) for row in rows[rows.K == K].to_dict("records") if row["ci_low"] <= 0]


def _name(row: dict[Any, Any]) -> str:
    return f"{row['estimator']} ({row['options']})" if row["options"] else str(row["estimator"])


def _tables(found: Measurement, lent: Measurement) -> dict[str, pd.DataFrame]:
    parts = []
    for measured, metric in ((found, "snr_mean"), (lent, "snr_mean")):
        for estimator in measured.plan.estimators:
            parts += [_line(measured, title(estimator), metric, block) for block in _BLOCKS]
    return {"": pd.DataFrame(parts), "_bias": _biases(found)}


def _line(measured: Measurement, name: str, metric: str, block: str) -> dict[str, object]:
    rows = _rows(measured, metric, block)
    own = {row["K"]: row for row in rows.to_dict("records") if _name(row) == name}
    line: dict[str, object] = {
        "estimator": name, "network": block, "mean from": measured.plan.mean_from or "",
        "floor": next(iter(own.values()))["floor"],
    }  # fmt: skip
    for K, row in own.items():
        line |= {f"K = {K}": row["value"], f"K = {K} se": row["stderr"]}
    slopes = measured.slopes
    fitted = [s for s in slopes[slopes.block == block].to_dict("records") if _name(s) == name]
    for slope in fitted[:1]:
        line |= {"slope": slope["slope"], "slope se": slope["stderr"], "theory": slope["expected"]}
        line["verdict"] = slope["verdict"]
    return line


def _biases(found: Measurement) -> pd.DataFrame:
    """Of theta, whose target, the gradient of log p(x), is exact."""
    rows = _rows(found, "bias_relative", "generative")
    lines = []
    for estimator in found.plan.estimators:
        own = [row for row in rows.to_dict("records") if _name(row) == title(estimator)]
        line: dict[str, object] = {"relative bias of θ": title(estimator), "to": own[0]["target"] if own else ""}
        for row in own:
            line |= {f"K = {row['K']}": row["value"], f"K = {row['K']} se": row["stderr"]}
        lines.append(line)
    return pd.DataFrame(lines)
