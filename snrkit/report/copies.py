"""Files and rows that say again what others said: of a copied run, or of a run that was renamed, everything counts once."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from snrkit.report.escape import visible
from snrkit.report.find import run_folder
from snrkit.report.identity import Owner
from snrkit.report.unchanged import digest
from snrkit.runs.folder import RunDir
from snrkit.runs.kinds import KINDS
from snrkit.runs.kinds.snr import SNR

# Beside the parameters, what makes two readings of them one, wherever they lie.
_READING = ["parameters", *(name for name in SNR.key if name != "run"), "draws", "value", "stderr"]


def home(path: Path, runs: Mapping[Path, Owner]) -> Path:
    """Where a file of a copied run lies in the original."""
    folder = run_folder(path)
    owner = runs.get(folder)
    return path if owner is None else owner.folder / path.relative_to(folder)


def copied_files(
    files: Mapping[str, Sequence[Path]], runs: Mapping[Path, Owner]
) -> tuple[dict[str, tuple[Path, ...]], list[str]]:
    """The files without those that hold what another holds, and a line about each that belongs to no known run.

    Args:
        files: kind to files.
        runs: the run that each run directory holds.
    """
    kept: dict[str, tuple[Path, ...]] = {}
    lines = []
    for kind, found in files.items():
        first: dict[tuple[str, str], Path] = {}
        left: list[Path] = []
        # A file in a run directory says more than the same one elsewhere, and an original more than a copy.
        for path in sorted(found, key=lambda path: (run_folder(path) not in runs, path != home(path, runs))):
            owner = runs.get(run_folder(path))
            content = _content(path)
            own = [(str(owner.folder), content)] if owner else [("", content)]
            own += [(str(home(path, runs)), "")] if owner and not KINDS.load(kind).key else []
            original = next((first[place] for place in own if place in first), None)
            if original is None:
                left.append(path)
                first |= dict.fromkeys([*own, ("", content)], path)
            elif owner is None:
                lines.append(f"{visible(str(path))}: a copy of {visible(str(original))}, counted once")
        kept[kind] = tuple(path for path in found if path in set(left))
    return kept, lines


def _content(path: Path) -> str:
    try:
        return digest(path)
    except OSError:
        return str(path)  # Reading it says so.


def owned(frame: pd.DataFrame, kind: str, path: Path, runs: Mapping[Path, Owner]) -> pd.DataFrame:
    """The rows of a file as those of the run that they belong to.

    Adds ``source``, and ``who``: rows with the same are of one run, whatever it is called in them.
    """
    found = frame.assign(source=visible(str(home(path, runs))))
    if kind in ("published", "advice") or "run" not in found:
        return found
    owner = runs.get(run_folder(path))
    if owner is None:
        return _unknown(found, path)
    names = found["run"].astype(str)
    mine = _mine(found, names, owner)
    # A name that the run no longer has is kept where it is the only one.
    if len(owner.folders) > 1 or names[mine].nunique() > 1:
        found = found.assign(run=found["run"].where(~mine, visible(owner.name)))
    folder = visible(str(owner.folder))
    if "folder" in found:
        found = found.assign(folder=folder)
    who = pd.Series(folder, found.index).where(mine, found["source"] + " " + names)
    found = found.assign(who=who, copied=RunDir(run_folder(path)).path != owner.folder)
    if "setting" in found:
        setting = found["setting"] + (f" {folder}" if owner.apart else "")
        found = found.assign(setting=setting.where(mine, found["who"]))
    return found


def _unknown(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The rows of a file in no run directory: nothing but settings says that two runs in it are alike."""
    if "folder" in frame:
        return frame.assign(who=frame["folder"], copied=False)
    who = visible(str(path)) + (" " + frame["run"].astype(str) if frame["run"].nunique() > 1 else "")
    if "setting" not in frame:
        return frame.assign(who=who, copied=False)
    if "trained_with" not in frame or not (frame["trained_with"] != "").any():
        return frame.assign(who=who, copied=False, setting=who)
    # A table that was collected: of each run as if it lay in a folder of its own, which may be a repetition of others.
    own = pd.Series([of_collected(path, run) for run in frame["run"].astype(str)], frame.index)
    known = frame["trained_with"] != ""
    return frame.assign(who=own, source=own, copied=False, setting=frame["setting"].where(known, own))


def of_collected(path: Path, run: str) -> str:
    """What stands for the folder of a run in a table that was collected."""
    return f"{visible(str(path))} {run}"


def _mine(frame: pd.DataFrame, names: "pd.Series[str]", owner: Owner) -> "pd.Series[bool]":
    """Which rows of a file in a run directory are of its run: those with a name that it has, or with its parameters."""
    mine = names.isin(owner.names)
    if not mine.any() or mine.all() or "folder" in frame:
        return pd.Series(True, frame.index) if names.nunique() == 1 or "folder" in frame else mine
    if "parameters" in frame:
        known = frame[mine & (frame["parameters"] != "")]
        pairs = set(zip(known["step"], known["parameters"], strict=True))
        here = zip(frame["step"], frame["parameters"], strict=True)
        mine |= pd.Series([pair in pairs for pair in here], frame.index)
    return mine


def rows_once(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows without those that say of one run again what others say; nothing else changes."""
    key = KINDS.load(kind).key
    # A file of one run alone has no name of it in its key.
    same = ["source" if "run" in key else "folder", *key]
    if not key or not {"who", "copied", *same} <= set(frame):
        return frame.drop(columns="copied", errors="ignore")
    frame = frame.assign(copied=frame["copied"].astype("boolean").fillna(value=False).astype(bool))
    if kind == "snr":
        return _readings_once(frame, same).drop(columns="copied").reset_index(drop=True)
    first = frame.sort_values("copied", kind="stable")
    again = first.duplicated(same)
    if "run" not in key:  # else rows of a file are unique, unless a run was renamed between two measurements
        again &= first["copied"].groupby(first["who"], dropna=False).transform("any")
    return frame.loc[sorted(first[~again].index)].drop(columns="copied").reset_index(drop=True)


def _readings_once(frame: pd.DataFrame, same: list[str]) -> pd.DataFrame:
    # Of two rows on one thing that of a finished measurement counts, then that of more draws, then that of the original.
    worse = frame.assign(open=~frame["complete"].astype(bool), few=-frame["draws"])
    ordered = worse.sort_values(["open", "few", "copied"], kind="stable")
    once = frame.loc[sorted(ordered[~ordered.duplicated(same)].index)]
    # Beyond its own file: the very same reading of the same parameters once more.
    known = once[once["parameters"] != ""].assign(loose=lambda rows: rows["setting"] == rows["who"])
    ordered = known.sort_values("loose", kind="stable")
    again = ordered.duplicated(_READING) & (ordered["loose"] | ordered.duplicated(["who", *_READING]))
    return once.drop(index=ordered[again].index)
