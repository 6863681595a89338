"""IWAE, IWAER and IWAER_rec (Hernandez-Lobato et al. 2016): test log-likelihood over trials, and gradient SNR.

    python -m analyses.hernandezlobato2016.run              both sections at cpu scale, then RESULTS.md
    python -m analyses.hernandezlobato2016.run trials --settings analyses/hernandezlobato2016/full.toml

Sections: trials, snr. Trials live in runs/, go on where they were stopped and are skipped when done; numbers go to
results/SCALE/SECTION.csv.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import snrkit
from analyses.common.report import Analysis, Place, Section
from analyses.hernandezlobato2016 import text
from analyses.hernandezlobato2016.text import SYSTEMS
from snrkit.backend.device import select_device
from snrkit.core.streams import Streams
from snrkit.evaluation.bounds import evaluate
from snrkit.files import read_json, write_json
from snrkit.run import Run, train
from snrkit.runs.folder import RunDir
from snrkit.specs.run import RunSpec


def model_of(system: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The model table of a system's spec."""
    hidden, latent = settings["hidden"], settings["latent"]
    if system == "IWAE":
        return {"name": "mlp", "options": {"hidden": [hidden], "latent": latent}}
    random = "both" if system == "IWAER" else "recognition"
    options = {"random": random, "hidden": hidden, "latent": latent, "initial_scale": settings["initial_scale"]}
    return {"name": "random-weights", "options": options}


def spec_of(system: str, data: str, trial: int, settings: dict[str, Any]) -> RunSpec:
    """One trial; its number is the seed of initialisation, order, pixels and noise."""
    source = {"name": data, "binarise": "dynamic"}
    if "train_limit" in settings:
        source["train_limit"] = settings["train_limit"]
    table = {
        "data": source,
        "model": model_of(system, settings),
        "estimator": {"name": "iwae", "K": settings["K"]},
        "epochs": settings["epochs"], "batch_size": settings["batch_size"], "seed": trial,
        "checkpoint_every": 1, "eval_points": 0,
    }  # fmt: skip
    return RunSpec.parse(table, "settings")


def trials(settings: dict[str, Any], runs: Path) -> pd.DataFrame:
    """Train and evaluate every trial that is not done; one row each."""
    rows = []
    for data in settings["data"]:
        for trial in range(settings["trials"]):
            for system in SYSTEMS:
                run = RunDir(runs / f"{data}-{system}-{trial}")
                spec = spec_of(system, data, trial, settings)
                asked = of_trial(spec, settings)
                if not run.evaluation.exists() or read_json(run.evaluation).get("asked") != asked:
                    write_json(run.evaluation, one_trial(spec, settings, run) | {"asked": asked})
                found = {name: value for name, value in read_json(run.evaluation).items() if name != "asked"}
                rows.append({"data": data, "system": system, "trial": trial} | found)
                print(f"{run.name}: log p {found['log_p']:.3f} nats, {found['seconds']:.0f} s", flush=True)
    return pd.DataFrame(rows)


def of_trial(spec: RunSpec, settings: dict[str, Any]) -> dict[str, Any]:
    """What a trial's scores depend on."""
    return {
        "run": spec.identity(), "epochs": spec.epochs, "samples": settings["samples"], "points": settings.get("test_points"),
    }  # fmt: skip


def one_trial(spec: RunSpec, settings: dict[str, Any], run: RunDir) -> dict[str, Any]:
    """Train and evaluate; the scores as one flat row."""
    start = time.perf_counter()
    trained = train(spec, run.path, resume=True)
    x, label = trained.points(settings.get("test_points"))
    scores = evaluate(trained.model, x, settings["samples"], Streams(spec.seed))
    row = {score.metric: score.value for score in scores} | {"median_scale": median_scale(trained.model.state_dict())}
    return row | {"points": label, "step": trained.step, "seconds": time.perf_counter() - start}


def median_scale(state: dict[str, torch.Tensor]) -> float | None:
    """Median standard deviation of the random weights, in units of 1/sqrt(fan-in) as ``initial_scale`` is; None: no such."""
    scales = [
        (value.exp() * value.shape[1] ** 0.5).flatten()
        for name, value in state.items()
        if name.endswith("weight_log_scale")
    ]
    return float(torch.cat(scales).median()) if scales else None


def snr(settings: dict[str, Any], runs: Path) -> pd.DataFrame:
    """SNR of every tensor of the first trial on the first data set, at the K trained with."""
    own, data = settings["snr"], settings["data"][0]
    tables = []
    for system in SYSTEMS:
        run = Run.open(runs / f"{data}-{system}-0")
        x, label = run.points(own["points"])
        table = snrkit.measure(run.model, x, ["iwae"], K=[settings["K"]], draws=own["draws"])
        tables.append(table.assign(run=run.name, system=system, data=label, step=run.step))
        print(f"{run.name}: SNR measured", flush=True)
    return pd.concat(tables, ignore_index=True)


def _of(
    section: Callable[[dict[str, Any], Path], pd.DataFrame], said: Callable[[pd.DataFrame, dict[str, Any]], str]
) -> Section:
    """The section on the runs of its scale, with what the page says of its table."""

    def run(place: Place) -> tuple[str, pd.DataFrame]:
        table = section(place.settings, place.runs / place.scale)
        place.notes.append(str(select_device("auto")))
        return said(table, place.settings), table

    return run


ANALYSIS = Analysis(Path(__file__).parent, {"trials": _of(trials, text.trials), "snr": _of(snr, text.snr)}, shown=False)

if __name__ == "__main__":
    ANALYSIS.main()
