"""Find result files and load them: one tidy frame per kind of file, read when first asked for."""

import fnmatch
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from snrkit.config import RunSpec
from snrkit.errors import ResultsError, SpecError
from snrkit.results import COLUMNS, RunDir, read_csv, read_frame, read_json, read_table

EVALUATION_SCHEMA = 1

# What a run's config.toml says, in the columns of every frame made of files that lie in a run directory.
TRAINED = ["run", "folder", "trained_on", "model", "estimator", "options", "M", "K", "seed", "setting", "rest"]


def _parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        name = error.__class__.__name__
        raise ResultsError(str(path), f"not a readable Parquet file ({name})", "delete it and make it again") from None


def _readings(path: Path) -> pd.DataFrame:
    return read_table(path).assign(setting=_setting(path))


def _slopes(path: Path) -> pd.DataFrame:
    return read_csv(path).assign(setting=_setting(path))


def _setting(path: Path) -> str:
    """What a run was trained with apart from its seed; of a file in no run directory, the file."""
    folder = run_folder(path)
    return str(trained(path)["setting"]) if RunDir(folder).config.exists() else str(path)


def _draws(path: Path) -> pd.DataFrame:
    return _require(_parquet(path), path, ["run", "estimator", "options", "M", "K", "coordinate", "value"])


def _metrics(path: Path) -> pd.DataFrame:
    files = RunDir(path.parent)
    return pd.DataFrame(files.read_metrics()).assign(**trained(path), state=files.state())


def _evaluations(path: Path) -> pd.DataFrame:
    content = read_json(path)
    try:
        if int(content["schema"]) > EVALUATION_SCHEMA:
            problem = f"schema {int(content['schema'])} is newer than {EVALUATION_SCHEMA}"
            raise ResultsError(str(path), problem, "update snrkit")
        rows = [
            {"metric": str(row["metric"]), "value": float(row["value"]), "stderr": float(row["stderr"]),
             "definition": str(row["definition"])}
            for row in content["rows"]
        ]  # fmt: skip
        shared: dict[str, Any] = {
            "step": int(content["step"]), "data": str(content["data"]), "points": int(content["points"]),
            "samples": int(content["samples"]),
        }  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        problem = f"not an evaluation ({error.__class__.__name__}: {error})"
        raise ResultsError(str(path), problem, "evaluate again with 'snrkit evaluate'") from None
    return pd.DataFrame(rows).assign(**shared, **trained(path))


def _points(path: Path) -> pd.DataFrame:
    own = trained(path)
    table = _require(_parquet(path), path, ["ess_64"])
    return table.assign(**{name: value for name, value in own.items() if name not in table})


def _advice(path: Path) -> pd.DataFrame:
    content = read_json(path)
    try:
        goals: dict[str, list[str]] = {}
        for answer in content["recommendations"]:
            goals.setdefault(str(answer["setting"]), []).append(str(answer["goal"]))
        rows = [
            row | {"best_for": "; ".join(goals.get(f"{row['estimator']} M={row['M']} K={row['K']}", []))}
            for row in content["table"]
        ]
        shared = {key: content[key] for key in ("run", "step", "data", "budget", "draws")}
        reasons = [{key: answer[key] for key in ("goal", "setting", "reason")} for answer in content["recommendations"]]
    except (KeyError, TypeError) as error:
        problem = f"not an advice ({error.__class__.__name__}: {error})"
        raise ResultsError(str(path), problem, "ask again with 'snrkit advise'") from None
    repeated: Any = [reasons] * len(rows)
    return pd.DataFrame(rows).assign(**shared, reasons=repeated)


def _require(table: pd.DataFrame, path: Path, columns: Sequence[str]) -> pd.DataFrame:
    missing = [name for name in columns if name not in table]
    if missing:
        raise ResultsError(str(path), f"columns missing: {', '.join(missing)}", "delete it and make it again")
    return table


PUBLISHED = ["data", "estimator", "options", "M", "K", "metric", "value", "error", "reference"]


def _published(path: Path) -> pd.DataFrame:
    return _require(read_csv(path), path, PUBLISHED)


