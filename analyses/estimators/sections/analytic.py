"""How much the closed form of the KL is worth: SNR of ``vae-analytic`` beside ``vae`` on digits, as training goes on."""

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from analyses.common.report import Place
from analyses.common.runs import CPU, trained
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.plan import Plan
from snrkit.evaluation.points import named_points
from snrkit.run import Run
from snrkit.specs.run import RunSpec

_SAYS = "snr_pooled"


def run(place: Place) -> tuple[str, pd.DataFrame]:
    """One row per epoch, network and estimator."""
    own = place.settings["analytic"]
    spec = RunSpec.parse(own["run"] | {"seed": place.settings["seed"]}, "cpu.toml")
    table = pd.DataFrame(_rows(spec, place, own))
    inference = table[table.network == "inference"]
    best = inference.loc[inference.ratio.idxmax()]
    last = inference.iloc[-1]
    text = (
        f"## The KL in closed form\n\n{spec.data.name}, model {spec.model.name} {dict(spec.model.options)}, trained with "
        f"{spec.estimator.name} M={spec.estimator.M}, K={spec.estimator.K}; SNR (snr_pooled) of one sample, M = K = 1, "
        f"{own['points']} test points, {own['draws']} draws, the same noise for both. `vae-analytic` / `vae`: at most "
        f"{best.ratio:.2f} in the inference network, after {best.epoch} epochs, and {last.ratio:.2f} at the end. In the "
        "generative network both are the same gradient, for the prior has no parameters."
    )
    return text, table


def _rows(spec: RunSpec, place: Place, own: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for epochs in own["epochs"]:
        run = Run.open(trained(spec.model_copy(update={"epochs": epochs}), place).path, device="cpu")
        x, _ = named_points(run.dataset, run.spec, CPU, own["points"])
        plan = Plan(
            estimators=("vae", "vae-analytic"), K=(1,), M=(1,), draws=own["draws"], blocks=("inference", "generative")
        )
        table = diagnose(run.model, x, plan).table.query("metric == @_SAYS and scope == 'minibatch'")
        for network in ("inference", "generative"):
            found = table[table.block == network].set_index("estimator")
            values = {name: float(found.loc[name, "value"]) for name in ("vae", "vae-analytic")}
            errors = {f"{name} se": float(found.loc[name, "stderr"]) for name in values}
            ratio = values["vae-analytic"] / values["vae"] if values["vae"] else math.nan
            yield {"epoch": epochs, "network": network, **values, **errors, "ratio": ratio}
