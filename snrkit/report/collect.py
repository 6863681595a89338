"""Find result files and load them: one tidy frame per kind of file, read when first asked for."""

import functools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from snrkit.errors import ResultsError, SnrkitError, SpecError
from snrkit.files import read_json
from snrkit.report.columns import (
    ADVICE,
    DRAWS,
    IMAGES,
    MEANS,
    METRICS,
    POINTS,
    PUBLISHED,
    READINGS,
    SCORES,
    SLOPES,
    typed,
    whole_grid,
    whole_pixels,
)
from snrkit.report.copies import copied_files, owned, rows_once
from snrkit.report.escape import visible
from snrkit.report.find import find, inputs, run_folder
from snrkit.report.identity import Owner, owners, said
from snrkit.runs import schemas
from snrkit.runs.folder import RunDir
from snrkit.runs.tables import COLUMNS, is_of_pandas, read_csv, read_frame, read_table
from snrkit.specs.run import LearntOption, RunSpec

EVALUATION_SCHEMA = 1
_AGAIN = "delete it and make it again"

# What a run's config.toml says, in the columns of every frame made of files that lie in a run directory.
TRAINED = ["run", "folder", "trained_on", "model", "estimator", "options", "M", "K", "seed", "setting", "rest"]


def _readings(path: Path) -> pd.DataFrame:
    return typed(read_table(path), path, READINGS).assign(setting=_setting(path))


def _slopes(path: Path) -> pd.DataFrame:
    return typed(read_csv(path, schemas.SLOPES), path, SLOPES).assign(setting=_setting(path))


def _setting(path: Path) -> str:
    """What a run was trained with apart from its seed; of a file in no run directory, the file."""
    return str(trained(path)["setting"]) if RunDir(run_folder(path)).config.is_file() else visible(str(path))


def _draws(path: Path) -> pd.DataFrame:
    return typed(read_frame(path, (), _AGAIN, schemas.DRAWS), path, DRAWS)


def _metrics(path: Path) -> pd.DataFrame:
    files = RunDir(path.parent)
    rows = pd.DataFrame(files.read_metrics())
    rows = rows[[name for name in rows if name in METRICS]]
    known = {name: dtype for name, dtype in METRICS.items() if name in rows}
    return typed(rows, path, known, "delete the lines at fault").assign(
        **trained(path), state=files.state() if files.status.is_file() else ""
    )


def _evaluations(path: Path) -> pd.DataFrame:
    content = read_json(path)
    try:
        if int(content["schema"]) > EVALUATION_SCHEMA:
            problem = f"schema {int(content['schema'])} is newer than {EVALUATION_SCHEMA}"
            raise ResultsError(str(path), problem, "update snrkit")
        schemas.require_evaluation(content, path)
        rows = [
            {"metric": str(row["metric"]), "value": _number(row["value"]), "stderr": _number(row["stderr"]),
             "definition": str(row["definition"])}
            for row in content["rows"]
        ]  # fmt: skip
        shared: dict[str, Any] = {
            "step": int(content["step"]), "data": str(content["data"]), "points": int(content["points"]),
            "samples": int(content["samples"]),
        }  # fmt: skip
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        problem = f"not an evaluation ({error.__class__.__name__}: {error})"
        raise ResultsError(str(path), problem, "evaluate again with 'snrkit evaluate'") from None
    remedy = "evaluate again with 'snrkit evaluate'"
    table = pd.DataFrame(rows, columns=["metric", "value", "stderr", "definition"]).assign(**shared)
    return typed(table, path, SCORES, remedy).assign(**trained(path))


def _number(value: Any) -> float:
    """A number from JSON, which says null for what is infinite."""
    return math.nan if value is None else float(value)


def _points(path: Path) -> pd.DataFrame:
    own = trained(path)
    table = typed(read_frame(path, (), _AGAIN, schemas.POINTS), path, POINTS)
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
        reasons = [
            {key: visible(str(answer[key])) for key in ("goal", "setting", "reason")}
            for answer in content["recommendations"]
        ]
    except (KeyError, TypeError) as error:
        problem = f"not an advice ({error.__class__.__name__}: {error})"
        raise ResultsError(str(path), problem, "ask again with 'snrkit advise'") from None
    repeated: Any = [reasons] * len(rows)
    table = typed(pd.DataFrame(rows), path, ADVICE, "ask again with 'snrkit advise'") if rows else pd.DataFrame()
    return table.assign(**shared, reasons=repeated)


def _published(path: Path) -> pd.DataFrame:
    return typed(read_csv(path), path, PUBLISHED, "correct it")


