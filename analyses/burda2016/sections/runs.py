"""Trained and evaluated runs, made where they are missing."""

import dataclasses
import time
from pathlib import Path
from typing import Any

from snrkit.core.streams import Streams
from snrkit.evaluation.latents import active_units, latent_means, means_table
from snrkit.files import read_json, write_json
from snrkit.models.state import in_mode
from snrkit.run import Run, train
from snrkit.runs.folder import RunDir
from snrkit.runs.kinds.latents import LATENTS
from snrkit.specs.run import RunSpec


class Runs:
    """The runs of one section.

    Args:
        settings: the settings file.
        folder: where the run directories go.

    Attributes:
        count: runs asked for so far.
        seconds: what their training and evaluation took, whenever that was.
    """

    def __init__(self, settings: dict[str, Any], folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self.count, self.seconds = 0, 0.0

    def get(self, name: str, data: dict[str, Any], model: dict[str, Any], estimator: str, K: int, seed: int) -> RunDir:
        """The run of that name, trained and evaluated."""
        common = self._settings["run"]
        chosen = {
            "data": common.get("data", {}) | data,
            "model": model,
            "estimator": {"name": estimator, "K": K},
            "seed": seed,
        }
        run = RunDir(self._folder / f"{name}-{estimator}-K{K}-seed{seed}")
        print(run.name, flush=True)
        spec = RunSpec.parse(common | chosen, "the settings")
        trained = train(spec, run.path, resume=True)
        if not self._evaluated(run):
            own = self._settings["evaluation"]
            trained.evaluate(own["samples"], own["points"] or None).save()
        if not self._has_means(run):
            self._keep_means(trained)
        self.count += 1
        self.seconds += sum(row["seconds"] for row in run.read_metrics())
        self.seconds += read_json(run.evaluation)["seconds"] + read_json(_active(run))["seconds"]
        return run

    def _evaluated(self, run: RunDir) -> bool:
        """Whether what is there was evaluated as the settings say."""
        if not run.evaluation.exists():
            return False
        found, own = read_json(run.evaluation), self._settings["evaluation"]
        asked = _step(run), own["samples"], own["points"] or found["points"]
        return bool((found["step"], found["samples"], found["points"]) == asked)

    def _has_means(self, run: RunDir) -> bool:
        if not _active(run).exists():
            return False
        found = read_json(_active(run))
        return bool((found["step"], found["asked"]) == (_step(run), self._settings["evaluation"]["active_points"]))

    def _keep_means(self, run: Run) -> None:
        """Active units, and the means behind them, on more points than bounds can be had of."""
        asked = self._settings["evaluation"]["active_points"]
        x, label = run.points(asked or None)
        start = time.perf_counter()
        with in_mode(run.model, "evaluation"):
            layers = latent_means(run.model, x, Streams(0))
        table = means_table(layers, run.dataset.test_labels)
        LATENTS.write(run.folder.latents, table.assign(run=run.name, step=run.step, data=label))
        rows = [dataclasses.asdict(score) for score in active_units(layers)]
        seconds = time.perf_counter() - start
        write_json(_active(run.folder), {"step": run.step, "asked": asked, "seconds": seconds, "rows": rows})


def _active(run: RunDir) -> Path:
    return run.path / "active.json"


def _step(run: RunDir) -> int:
    rows = run.read_metrics()
    return rows[-1]["step"] if rows else 0


def scores(run: RunDir) -> dict[str, tuple[float, float]]:
    """Metric to (value, standard error over test points): bounds, and the active units of the larger set of points."""
    rows = [*read_json(run.evaluation)["rows"], *read_json(_active(run))["rows"]]
    return {row["metric"]: (row["value"], row["stderr"]) for row in rows}