@dataclass(frozen=True)
class Kind:
    """One kind of result file.

    Attributes:
        pattern: of the file's name.
        read: file to frame.
        columns: that the frame has even where there is no file.
        beside: files of the run directory that the frame draws on too.
    """

    pattern: str
    read: Callable[[Path], pd.DataFrame]
    columns: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


_IMAGES = ["run", "step", "data", "k", "seed", "height", "width", "point", "kind", "sample", "pixels"]
_MEANS = ["run", "step", "data", "layer", "point", "label", "z1"]


def _reconstructions(path: Path) -> pd.DataFrame:
    return read_frame(path, _IMAGES, "run 'snrkit reconstruct --ckpt CHECKPOINT' again")


def _latents(path: Path) -> pd.DataFrame:
    return read_frame(path, _MEANS, "run 'snrkit evaluate --keep-means --ckpt CHECKPOINT' again")


# The first pattern that a file's name matches decides.
KINDS = {
    "draws": Kind("*.draws.parquet", _draws),
    "points": Kind("*.points.parquet", _points, beside=("config.toml",)),
    "reconstructions": Kind("*reconstructions.parquet", _reconstructions),
    "latents": Kind("*latents.parquet", _latents),
    "snr": Kind("*.parquet", _readings, (*COLUMNS, "setting"), beside=("config.toml",)),
    "slopes": Kind("*.slopes.csv", _slopes, ("axis", "setting"), beside=("config.toml",)),
    "metrics": Kind("metrics.jsonl", _metrics, (*TRAINED, "epoch", "step"), ("config.toml", "status.json")),
    "evaluations": Kind(
        "*evaluation*.json",
        _evaluations,
        (*TRAINED, "metric", "step", "data", "value", "stderr", "definition"),
        ("config.toml",),
    ),
    "advice": Kind("*advice*.json", _advice, ("estimator",)),
    "published": Kind("*.published.csv", _published, tuple(PUBLISHED)),
}
_NOT_RESULTS = "*.meta.json"


class Tables:
    """The result files at some paths as frames by kind. Each frame has the column ``source``, the path of the file.

    Args:
        files: kind to files.
        frames: kind to frame, instead of files.
    """

    def __init__(self, files: Mapping[str, Sequence[Path]], frames: Mapping[str, pd.DataFrame] | None = None) -> None:
        self._files = {kind: tuple(found) for kind, found in files.items()}
        self._frames = {kind: _located(frame) for kind, frame in (frames or {}).items()}

    def __getitem__(self, kind: str) -> pd.DataFrame:
        """All files of a kind, one under the other; empty, with the columns it always has, where there are none.

        Raises:
            ResultsError: a file is damaged or of a newer schema.
            SpecError: a run's ``config.toml`` is not valid.
        """
        if kind not in self._frames:
            parts = [KINDS[kind].read(path).assign(source=str(path)) for path in self._files.get(kind, ())]
            filled = [part for part in parts if len(part)]
            columns = [*KINDS[kind].columns, "source"]
            frame = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)
            self._frames[kind] = frame.reindex(columns=list(dict.fromkeys([*frame.columns, *columns])))
        return self._frames[kind]

    @property
    def empty(self) -> bool:
        """Whether no file was found."""
        return not any(self._files.values())

    def inputs(self, kinds: Sequence[str]) -> list[Path]:
        """All files that frames of these kinds are made of, in order, each once."""
        found: dict[Path, None] = {}
        for kind in kinds:
            for path in self._files.get(kind, ()):
                beside = [run_folder(path) / name for name in KINDS[kind].beside]
                found |= dict.fromkeys([path, *(extra for extra in beside if extra.exists())])
        return list(found)


def _located(frame: pd.DataFrame) -> pd.DataFrame:
    """With the columns that say where rows are from, which files give."""
    found = frame if "source" in frame else frame.assign(source="")
    return found if "setting" in found else found.assign(setting=found["source"])


