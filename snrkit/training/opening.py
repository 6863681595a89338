"""How a run begins, or goes on from what its directory holds."""

import hashlib
import math
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from snrkit.data import SOURCES, resolve
from snrkit.data.base import Dataset
from snrkit.errors import CheckpointError, DataError, PathError, ResultsError, SpecError
from snrkit.estimators.hyper import require_same_past, staged
from snrkit.files import read_json, write_json, write_text
from snrkit.models.summary import DataSummary
from snrkit.registry import plugins
from snrkit.runs.checkpoint import Checkpoint, load_checkpoint
from snrkit.runs.folder import RunDir
from snrkit.specs.run import EXTENSIBLE, DataSpec, RunSpec
from snrkit.version import version

# Settings of data that only some sources read.
_OF_SOME = {
    **dict.fromkeys(("size", "dim"), "the generated gaussian data"),
    **dict.fromkeys(("min_count", "max_words"), "sentences"),
    **dict.fromkeys(("test_share", "tokens"), "your own sentences (text)"),
}


def resolve_spec(spec: RunSpec, dataset: Dataset) -> RunSpec:
    """The spec with what it left open filled in from the data, and a file of the user's found from any directory."""
    data = resolve(spec.data, dataset.kind)
    if data.path is not None:
        data = data.model_copy(update={"path": str(Path(data.path).absolute())})
    epoch = math.ceil(len(dataset.train) / spec.batch_size)
    return spec.model_copy(update={"data": data, "estimator": spec.estimator.in_steps(epoch)})


def data_summary(dataset: Dataset) -> DataSummary:
    """What a model may know of the training data."""
    scale = 255.0 if dataset.train.dtype == "uint8" else 1.0
    mean = torch.from_numpy(dataset.train.mean(axis=0, dtype="float64") / scale)
    numbers, remedy = dataset.numbers, dataset.remedy
    return DataSummary(mean, dataset.kind != "grey", numbers, remedy, dataset.image_shape, dataset.words)


def data_digest(dataset: Dataset) -> str:
    """SHA-256 of the training and test points."""
    digest = hashlib.sha256()
    for points in (dataset.train, dataset.test):
        # The last digits of generated numbers differ between machines.
        stored = points.astype("float32") if points.dtype == "float64" else points
        digest.update(f"{stored.shape} {stored.dtype}".encode())
        digest.update(stored.tobytes())
    digest.update("\n".join(dataset.words).encode())
    return digest.hexdigest()


def find_previous(run: RunDir, spec: RunSpec, dataset: Dataset, resume: bool) -> Checkpoint | None:
    """The checkpoint that a run goes on from, or None where there is no run yet. Changes nothing.

    Args:
        run: the run directory.
        spec: resolved spec; it may differ from that of the checkpoint in ``specs.run.EXTENSIBLE`` only.
        dataset: its data.
        resume: whether going on is wanted.

    Raises:
        PathError: there is a run, and ``resume`` is off.
        SpecError: the run was begun with other settings.
        DataError: the run was begun with other data.
        CheckpointError: the checkpoint is damaged, past the epochs asked for, or an exported copy that is to be trained on.
        ResultsError: its metrics cannot be read.
    """
    if not run.checkpoint.exists():
        _refuse_idle(spec.data)
        return None
    if not resume:
        raise PathError(
            str(run.path), "holds a run already", "add `resume=True` to go on with it, or give another `out`"
        )
    previous = load_checkpoint(run.checkpoint)
    old, new = (_flat(s.model_dump(exclude=set(EXTENSIBLE))) for s in (previous.run_spec(), spec))
    begun = previous.epoch + (previous.position > 0)
    require_same_past(previous.run_spec(), spec, begun)
    # Stages were looked at; and where the data lie does not matter, for they are compared themselves.
    settled = {f"estimator.options.{name}" for name in staged(previous.run_spec()) | staged(spec)} | {
        "data.path",
        "model.path",
    }
    for setting in old | new:
        if setting not in settled and old.get(setting) != new.get(setting):
            if setting == "model.sha256" and old.get("model.name") == new.get("model.name"):
                problem = f"its file is not as it was when the run at '{run.path}' began"
                raise SpecError("model", problem, "put it back as it was, or give another `out`")
            problem = f"the run at '{run.path}' has {old.get(setting)}, not {new.get(setting)}"
            raise SpecError(setting, problem, "resume it with its own settings, or give another `out`")
    if (previous.epoch, previous.position) > (spec.epochs, 0):
        raise CheckpointError(str(run.path), f"is past epoch {spec.epochs} already", f"give `epochs={begun}` or more")
    require_same_data(previous, dataset)
    if not previous.optimiser and not is_finished(previous, spec):
        problem = "is an exported copy without the optimiser's state, so it cannot be trained further"
        raise CheckpointError(str(run.path), problem, "go on with the run that it was exported from")
    if not is_finished(previous, spec):
        run.read_metrics()  # they will be cut; what cannot be read is to be found out before anything is changed
    return previous


