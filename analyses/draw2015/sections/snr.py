"""The SNR of what each step adds to the inference network's gradient.

All steps share their parameters, so no block of parameters is a step's. Here each step is given a copy of the inference
network of its own, with equal values: the model is the same function, and the gradient of the shared parameters is the sum
of those of the copies. The SNR of a step is that of the gradient of its copy.
"""

import copy
from typing import Any

import pandas as pd
from torch import nn

import snrkit
from analyses.common.report import Place
from analyses.common.runs import opened_run
from analyses.draw2015.sections import run_of
from snrkit.models.attentive import Attentive


class Apart(Attentive):
    """A model whose steps have copies of the inference network of their own.

    Args:
        model: whose copies they are; its other parameters are shared with it.
    """

    def __init__(self, model: Attentive) -> None:
        super().__init__(model.shape, model.options)
        for name in ("decoder", "write", "write_window", "canvas"):
            setattr(self, name, getattr(model, name))
        steps = range(model.options.steps)
        self.step = nn.ModuleList(
            nn.ModuleDict(
                {name: copy.deepcopy(getattr(model, name)) for name in ("read_window", "encoder", "posterior")}
            )
            for _ in steps
        )
        del self.read_window, self.encoder, self.posterior

    def inference(self, step: int) -> tuple[nn.Module, nn.Module, nn.Module]:
        """Those of the step."""
        own = self.step[step]
        assert isinstance(own, nn.ModuleDict)
        return own["read_window"], own["encoder"], own["posterior"]


def run(place: Place) -> tuple[str, dict[str, pd.DataFrame]]:
    """A row per model, estimator, K and step."""
    own, rows = place.settings["snr"], []
    seed = place.settings["seeds"][0]
    for name in place.settings["models"]:
        opened = opened_run(run_of(place, name, seed))
        assert isinstance(opened.model, Attentive)
        x, label = opened.points(own["points"])
        model = Apart(opened.model).eval()
        blocks = [f"step.{t}.posterior.weight" for t in range(model.options.steps)]
        for K in own["K"]:
            table = snrkit.measure(model, x, own["estimators"], K=[K], draws=own["draws"], blocks=blocks)
            rows += [_row(name, t, row) for t, block in enumerate(blocks, 1) for row in _of(table, block)]
        place.notes.append(label)
    table = pd.DataFrame(rows)
    text = (
        "## The SNR of each step's gradient\n\n"
        "Each step is given a copy of the inference network of its own, with equal values; the gradient of the shared "
        "parameters is the sum of those of the copies. `snr_pooled` of the copies' last layer (`posterior.weight`), at "
        f"M = 1, {own['draws']} draws, {own['points']} test images, seed {seed}; with its standard error. The floor is what "
        "as many draws of pure noise would read."
    )
    return text, {"": table}


def _of(table: pd.DataFrame, block: str) -> list[dict[str, Any]]:
    found = table[(table["block"] == block) & (table["metric"] == "snr_pooled") & (table["scope"] == "minibatch")]
    return found.to_dict("records")  # type: ignore[return-value]


def _row(model: str, step: int, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": model, "estimator": row["estimator"], "K": row["K"], "step": step, "SNR": row["value"],
        "SNR se": row["stderr"], "floor": row["floor"],
    }  # fmt: skip