def collect(paths: Sequence[Path]) -> Tables:
    """Find the result files at some paths.

    Args:
        paths: run directories, folders that hold some at any depth, or result files.

    Raises:
        ResultsError: a path leads nowhere, or there is nothing at any of them.
    """
    places = {place.resolve(): place for path in paths for place in _places(path)}
    files: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for place in places.values():
        files[str(_kind(place.name))].append(place)
    if not any(files.values()) and not any(_is_run(path) for path in paths):
        where = ", ".join(str(path) for path in paths)
        raise ResultsError(where, "no results there", "train a run with 'snrkit train' first")
    return Tables(files)


def _is_run(path: Path) -> bool:
    files = RunDir(path)
    return files.config.exists() or files.status.exists()


def _places(path: Path) -> Iterator[Path]:
    """Result files at or below a path, in sorted order."""
    if not path.exists():
        raise ResultsError(str(path), "does not exist", "give a run directory, a folder of them or a results file")
    if not path.is_dir():
        if _kind(path.name) is None:
            known = ", ".join(kind.pattern for kind in KINDS.values())
            raise ResultsError(str(path), f"is no results file ({known})", "give the run directory it lies in")
        yield path
        return
    for folder, below, files in os.walk(path):
        below[:] = sorted(name for name in below if not name.startswith(".") and not name.endswith(".partial"))
        found = (Path(folder, name) for name in sorted(files) if not name.startswith("."))
        yield from (place for place in found if _kind(place.name) and not _is_foreign(place))


def _kind(name: str) -> str | None:
    if fnmatch.fnmatch(name, _NOT_RESULTS):
        return None
    return next((kind for kind, known in KINDS.items() if fnmatch.fnmatch(name, known.pattern)), None)


def _is_foreign(path: Path) -> bool:
    """Whether a table met on the way is a sound Parquet file of another program."""
    if _kind(path.name) != "snr":
        return False
    try:
        return b"snrkit_schema" not in (pq.read_schema(path).metadata or {})
    except (OSError, pa.ArrowException):
        return False  # Damaged: reading it says so.


def run_folder(path: Path) -> Path:
    """The run directory of a file in it or among its kept checkpoints."""
    return path.parent.parent if path.parent.name == RunDir(path).steps.name else path.parent


def trained(path: Path) -> dict[str, Any]:
    """What the run that a file belongs to was trained with; unknown values are empty or NA.

    Raises:
        SpecError: ``config.toml`` is not valid.
    """
    folder = run_folder(path)
    files = RunDir(folder)
    spec = _read_spec(files.config)
    known: dict[str, Any] = dict.fromkeys(TRAINED, "") | {"M": pd.NA, "K": pd.NA, "seed": pd.NA}
    known |= {"run": files.name, "folder": str(folder), "setting": str(folder)}
    if spec:
        chosen = spec.estimator
        options = ", ".join(f"{key}={value:g}" for key, value in chosen.options.items())
        if spec.beta.learn != "off":
            options += f", learnt {spec.beta.learn}"
        known |= {
            "trained_on": spec.data.name, "model": spec.model.name, "estimator": chosen.name, "options": options,
            "M": chosen.M, "K": chosen.K, "seed": spec.seed,
            # Runs that differ in nothing but the seed are repetitions of one setting; the identity leaves epochs out.
            "setting": f"{spec.model_copy(update={'seed': 0}).identity()}-{spec.epochs}",
            "rest": _rest(spec),
        }  # fmt: skip
    return known


# What has a column of its own, or does not change the run.
_TOLD: Any = {
    "estimator": True, "seed": True, "epochs": True, "checkpoint_every": True, "keep_every": True, "data": {"name"},
    "model": {"name"}, "beta": {"learn"},
}  # fmt: skip


def _rest(spec: RunSpec) -> str:
    """What else a run was trained with, where it is not the default: ``update.order=random; update.samples=separate``."""
    given, usual = (dict(_flat(one.model_dump(mode="json", exclude=_TOLD))) for one in (spec, RunSpec()))
    return "; ".join(f"{name}={value}" for name, value in given.items() if value != usual.get(name))


def _flat(nested: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for name, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _read_spec(path: Path) -> RunSpec | None:
    if not path.exists():
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(str(path), f"cannot be read ({error.__class__.__name__})", "train the run again") from None
    return RunSpec.from_toml(text, str(path))
