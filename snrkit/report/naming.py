"""What readers are told runs, settings and lines are called: the settings that differ, in as few words as do.

Never a path, and never the hash in a folder's name. A name that the user gave (``--label``) stands before all else; a table
that lies in no run directory says nothing of settings, so its run's own name is told.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from snrkit.report.escape import visible
from snrkit.report.lines import Line, styled
from snrkit.report.style import estimator_label

# Columns of every frame with runs, in this order: the user's name for the run, or nothing; what its setting is called among
# all of a report; what it is called itself, with its seed if need be.
CALLED = ["named", "titled", "called"]
# What of a run's own training may tell readings of its gradients apart.
OF_MODEL = ["trained_with", "trained_on", "trained_M", "trained_K", "model"]
# What a run of ``snrkit sweep`` is called for, at the end of its folder's name: its identity, and maybe its epochs.
# As many estimators with the same gradient are named in a row.
MOST_ALIKE = 3
_IDENTITY = re.compile(r"-[0-9a-f]{10}(-\d+)?$")
_SETTING = re.compile(r"[0-9a-f]{10}-(\d+)")
_OF_RUN = ("trained_on", "M", "K", "model")


def names(
    keys: Sequence["pd.Series[Any] | Mapping[Any, Any]"], fields: Sequence[str], always: Sequence[str] = ()
) -> list[str]:
    """Labels by estimator, or as the user said, and by whatever else tells them apart.

    To those still alike what else they were trained with is added, then for how long, the run's name, and last a number.

    Args:
        keys: a row of each.
        fields: columns that may tell them apart, the most telling first.
        always: columns to name wherever they differ, even if nothing else is alike.
    """
    rows = [dict(key) for key in keys]
    found = [_given(key) or _estimator(key) for key in rows]
    unknown = {_text(key, "run") for key in rows if not _is_known(key)}
    if len(unknown) > 1:
        own = ["" if _is_known(key) or _given(key) else plain(_text(key, "run")) for key in rows]
        found = [f"{label}, {run}" if label and run else label or run for label, run in zip(found, own, strict=True)]
    for field in always:
        if len({_text(key, field) for key in rows}) > 1:
            found = [f"{label}, {shown(field, key[field])}" for label, key in zip(found, rows, strict=True)]
    found = told_apart(found, [_estimator(key) if _given(key) else "" for key in rows])
    for field in fields:
        found = told_apart(found, [shown(field, key[field]) if _text(key, field) else "" for key in rows])
    found = told_apart(found, differing(found, rows))
    found = told_apart(found, [_epochs(key) for key in rows])
    found = told_apart(found, [plain(_text(key, "run")) for key in rows])
    return numbered(found)


def _given(key: Mapping[Any, Any]) -> str:
    return _text(key, "named")


def _estimator(key: Mapping[Any, Any]) -> str:
    return estimator_label(_text(key, "estimator"), _text(key, "options")) if _text(key, "estimator") else ""


def _is_known(key: Mapping[Any, Any]) -> bool:
    """Whether the settings of its run are known: of readings those say so, of all else its estimator is one of them."""
    return bool(_text(key, "trained_with") if "trained_with" in key else _text(key, "estimator"))


def _epochs(key: Mapping[Any, Any]) -> str:
    """How long a run was to be trained, with which its setting ends (``trained.trained_as``); empty where not known."""
    found = _SETTING.fullmatch(_text(key, "setting"))
    return f"{found[1]} {'epoch' if found[1] == '1' else 'epochs'}" if found else ""


def _text(key: Mapping[Any, Any], field: str) -> str:
    value = key.get(field, "")
    return "" if pd.isna(value) else str(value)


def shown(field: str, value: object) -> str:
    """A setting and its value, in words."""
    name, text = field.replace("_", " "), visible(str(value))
    if field == "step":
        return f"{text} steps"
    if field == "trained_with":
        return f"trained with {text}"
    if field[-1] in "MK":
        return f"{'trained at ' if field[:-1] else ''}{field[-1]} = {text}"
    return f"{name} {text}"


def named_lines(groups: Sequence[pd.DataFrame], fields: Sequence[str], always: Sequence[str] = ()) -> list[Line]:
    """A line for each group of rows, labelled by ``names``.

    Args:
        groups: rows of each line.
        fields: columns that may tell lines apart, the most telling first.
        always: columns to name wherever they differ, even if nothing else is alike.
    """
    keys = [group.iloc[0] for group in groups]
    found = zip(names(keys, fields, always), styled(keys), groups, strict=True)
    return [Line(name, look, group.assign(line=name)) for name, look, group in found]


def told_apart(found: Sequence[str], details: Sequence[str]) -> list[str]:
    """Labels, with their detail where it differs among those that are alike.

    Args:
        found: the labels.
        details: what to add to each if need be.
    """
    shared = _by_label(found, [{detail} for detail in details])
    return [
        label if detail in shared[label] or not detail else f"{label}, {detail}" if label else detail
        for label, detail in zip(found, details, strict=True)
    ]


def differing(found: Sequence[str], keys: Sequence["pd.Series[Any] | Mapping[Any, Any]"]) -> list[str]:
    """What else each setting was trained with and not all with the same label were, as text.

    Args:
        found: a label for each setting.
        keys: a row of each, with ``rest``.
    """
    parts = [_text(dict(key), "rest").split("; ") for key in keys]
    shared = _by_label(found, [set(own) for own in parts])
    return [
        ", ".join(part.replace("=", " = ") for part in own if part not in shared[label])
        for label, own in zip(found, parts, strict=True)
    ]


def numbered(found: Sequence[str]) -> list[str]:
    """Labels, with a number to those that are alike."""
    count, seen = Counter(found), Counter[str]()
    result = []
    for label in found:
        seen[label] += 1
        result.append(f"{label} ({seen[label]})" if count[label] > 1 else label)
    return result


def alike(labels: Sequence[str]) -> str:
    """One name for all that have the same gradient: a few of them, and how many more."""
    over = len(labels) - MOST_ALIKE
    return " = ".join(labels if over <= 0 else [*labels[:MOST_ALIKE], f"{over} more"])


def alike_note(sets: Sequence[Sequence[str]]) -> list[str]:
    """What that name means, and who the others are; nothing where nothing is alike.

    Args:
        sets: the labels of each row.
    """
    if not any(len(labels) > 1 for labels in sets):
        return []
    whole = dict.fromkeys(", ".join(labels) for labels in sets if len(labels) > MOST_ALIKE)
    return ["Estimators joined by = have the same gradient" + "".join(f"; so have {labels}" for labels in whole)]


def plain(run: str) -> str:
    """A run's name without the hash that a sweep's folders end in."""
    return _IDENTITY.sub("", visible(run)) or visible(run)


def name_of(table: pd.DataFrame) -> str:
    """What the one run of a table is called; of a table at hand, that lies in no folder, its own name."""
    return str(table["called"].iloc[0]) if "called" in table else plain(str(table["run"].iloc[0]))


def called(runs: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The columns ``CALLED`` of each run.

    Args:
        runs: folder to what its run was trained with, as ``trained.trained`` says it.
        labels: folder to the user's name for it, where there is one.
    """
    keys = [{**record, "named": labels.get(folder, "")} for folder, record in runs.items()]
    places: dict[Any, int] = {}
    at = [places.setdefault((key["setting"], key["named"]), len(places)) for key in keys]
    firsts = [keys[at.index(number)] for number in range(len(places))]
    titles = names(firsts, _OF_RUN)
    titled = [titles[number] for number in at]
    each = told_apart(titled, [f"seed {_text(key, 'seed')}" for key in keys])
    own = numbered(told_apart(each, [plain(_text(key, "run")) for key in keys]))
    return {
        folder: {"named": key["named"], "titled": title, "called": name}
        for folder, key, title, name in zip(runs, keys, titled, own, strict=True)
    }


def _by_label(found: Sequence[str], parts: Sequence[set[str]]) -> dict[str, set[str]]:
    """What all with the same label have in common."""
    shared: dict[str, set[str]] = {}
    for label, own in zip(found, parts, strict=True):
        shared[label] = shared.get(label, own) & own
    return shared
