"""Names that tell settings apart, in as few words as do."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from snrkit.report.lines import Line, labels, lines


def names(keys: Sequence["pd.Series[Any]"], fields: Sequence[str]) -> list[str]:
    """Labels by estimator and fields; to those still alike what else they were trained with is added, and last the run.

    Args:
        keys: a row of each setting, with ``rest`` and ``run``.
        fields: columns that may tell settings apart, the most telling first.
    """
    found = labels(keys, fields)
    found = told_apart(found, differing(found, keys))
    return told_apart(found, [str(key["run"]) for key in keys])


def named_lines(groups: Sequence[pd.DataFrame], fields: Sequence[str]) -> list[Line]:
    """``lines.lines``, labelled by ``names``."""
    called = names([group.iloc[0] for group in groups], fields)
    found = zip(lines(groups, fields), called, strict=True)
    return [Line(name, line.style, line.rows.assign(line=name)) for line, name in found]


def told_apart(found: Sequence[str], details: Sequence[str]) -> list[str]:
    """Labels, with their detail where it differs among those that are alike.

    Args:
        found: the labels.
        details: what to add to each if need be.
    """
    shared = _by_label(found, [{detail} for detail in details])
    return [
        label if detail in shared[label] or not detail else f"{label}, {detail}"
        for label, detail in zip(found, details, strict=True)
    ]


def differing(found: Sequence[str], keys: Sequence["pd.Series[Any]"]) -> list[str]:
    """What else each setting was trained with and not all with the same label were, as text.

    Args:
        found: a label for each setting.
        keys: a row of each, with ``rest``.
    """
    parts = [str(key["rest"]).split("; ") for key in keys]
    shared = _by_label(found, [set(own) for own in parts])
    return [
        ", ".join(part.replace("=", " = ") for part in own if part not in shared[label])
        for label, own in zip(found, parts, strict=True)
    ]


def _by_label(found: Sequence[str], parts: Sequence[set[str]]) -> dict[str, set[str]]:
    """What all with the same label have in common."""
    shared: dict[str, set[str]] = {}
    for label, own in zip(found, parts, strict=True):
        shared[label] = shared.get(label, own) & own
    return shared