def _refuse_idle(data: DataSpec) -> None:
    """A run does not begin with settings that do nothing, for its user believes that they do."""
    reads = SOURCES.load(data.name).reads
    for setting, of in _OF_SOME.items():
        if setting not in reads and getattr(data, setting) != getattr(DataSpec(), setting):
            problem = f"is of {of}, and does nothing to {data.name}"
            fewer = "; data.train_limit takes fewer training points" if setting in ("size", "dim") else ""
            raise SpecError(f"data.{setting}", problem, f"drop it{fewer}")


def is_finished(previous: Checkpoint | None, spec: RunSpec) -> bool:
    """Whether a checkpoint is the end of what the spec asks for."""
    return previous is not None and (previous.epoch, previous.position) == (spec.epochs, 0)


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested dict as one with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def require_same_data(checkpoint: Checkpoint, dataset: Dataset) -> None:
    """See to it that data are those of a checkpoint, and that its steps are those that they make an epoch of.

    Raises:
        DataError: they are not.
        CheckpointError: epoch, step and position contradict one another.
    """
    old, new = checkpoint.data_mean, data_summary(dataset).mean
    # Means of the same data differ by rounding between machines.
    same_mean = old.shape == new.shape and torch.allclose(old.double(), new, rtol=1e-9, atol=1e-12)
    if not same_mean or checkpoint.data_digest not in ("", data_digest(dataset)):
        problem = "the data are not those that the run began with"
        raise DataError(dataset.name, problem, "put them back, or train anew with another `out`")
    steps = math.ceil(len(dataset.train) / checkpoint.run_spec().batch_size)
    epoch, step, position = checkpoint.epoch, checkpoint.step, checkpoint.position
    if position > steps or step != epoch * steps + position:
        problem = f"damaged: step {step} at epoch {epoch}, position {position}, where an epoch has {steps} steps"
        raise CheckpointError("checkpoint", problem, "go back to a copy, or train anew")


def settle(run: RunDir, spec: RunSpec) -> None:
    """Record that a run is finished, where that has not been done: it was killed just before."""
    if run.state() != "done":
        write_text(run.config, spec.to_toml())
        run.set_status("done")


def begin(run: RunDir, spec: RunSpec, device: torch.device, epoch: int) -> None:
    """Write the files that stand beside the checkpoint, and that the run is running.

    Metrics of epochs after the last checkpoint are dropped, for these epochs are trained again.

    Args:
        run: the run directory, with its checkpoint if there is one.
        spec: resolved spec.
        device: where the run computes.
        epoch: epochs finished by that checkpoint.

    Raises:
        ResultsError: the metrics are damaged or cannot be read; nothing has been changed.
        OutputError: the directory cannot be written.
    """
    # Read before anything is changed: a file that cannot be read leaves the run as it was.
    known = run.read_metrics() if run.checkpoint.exists() else []
    run.set_status("running")
    write_text(run.config, spec.to_toml())
    run.write_metrics([row for row in known if row["epoch"] <= epoch])
    if run.checkpoint.exists():
        first = _known_environment(run)
        write_json(run.env, first | {"resumed": [*_sessions(first), environment(device)]})
    else:
        write_json(run.env, environment(device))


def discard(run: RunDir) -> None:
    """Delete the files of a run that could not even take its first step, so that nothing of it is left."""
    for file in (run.checkpoint, run.metrics, run.config, run.env, run.status):
        file.unlink(missing_ok=True)


def _known_environment(run: RunDir) -> dict[str, Any]:
    """What ``env.json`` holds; nothing if it is missing or damaged, for it is only a record."""
    try:
        known = read_json(run.env)
    except ResultsError:
        return {}
    return known if isinstance(known, dict) else {}


def _sessions(known: dict[str, Any]) -> list[Any]:
    resumed = known.get("resumed", [])
    return resumed if isinstance(resumed, list) else []


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, device, commits and command line."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "snrkit": version(),
        "snrkit_commit": _own_commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "plugins": {plugin.name: plugin.version for plugin in plugins()},
        "device": str(device),
        "device_name": name,
        "threads": torch.get_num_threads(),
        # Of the working directory, which is what a user would want to find again.
        "cwd_commit": _git("rev-parse", "HEAD"),
        "argv": sys.argv[1:],
    }


def _own_commit() -> str:
    """The commit of snrkit itself, where it is run from a checkout; not that of a repository in which it is installed."""
    here = Path(__file__).resolve()
    is_tracked = bool(_git("-C", str(here.parent), "ls-files", "--", here.name))
    return _git("-C", str(here.parent), "rev-parse", "HEAD") if is_tracked else ""


def _git(*arguments: str) -> str:
    """What git answers; empty where there is no git, or no repository."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout.strip()
