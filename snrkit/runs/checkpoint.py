"""Checkpoints: tensors and plain types only, loaded without executing anything."""

import io
import pickle
import warnings
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, get_origin

import torch
from torch import Tensor

from snrkit import checksums
from snrkit.errors import CheckpointError, SpecError
from snrkit.estimators.hyper import Hyper
from snrkit.files import read_bytes, write_bytes
from snrkit.models.base import LatentModel, build_model
from snrkit.models.summary import DataSummary
from snrkit.runs.folder import RunDir
from snrkit.runs.sound import (
    data_problem,
    hyper_problem,
    model_problem,
    optimiser_problem,
    place_problem,
    sound_optimiser_state,
)
from snrkit.specs.run import RunSpec

# Runs of a folder that a message names.
_NAMED = 8
# In version 1 the state of a learnt beta was the only one of its kind, under ``beta``.
FORMAT, VERSION = "snrkit-checkpoint", 2


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a run needs to go on, or a measurement to start.

    Random streams are functions of (seed, step), so the step is all of their state.

    Attributes:
        spec: the run's spec, as TOML.
        epoch: finished epochs.
        step: optimiser steps done.
        position: steps done within the unfinished epoch.
        running: sums over the unfinished epoch, for its metrics.
        model: the model's state.
        optimiser: the optimiser's state.
        data_mean: mean of the training data, ``[P]``.
        data_real: whether the data are real-valued.
        data_words: the vocabulary of sentences, so that they can be printed without their source; empty of other data.
        hyper: state of each option of the estimator that is learnt (see ``estimators.hyper``).
        kernels: the matrix library that the run began with (see ``backend.kernels``); empty where there is no choice, and in
            files from before it was noted.
        data_digest: of all data points (see ``training.opening``); empty in files from before it was noted.
        image_shape: (height, width) of the data; empty where they are no images, and in files from before it was noted.
        rounded: steps at which the optimiser's moments were rounded to bfloat16 and gone on from (see ``runs.compact``).
    """

    spec: str
    epoch: int
    step: int
    position: int
    running: dict[str, float]
    model: dict[str, Tensor]
    optimiser: dict[str, Any]
    data_mean: Tensor
    data_real: bool
    data_words: list[str] = field(default_factory=list)
    hyper: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    kernels: str = ""
    data_digest: str = ""
    image_shape: tuple[int, ...] = ()
    rounded: list[int] = field(default_factory=list)

    def run_spec(self) -> RunSpec:
        """The spec, validated."""
        return RunSpec.from_toml(self.spec, "checkpoint")

    def spec_in_force(self) -> RunSpec:
        """The spec with the estimator's options as they were when it was saved.

        Raises:
            SpecError: the spec names an estimator or an option that there is not.
            CheckpointError: it lacks the state of an option that is learnt.
        """
        spec = self.run_spec()
        if not spec.estimator.changes:
            return spec
        hyper = Hyper(spec)
        hyper.restore(self.hyper)
        options = hyper.values(max(0, self.epoch - (self.position == 0)), max(0, self.step - 1))
        return spec.model_copy(update={"estimator": spec.estimator.model_copy(update={"options": options})})

    def data_summary(self) -> DataSummary:
        """What the model was told of the data when it was built."""
        height_width = (self.image_shape[0], self.image_shape[1]) if self.image_shape else None
        return DataSummary(self.data_mean, self.data_real, words=tuple(self.data_words), image_shape=height_width)

    def restore_model(self, device: torch.device) -> LatentModel:
        """The model with the saved parameters.

        Raises:
            SpecError: the spec names a model or an option that there is not.
            CheckpointError: the parameters do not fit the model that the spec names.
        """
        spec = self.run_spec()
        try:
            model = build_model(spec.model, self.data_summary(), spec.seed)
            model.to(getattr(torch, spec.dtype))
        except (RuntimeError, MemoryError, ValueError, TypeError, OverflowError) as error:
            if isinstance(error, SpecError):
                raise
            raise self._unfit(f"which cannot be built: {_first_line(error)}") from None
        self.fill(model)
        return model.to(device)

    def fill(self, model: LatentModel, optimiser: torch.optim.Optimizer | None = None) -> None:
        """Put the saved state into a model, and into its optimiser; all of it is checked before.

        Raises:
            CheckpointError: the state does not fit them.
        """
        problem = model_problem(self.model, model, exported=not self.optimiser)
        if optimiser is not None and not problem:
            problem = optimiser_problem(self.optimiser, optimiser, self.step)
        if problem:
            raise self._unfit(problem)
        try:
            model.load_state_dict(self.model)
            if optimiser is not None:
                optimiser.load_state_dict(sound_optimiser_state(self.optimiser, optimiser))
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._unfit(_first_line(error)) from None

    def _unfit(self, problem: str) -> CheckpointError:
        problem = f"its state does not fit model {self.run_spec().model.name} ({problem})"
        return CheckpointError("checkpoint", problem, "use the snrkit version that wrote it, or train anew")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), error.__class__.__name__)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    # asdict would copy every tensor; the fields are all that is wanted.
    content = {name: _compact(getattr(checkpoint, name)) for name in checkpoint.__dataclass_fields__}
    # By way of memory, because torch reports a full disk as a RuntimeError.
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "version": VERSION, **content}, buffer)
    write_bytes(path, checksums.seal_zip(buffer.getvalue()))


def _compact(value: Any) -> Any:
    """The same state without what its tensors are views of: torch.save stores whole storages."""
    if isinstance(value, Tensor):
        return value.clone() if value.untyped_storage().nbytes() > value.nbytes else value
    if isinstance(value, dict):
        return {key: _compact(item) for key, item in value.items()}
    return [_compact(item) for item in value] if isinstance(value, list) else value


def find_checkpoint(path: Path) -> Path:
    """The checkpoint file meant by a file or a run directory.

    Raises:
        CheckpointError: there is none, or several.
    """
    _refuse_many(path)
    file = RunDir(path).checkpoint if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(
            "path", f"no checkpoint at '{path}'", "give a run.pt or a run directory of 'snrkit train'"
        )
    return file


def _refuse_many(path: Path) -> None:
    """A folder of runs is more than one run.

    Raises:
        CheckpointError: it is one; the runs in it are named.
    """
    if not path.is_dir() or RunDir(path).checkpoint.is_file():
        return
    inside = [place for place in sorted(path.iterdir()) if not place.name.startswith(".")]
    found = [
        place for place in inside if RunDir(place).checkpoint.is_file() or (place.is_file() and place.suffix == ".pt")
    ]
    if found:
        names = ", ".join(place.name for place in found[:_NAMED]) + (", ..." if len(found) > _NAMED else "")
        problem = f"'{path}' holds {len(found)} runs or checkpoints ({names}), and one is needed"
        raise CheckpointError("path", problem, f"give one of them, for example `path={found[0]}`")


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """The checkpoint files meant by files, run directories, folders of runs, or folders of checkpoints; each once, sorted.

    Of a folder also those that its runs are yet to have: one that has begun may have no checkpoint so far.

    Raises:
        CheckpointError: a path means none that is there.
    """
    return list(dict.fromkeys(file for path in paths for file in _meant(path)))


def _meant(path: Path) -> list[Path]:
    if not path.is_dir() or RunDir(path).checkpoint.is_file():
        return [find_checkpoint(path)]
    # A write that was killed leaves a hidden file.
    files = sorted(file for file in path.glob("*.pt") if not file.name.startswith("."))
    runs = [RunDir(place) for place in path.iterdir()]
    files = files or sorted(run.checkpoint for run in runs if run.checkpoint.is_file() or run.config.is_file())
    if not any(file.is_file() for file in files):
        raise _nothing_at(path, begun=bool(files))
    return files


def _nothing_at(path: Path, *, begun: bool) -> CheckpointError:
    """What to say of a folder without any checkpoint."""
    problem, deeper = f"no checkpoint at '{path}'", min(path.glob(f"*/*/{RunDir(path).checkpoint.name}"), default=None)
    if begun or RunDir(path).config.is_file():
        return CheckpointError("path", f"{problem} yet", "train first: 'snrkit train --resume', or the sweep again")
    if deeper is not None:
        return CheckpointError("path", f"{problem}, but further down", f"give `path={deeper.parent.parent}`")
    return CheckpointError("path", problem, "give a run.pt, a run directory of 'snrkit train', or a folder of those")


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU; nothing in the file is executed.

    Args:
        path: a checkpoint file or a run directory.

    Raises:
        CheckpointError: missing, damaged, not plain tensors, foreign, or of a newer format.
    """
    file = find_checkpoint(path)
    remedy = "give a run.pt written by 'snrkit train'"
    content = _read(file, remedy)
    version = content.get("version") if isinstance(content, dict) and content.get("format") == FORMAT else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise CheckpointError(str(file), "not a checkpoint of snrkit", remedy)
    if version > VERSION:
        raise CheckpointError(str(file), f"format {version} is newer than {VERSION}", "update snrkit")
    if version == 1 and content.get("beta", {}) != {}:
        content["hyper"] = {"beta": content["beta"]}
    try:
        checkpoint = Checkpoint(**{name: content[name] for name in _expected(content)})
        _check_types(checkpoint)
        spec = checkpoint.run_spec()
    except (KeyError, TypeError, SpecError) as error:
        raise CheckpointError(str(file), f"incomplete ({error})", remedy) from None
    problem = place_problem(checkpoint, spec) or data_problem(checkpoint) or hyper_problem(checkpoint, spec)
    if problem:
        raise CheckpointError(str(file), f"damaged: {problem}", remedy)
    return checkpoint


