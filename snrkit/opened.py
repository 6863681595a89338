"""A checkpoint of a run, opened: its model with its data."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from snrkit.backend.device import kind_of, select_device
from snrkit.data import SOURCES, load
from snrkit.data.base import Dataset
from snrkit.diagnostics.store import fingerprint
from snrkit.errors import DataError, SpecError
from snrkit.estimators import ESTIMATORS
from snrkit.estimators.base import Estimator
from snrkit.evaluation.points import named_points
from snrkit.fleet.models import Recipe
from snrkit.models.base import LatentModel
from snrkit.models.own import lending
from snrkit.runs.checkpoint import find_checkpoint, load_checkpoint
from snrkit.runs.folder import RunDir
from snrkit.specs.run import RunSpec
from snrkit.training.opening import require_same_data


@dataclass(frozen=True)
class Opened:
    """A checkpoint of a run, opened.

    Attributes:
        folder: the run directory's files.
        spec: the resolved spec; an option that changed in training is as it was at the checkpoint.
        file: the checkpoint.
        epoch: finished epochs.
        step: optimiser steps done.
        model: the model, on the device asked for.
        dataset: the run's data, or others that fit the model (see ``on``).
        trained_on: name of the data that the run was trained on.
        device: where the model is.
        is_elsewhere: whether the data were given by ``on``.
        recipe: what builds its model on another machine.
    """

    folder: RunDir
    spec: RunSpec
    file: Path
    epoch: int
    step: int
    model: LatentModel
    dataset: Dataset
    trained_on: str
    device: torch.device
    is_elsewhere: bool = False
    recipe: Recipe | None = None

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        data_dir: str | Path | None = None,
        device: str = "auto",
        model: str | None = None,
    ) -> Self:
        """Open a checkpoint with its data.

        Args:
            path: a ``run.pt`` or another checkpoint, or a run directory.
            data_dir: folder of the data files; None: SNRKIT_DATA or the cache.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            model: ``FILE.py:CLASS``, of a run that was trained with a model of your own: the file is run only because you
                name it, and only if it is as it was.

        Raises:
            ModelError: that file raises.
            CheckpointError: there is none, there are several, or it is damaged.
            DataError, SpecError: the run's data are not there, or have changed; there is no such device, or no such model.
        """
        path, where = Path(path), select_device(device)
        file = find_checkpoint(path)
        checkpoint = load_checkpoint(file)
        spec = checkpoint.spec_in_force()
        dataset = load(spec.data, None if data_dir is None else Path(data_dir))
        trained, found = checkpoint.data_mean.shape[0], dataset.train.shape[1]
        if trained != found:
            problem = f"has points of {found} numbers, and the run was trained on {trained}"
            raise DataError(spec.data.path or spec.data.name, problem, "put the run's own data back, or train anew")
        require_same_data(checkpoint, dataset)
        # Checkpoints kept along the way lie in a folder of the run directory.
        home = file.parent.parent if file.parent.name == RunDir(file.parent.parent).steps.name else file.parent
        with lending(spec.model, model):
            restored = checkpoint.restore_model(where)
        recipe = Recipe(spec.model, spec.seed, spec.dtype, checkpoint.data_summary(), model)
        return cls(
            RunDir(home), spec, file, checkpoint.epoch, checkpoint.step, restored, dataset, spec.data.name, where,
            recipe=recipe,
        )  # fmt: skip

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.folder.path

    @property
    def name(self) -> str:
        """What results are to call the run."""
        return self.file.stem if self.is_loose else self.folder.name

    @property
    def estimator(self) -> Estimator:
        """What the run is trained with; an option that changes in training is as it was at the checkpoint.

        One that is learnt freely may be outside of the range in which it can be set.
        """
        found: Estimator = ESTIMATORS.load(self.spec.estimator.name)(**self.spec.estimator.numbers())
        return found

    def points(self, count: int | None = None) -> tuple[Tensor, str]:
        """The first ``count`` test points (None: all), ``[count, P]``, binarised as the run's, and their label.

        Raises:
            SpecError: there are not that many, or fewer than one.
        """
        return named_points(self.dataset, self.spec, self.device, count, "count")

    def on(self, data: str, *, data_dir: str | Path | None = None) -> Self:
        """The same run with the test set of other data, binarised as the run's own.

        Args:
            data: their registered name.
            data_dir: folder of the data files; None: SNRKIT_DATA or the cache.

        Raises:
            DataError, SpecError: no such data, or their points do not fit the model.
        """
        if "path" in SOURCES.load(data).reads:
            raise SpecError(
                "data", f"{data} needs a file, and none can be named here", "choose data with a name of its own"
            )
        other = self.spec.data.model_copy(update={"name": data, "path": None, "train_limit": None})
        dataset = load(other, None if data_dir is None else Path(data_dir))
        own, found = (each.test.shape[1] for each in (self.dataset, dataset))
        if own != found:
            problem = f"has points of {found} numbers, and the run was trained on {own}"
            raise DataError(data, problem, "choose data of the same size")
        if dataset.words != self.dataset.words:
            problem = "has other words than the run was trained on"
            raise DataError(data, problem, "put the sentences into the file that the run was trained on")
        return replace(self, dataset=dataset, spec=self.spec.model_copy(update={"data": other}), is_elsewhere=True)

    @property
    def labels(self) -> dict[str, Any]:
        """Columns of every result: run and step."""
        return {"run": self.name, "step": self.step}

    def fingerprint(self, x: Tensor, *labels: object) -> str:
        """Of all that scores of points depend on."""
        tensors = [*self.model.named_parameters(), *self.model.named_buffers()]
        return fingerprint(
            tensors, x, self.spec.model.model_dump_json(exclude_none=True), *labels, kind_of(self.device)
        )

    def beside(self, name: str) -> Path:
        """Where a result on this checkpoint goes: in the run directory, or beside a checkpoint with a name of its own."""
        return self.path / name if self.file == self.folder.checkpoint else self.file.with_suffix(f".{name}")

    @property
    def is_loose(self) -> bool:
        """Whether the checkpoint is neither a run's latest nor one kept along the way: a file under a name of its own."""
        return self.file.name != self.folder.checkpoint.name and self.file.parent != self.folder.steps
