"""Find result files and load them: one tidy frame per kind of file, read when first asked for."""

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from snrkit.errors import ResultsError, SpecError
from snrkit.report.chosen import Chosen
from snrkit.report.columns import drawable
from snrkit.report.copies import copied_files, of_collected, owned, rows_once
from snrkit.report.escape import visible
from snrkit.report.find import find, inputs, run_folder
from snrkit.report.identity import Owner, owners, said
from snrkit.report.naming import CALLED, OF_MODEL, called, plain
from snrkit.report.reading import read
from snrkit.report.trained import TRAINED, trained, trained_as
from snrkit.runs.folder import RunDir
from snrkit.runs.kinds import KINDS
from snrkit.runs.kinds.snr import SNR
from snrkit.runs.kinds.wide import specs_in
from snrkit.specs.base import short
from snrkit.types import Progress

# Of what is noted after each epoch: column to metric.
FOLLOWED = {"bound": "bound", "test_iwae64": "iwae_64"}


Made = TypeVar("Made")


def _nothing() -> None:
    pass


class Tables:
    """The result files at some paths as frames by kind.

    Each frame has the column ``source``, the path of the file; of a run that lies in several folders everything counts once,
    under the original's name. Texts are as they can be shown (``escape.visible``). Where rows are of runs, ``naming.CALLED``
    says what these are called.

    Args:
        files: kind to files.
        frames: kind to frame, instead of files.
        unread: what to say of places that could not be looked at.
        chosen: what is to be shown, and under which names.

    Attributes:
        chosen: the same.
        told: called after every file that is read.
    """

    # What is made of the numbers of a file.
    _shaped: Callable[[pd.DataFrame], pd.DataFrame] = staticmethod(drawable)

    def __init__(
        self,
        files: Mapping[str, Sequence[Path]],
        frames: Mapping[str, pd.DataFrame] | None = None,
        unread: Sequence[str] = (),
        chosen: Chosen = Chosen(),  # noqa: B008 (frozen)
    ) -> None:
        self.chosen = chosen
        self.told: Callable[[], None] = _nothing
        self._whole: dict[str, pd.DataFrame] = {}
        self._once: dict[Callable[..., Any], Any] = {}
        self._found = {kind: tuple(found) for kind, found in files.items()}
        self._frames = {kind: self._named(_located(frame)) for kind, frame in (frames or {}).items()}
        self._unread, self._remarks = tuple(unread), list[str]()

    def __getitem__(self, kind: str) -> pd.DataFrame:
        """All files of a kind, one under the other; empty, with the columns it always has, where there are none.

        Raises:
            ResultsError: a file is damaged or of a newer schema.
            SpecError: a run's ``config.toml`` is not valid.
        """
        if kind not in self._frames:
            self._frames[kind] = self._wanted(self._all(kind), kind)
        return self._frames[kind]

    def _all(self, kind: str) -> pd.DataFrame:
        """All files of a kind with all their metrics."""
        if kind not in self._whole:
            parts = [owned(self._read(kind, path), kind, path, self._owners) for path in self._files.get(kind, ())]
            filled = [part for part in parts if len(part)]
            empty = pd.DataFrame(columns=list(dict.fromkeys([*KINDS.load(kind).columns, *TRAINED, "source", *CALLED])))
            found = rows_once(pd.concat(filled, ignore_index=True), kind) if filled else empty
            self._whole[kind] = _shown(self._named(found))
        return self._whole[kind]

    def once(self, make: Callable[["Tables"], Made]) -> Made:
        """What a function makes of these tables, made at its first call."""
        if make not in self._once:
            self._once[make] = make(self)
        found: Made = self._once[make]
        return found

    def require_chosen(self) -> None:
        """See to it that what was chosen is there.

        Raises:
            SpecError: a label is that of no run, or nothing has a metric.
            ResultsError: a file is damaged or of a newer schema.
        """
        named = [kind for kind in self._found if kind != "published"]
        if self.chosen.labels:
            frames = [self[kind] for kind in named if len(self[kind]) and "run" in self[kind]]
            self.chosen.require_labels(
                pair
                for frame in frames
                for pair in dict.fromkeys(zip(frame["run"].astype(str), _places(frame), strict=True))
            )
        if self.chosen.metrics:
            there = [name for kind in ("evaluations", "snr") for name in dict.fromkeys(self._all(kind)["metric"])]
            followed = [name for column, name in FOLLOWED.items() if column in self._all("metrics")]
            self.chosen.require_metrics([*there, *followed])

    def _named(self, frame: pd.DataFrame) -> pd.DataFrame:
        """With what the runs of the rows are called."""
        if "run" not in frame or frame.empty:
            return frame
        pairs = list(zip(frame["run"].astype(str), _places(frame), strict=True))
        known = self._called
        texts = {pair: known.get(pair[1]) or self._called_as(*pair) for pair in dict.fromkeys(pairs)}
        return frame.assign(**{column: [texts[pair][column] for pair in pairs] for column in CALLED})

    def _called_as(self, run: str, place: str) -> dict[str, str]:
        """What a run of which no settings are known is called."""
        named = self.chosen.name_of(run, place)
        return {"named": named, "titled": named or plain(run), "called": named or plain(run)}

    @functools.cached_property
    def _called(self) -> dict[str, dict[str, str]]:
        """Folder to what its run is called."""
        firsts = {visible(str(owner.folder)): self._trained[folder] for folder, owner in self._owners.items()}
        loose = [path for path in self._found.get("snr", ()) if run_folder(path) not in self._trained]
        firsts |= {
            of_collected(path, run): {**trained_as(spec), "run": run}
            for path in loose
            for run, spec in specs_in(path).items()
        }
        given = {folder: self.chosen.name_of(str(own["run"]), folder) for folder, own in firsts.items()}
        return called(firsts, {folder: name for folder, name in given.items() if name})

    def _wanted(self, frame: pd.DataFrame, kind: str) -> pd.DataFrame:
        """The rows and columns of the metrics that are to be shown."""
        if kind in ("evaluations", "snr") and self.chosen.metrics:
            return frame[frame["metric"].isin(self.chosen.metrics)].reset_index(drop=True)
        if kind == "metrics":
            return frame.drop(columns=[c for c, name in FOLLOWED.items() if c in frame and not self.chosen.shows(name)])
        return frame

    @property
    def empty(self) -> bool:
        """Whether no file was found."""
        return not any(self._found.values())

    @property
    def notes(self) -> list[str]:
        """What was found more than once or could not be looked at, a line each."""
        return [*self._unread, *said(self._owners), *self._copies[1], *self._remarks]

    def holding(self, folders: set[Path]) -> set[Path]:
        """Folders and the copies of the runs that they hold."""
        return folders | {folder for folder, owner in self._owners.items() if folders & {*owner.folders}}

    def _read(self, kind: str, path: Path) -> pd.DataFrame:
        """One file, and what another program's table lacks noted."""
        table, remarks = read(kind, path, self._shaped)
        self._remarks += remarks
        self.told()
        return table

    @functools.cached_property
    def _trained(self) -> dict[Path, dict[str, Any]]:
        """Run directory to what its run was trained with."""
        places = [path for kind, found in self._found.items() if kind != "published" for path in found]
        runs = {run_folder(path): path for path in places if RunDir(run_folder(path)).config.is_file()}
        return {folder: trained(path) for folder, path in runs.items()}

    @functools.cached_property
    def _owners(self) -> dict[Path, Owner]:
        """The run that each run directory holds."""
        known = self._trained
        tables: dict[Path, list[Path]] = {}
        for path in self._found.get("snr", ()):
            tables.setdefault(run_folder(path), []).append(path)
        return owners({folder: (own["setting"], own["seed"]) for folder, own in known.items()}, tables)

    @functools.cached_property
    def _copies(self) -> tuple[dict[str, tuple[Path, ...]], list[str]]:
        return copied_files(self._found, self._owners)

    def files(self, kind: str) -> tuple[Path, ...]:
        """Those of a kind that are read, as they were asked for."""
        return self._found.get(kind, ())

    @property
    def _files(self) -> dict[str, tuple[Path, ...]]:
        """The files that say something that no other says."""
        return self._copies[0]

    def inputs(self, kinds: Sequence[str]) -> list[Path]:
        """All files that frames of these kinds are made of, in order, each once."""
        found = (extra for kind in kinds for path in self._files.get(kind, ()) for extra in inputs(kind, path))
        return list(dict.fromkeys(found))