def _reconstructions(path: Path) -> pd.DataFrame:
    remedy = "run 'snrkit reconstruct --ckpt CHECKPOINT' again"
    table = read_frame(path, [*IMAGES, "pixels"], remedy, schemas.RECONSTRUCTIONS)
    known = {"ssim": "float64"} if "ssim" in table else {}
    table = typed(table, path, IMAGES | known, remedy)
    if not whole_pixels(table):
        raise ResultsError(str(path), "'pixels' are not height x width finite numbers each", remedy)
    if not whole_grid(table):
        raise ResultsError(str(path), "rows are missing: every point needs as many images of each kind", remedy)
    return table


def _latents(path: Path) -> pd.DataFrame:
    remedy = "run 'snrkit evaluate --keep-means --ckpt CHECKPOINT' again"
    table = read_frame(path, list(MEANS), remedy, schemas.LATENTS)
    means = {name: "float64" for name in map(str, table.columns) if name.startswith("z")}
    return typed(table, path, MEANS | means, remedy)


@dataclass(frozen=True)
class Kind:
    """How files of one kind are read.

    Attributes:
        read: file to frame.
        columns: that the frame has even where there is no file.
    """

    read: Callable[[Path], pd.DataFrame]
    columns: tuple[str, ...] = ()


# By the kinds of ``find.FILE_KINDS``.
KINDS = {
    "draws": Kind(_draws),
    "points": Kind(_points),
    "reconstructions": Kind(_reconstructions),
    "latents": Kind(_latents),
    "snr": Kind(_readings, (*COLUMNS, "setting")),
    "slopes": Kind(_slopes, ("axis", "setting")),
    "metrics": Kind(_metrics, (*TRAINED, "epoch", "step")),
    "evaluations": Kind(_evaluations, (*TRAINED, "metric", "step", "data", "value", "stderr", "definition")),
    "advice": Kind(_advice, ("estimator",)),
    "published": Kind(_published, tuple(PUBLISHED)),
}


class Tables:
    """The result files at some paths as frames by kind.

    Each frame has the column ``source``, the path of the file; of a run that lies in several folders everything counts once,
    under the original's name. Texts are as they can be shown (``escape.visible``).

    Args:
        files: kind to files.
        frames: kind to frame, instead of files.
        unread: what to say of places that could not be looked at.
    """

    def __init__(
        self,
        files: Mapping[str, Sequence[Path]],
        frames: Mapping[str, pd.DataFrame] | None = None,
        unread: Sequence[str] = (),
    ) -> None:
        self._found = {kind: tuple(found) for kind, found in files.items()}
        self._frames = {kind: _located(frame) for kind, frame in (frames or {}).items()}
        self._unread = tuple(unread)

    def __getitem__(self, kind: str) -> pd.DataFrame:
        """All files of a kind, one under the other; empty, with the columns it always has, where there are none.

        Raises:
            ResultsError: a file is damaged or of a newer schema.
            SpecError: a run's ``config.toml`` is not valid.
        """
        if kind not in self._frames:
            parts = [owned(_read(kind, path), kind, path, self._owners) for path in self._files.get(kind, ())]
            filled = [part for part in parts if len(part)]
            columns = [*KINDS[kind].columns, "source"]
            frame = rows_once(pd.concat(filled, ignore_index=True), kind) if filled else pd.DataFrame(columns=columns)
            self._frames[kind] = _shown(frame.reindex(columns=list(dict.fromkeys([*frame.columns, *columns]))))
        return self._frames[kind]

    @property
    def empty(self) -> bool:
        """Whether no file was found."""
        return not any(self._found.values())

    @property
    def notes(self) -> list[str]:
        """What was found more than once or could not be looked at, a line each."""
        return [*self._unread, *said(self._owners), *self._copies[1]]

    @functools.cached_property
    def _owners(self) -> dict[Path, Owner]:
        """The run that each run directory holds."""
        places = [path for kind, found in self._found.items() if kind != "published" for path in found]
        runs = {run_folder(path): path for path in places if RunDir(run_folder(path)).config.is_file()}
        known = {folder: trained(path) for folder, path in runs.items()}
        tables: dict[Path, list[Path]] = {}
        for path in self._found.get("snr", ()):
            tables.setdefault(run_folder(path), []).append(path)
        return owners({folder: (own["setting"], own["seed"]) for folder, own in known.items()}, tables)

    @functools.cached_property
    def _copies(self) -> tuple[dict[str, tuple[Path, ...]], list[str]]:
        return copied_files(self._found, self._owners)

    @property
    def _files(self) -> dict[str, tuple[Path, ...]]:
        """The files that say something that no other says."""
        return self._copies[0]

    def inputs(self, kinds: Sequence[str]) -> list[Path]:
        """All files that frames of these kinds are made of, in order, each once."""
        found = (extra for kind in kinds for path in self._files.get(kind, ()) for extra in inputs(kind, path))
        return list(dict.fromkeys(found))