def _expected(content: dict[str, Any]) -> list[str]:
    """The fields to read: files written before a field was added lack it, and it has a default."""
    return [f.name for f in fields(Checkpoint) if f.default is f.default_factory is MISSING or f.name in content]


def _read(file: Path, remedy: str) -> Any:
    try:
        content = read_bytes(file)
        sealed = checksums.verify(content)
        with warnings.catch_warnings():
            # torch warns of foreign pickles before it refuses them.
            warnings.simplefilter("ignore")
            found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except checksums.ChecksumError:
        problem = "damaged: it is not what was written (its checksum differs)"
        raise CheckpointError(str(file), problem, "go back to a copy, or train anew") from None
    except pickle.UnpicklingError:
        problem = "damaged, or holds more than plain tensors; it was not opened"
        raise CheckpointError(str(file), problem, remedy) from None
    except Exception as error:
        # Whatever torch makes of arbitrary bytes.
        raise CheckpointError(str(file), f"damaged or no checkpoint ({error.__class__.__name__})", remedy) from None
    if not sealed:
        checksums.note_unsealed(file)
    return found


def _check_types(checkpoint: Checkpoint) -> None:
    for own in fields(checkpoint):
        kind = get_origin(own.type) or own.type
        if not isinstance(getattr(checkpoint, own.name), kind):  # type: ignore[arg-type]
            raise TypeError(f"'{own.name}' has another type")