def _places(frame: pd.DataFrame) -> list[str]:
    """Whose each row is: the folder of its run, or the file that it is from."""
    if "who" in frame:
        return [str(place) for place in frame["who"]]
    return [str(run_folder(Path(str(source)))) for source in frame["source"]]


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its texts as they can be shown."""
    changed: dict[str, pd.Series[Any]] = {}
    for name in frame.columns:
        if pd.api.types.is_numeric_dtype(frame[name]) or name in ("pixels", "reasons"):
            continue
        column = frame[name]
        texts = column.unique() if isinstance(column.dtype, pd.StringDtype) else column
        odd = {text: visible(text) for text in texts if isinstance(text, str)}
        odd = {text: seen for text, seen in odd.items() if seen != text}
        if odd:
            changed[str(name)] = frame[name].replace(odd)
    return frame.assign(**changed)


def _located(frame: pd.DataFrame) -> pd.DataFrame:
    """With the columns that say where rows are from, which files give."""
    found = frame if "source" in frame else frame.assign(source="")
    if "block" in found and "trained_with" not in found:
        found = found.assign(**dict.fromkeys(OF_MODEL, ""))
    return _shown(found if "setting" in found else found.assign(setting=found["source"]))


def collect(
    paths: Sequence[Path],
    chosen: Chosen = Chosen(),  # noqa: B008 (frozen)
    as_tables: type[Tables] = Tables,
) -> Tables:
    """Find the result files at some paths.

    Args:
        paths: run directories, folders that hold some at any depth, or result files.
        chosen: what is to be shown, and under which names.
        as_tables: what is made of them.

    Raises:
        ResultsError: a path leads nowhere, or there is nothing at any of them.
    """
    unread: list[str] = []
    files = find(paths, unread.append)
    # A foreign table met on the way is passed over; of one that was named itself, reading says what is wrong.
    files["snr"] = [path for path in files["snr"] if path in paths or not SNR.is_foreign(path)]
    if not any(files.values()) and not any(_is_run(path) for path in paths):
        where = ", ".join(str(path) for path in paths)
        raise ResultsError(where, "no results there", "train a run with 'snrkit train' first")
    return as_tables(files, unread=unread, chosen=chosen)


def steps(progress: Progress, total: int) -> Callable[[], None]:
    """What tells at every call that one more of so many files is read."""
    done = itertools.count(1)
    return lambda: progress(next(done), total, "reading")


def places_of(paths: object) -> list[Path]:
    """Paths as a caller gives them, one or several.

    Raises:
        SpecError: there is none, or it is something else.
    """
    remedy = "give a run directory, a folder of them or a results file, or a list of such"
    given = [paths] if isinstance(paths, str | Path) else list(paths) if isinstance(paths, Iterable) else [paths]
    if not given or not all(isinstance(path, str | Path) for path in given):
        raise SpecError("paths", f"cannot be {short(paths)}", remedy)
    return [Path(str(path)) for path in given]


def _is_run(path: Path) -> bool:
    files = RunDir(path)
    return files.config.is_file() or files.status.is_file()