def _read(kind: str, path: Path) -> pd.DataFrame:
    """One file.

    Raises:
        ResultsError: it is damaged or of a newer schema.
        SpecError: its run's ``config.toml`` is not valid.
    """
    try:
        return KINDS[kind].read(path)
    except SnrkitError:
        raise
    except Exception as error:  # whatever pandas and pyarrow make of arbitrary bytes
        problem = f"cannot be read ({error.__class__.__name__}: {visible(str(error))[:80]})"
        renamed = "give file and folder names in UTF-8"
        remedy = renamed if isinstance(error, UnicodeEncodeError) else "delete it and make it again"
        raise ResultsError(visible(str(path)), problem, remedy) from None


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its texts as they can be shown."""
    changed: dict[str, pd.Series[Any]] = {}
    for name in frame.columns:
        if pd.api.types.is_numeric_dtype(frame[name]) or name in ("pixels", "reasons"):
            continue
        odd = {text: visible(text) for text in frame[name] if isinstance(text, str)}
        odd = {text: seen for text, seen in odd.items() if seen != text}
        if odd:
            changed[str(name)] = frame[name].replace(odd)
    return frame.assign(**changed)


def _located(frame: pd.DataFrame) -> pd.DataFrame:
    """With the columns that say where rows are from, which files give."""
    found = frame if "source" in frame else frame.assign(source="")
    return _shown(found if "setting" in found else found.assign(setting=found["source"]))


def collect(paths: Sequence[Path]) -> Tables:
    """Find the result files at some paths.

    Args:
        paths: run directories, folders that hold some at any depth, or result files.

    Raises:
        ResultsError: a path leads nowhere, or there is nothing at any of them.
    """
    unread: list[str] = []
    files = find(paths, unread.append)
    # A foreign table met on the way is passed over; of one that was named itself, reading says what is wrong.
    files["snr"] = [path for path in files["snr"] if path in paths or not _is_foreign(path)]
    if not any(files.values()) and not any(_is_run(path) for path in paths):
        where = ", ".join(str(path) for path in paths)
        raise ResultsError(where, "no results there", "train a run with 'snrkit train' first")
    return Tables(files, unread=unread)


def _is_run(path: Path) -> bool:
    files = RunDir(path)
    return files.config.is_file() or files.status.is_file()


def _is_foreign(path: Path) -> bool:
    """Whether a file is a sound Parquet file of another program."""
    try:
        schema = pq.read_schema(path)
        return b"snrkit_schema" not in (schema.metadata or {}) and not is_of_pandas(schema)
    except (OSError, ValueError, pa.ArrowException):
        return False  # Damaged, or under a name that pyarrow cannot open: reading it says so.


def trained(path: Path) -> dict[str, Any]:
    """What the run that a file belongs to was trained with; unknown values are empty or NA.

    Raises:
        SpecError: ``config.toml`` is not valid.
    """
    folder = run_folder(path)
    files = RunDir(folder)
    spec = _read_spec(files.config)
    known: dict[str, Any] = dict.fromkeys(TRAINED, "") | {"M": pd.NA, "K": pd.NA, "seed": pd.NA}
    known |= {name: visible(str(folder)) for name in ("folder", "setting")} | {"run": visible(files.name)}
    if spec:
        chosen = spec.estimator
        options = ", ".join(f"{key}={value:g}" for key, value in chosen.numbers().items())
        options += "".join(f", learnt {own.learn}" for own in chosen.options.values() if isinstance(own, LearntOption))
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
    "model": {"name"},
}  # fmt: skip


def _rest(spec: RunSpec) -> str:
    """What else a run was trained with, where it is not the default: ``update.order=random; update.samples=separate``."""
    given, usual = (dict(_flat(one.model_dump(mode="json", exclude=_TOLD))) for one in (spec, RunSpec()))
    options = spec.estimator.model_dump(mode="json", include={"options"})["options"]
    given |= dict(_flat({name: _beside(option) for name, option in options.items()}, "estimator.options."))
    return "; ".join(f"{name}={value}" for name, value in given.items() if value != usual.get(name))


def _beside(option: Any) -> Any:
    """What of an option of the estimator its text does not tell: the values of its stages, the rate that it is learnt at."""
    if isinstance(option, dict):
        return {} if option["lr"] == LearntOption.model_fields["lr"].default else {"lr": option["lr"]}
    return option if isinstance(option, list) else {}


def _flat(nested: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for name, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _read_spec(path: Path) -> RunSpec | None:
    if not path.is_file():
        return None
    try:
        return RunSpec.from_toml(path.read_text(encoding="utf-8"), str(path))
    except SnrkitError:
        raise
    except (OSError, ValueError, RecursionError) as error:  # nested too deep, or numbers too long
        raise SpecError(str(path), f"cannot be read ({error.__class__.__name__})", "train the run again") from None
