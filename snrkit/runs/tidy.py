"""The tidy table in memory: a DataFrame that a notebook shows as readings with verdicts."""

import html
import math
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

_NETWORKS = ("inference", "generative")
_METRIC = "snr_mean"
_SETTING = ["run", "step", "estimator", "options", "M", "K"]
# What else may tell two readings of one setting apart; told where a table holds several.
_TELLING = ["run", "step", "data", "scope", "mode", "dtype", "direct", "seed", "method", "parameters"]
# Without these columns it is shown as any other table.
_NEEDED = {*_SETTING, "block", "metric", "value", "stderr", "ci_low", "ci_high", "floor", "draws"}
_MOST_ROWS, _MOST_BLOCKS = 24, 6
_CAPTION = "SNR of the gradient (snr_mean) ± standard error. Noise: the 95 % interval reaches down to the floor."


class TidyTable(pd.DataFrame):
    """A DataFrame of readings, which a notebook shows as a short summary with verdicts above its rows.

    It is a DataFrame in all else: what is chosen from it is one of these too, and is shown as pandas shows it once columns
    that the summary needs are gone, or no row of ``snr_mean`` is left. ``pd.DataFrame(table)`` has no summary.
    """

    @property
    def _constructor(self) -> Callable[..., "TidyTable"]:  # what pandas makes of a part of it
        return TidyTable

    def _repr_html_(self) -> str | None:
        shown: str | None = super()._repr_html_()  # type: ignore[misc]  # which the stubs do not have
        rows = shown or ""
        summary = summarised(self)
        if not summary:
            return rows or None
        size = f"{len(self)} rows, {len(self.columns)} columns"
        return f"{summary}<details><summary>{size}</summary>{rows}</details>"


def summarised(table: pd.DataFrame) -> str:
    """Readings of ``snr_mean`` with a verdict on each line of them, as HTML; empty where there are none."""
    if not set(table.columns) >= _NEEDED or not table.columns.is_unique:
        return ""
    means = table[(table["metric"] == _METRIC) & table["value"].notna()]
    blocks = blocks_told(means)
    if not blocks:
        return ""
    own = pd.DataFrame(means[means["block"].isin(blocks)])
    parts = [_readings(own, blocks), *_listed("Verdicts", verdicts(own, blocks))]
    parts += _listed("Remarks", [str(remark) for remark in table.attrs.get("remarks", ())])
    return "".join(parts)


def blocks_told(means: pd.DataFrame) -> list[str]:
    """The networks; where there are none, as of losses, the blocks but for single tensors, if that leaves any."""
    present = [str(block) for block in dict.fromkeys(means["block"])]
    named = [block for block in present if "." not in block]
    return [block for block in _NETWORKS if block in present] or (named or present)[:_MOST_BLOCKS]


def _readings(means: pd.DataFrame, blocks: list[str]) -> str:
    told = _told(means)
    columns = list(dict.fromkeys([*told, *_SETTING]))
    groups = list(means.groupby(columns, sort=False, dropna=False, observed=True))
    heads = [*told, "estimator", "M", "K", "draws", *blocks, "floor"]
    lines = ["".join(f'<th scope="col">{html.escape(head)}</th>' for head in heads)]
    for key, rows in groups[:_MOST_ROWS]:
        setting = dict(zip(columns, key, strict=True))
        name = _named(setting)
        cells = [str(setting[column]) for column in told]
        cells += [name, str(setting["M"]), str(setting["K"]), _joined(rows["draws"])]
        cells += [_reading(rows[rows["block"] == block]) for block in blocks]
        cells += [_joined(f"{floor:.3g}" for floor in rows["floor"] if not math.isnan(floor))]
        lines.append("".join(f"<td>{html.escape(cell)}</td>" for cell in cells))
    left = len(groups) - _MOST_ROWS
    more = f" The first {_MOST_ROWS} of {len(groups)} settings." if left > 0 else ""
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><caption>{_CAPTION}{more}</caption>{body}</table>"


def _told(means: pd.DataFrame) -> list[str]:
    """The columns without which readings of several models, points or draws would be taken for one."""
    told: list[str] = []
    for name in _TELLING:
        if name in means:
            apart = (
                means.groupby(told, dropna=False, observed=True)[name].nunique() if told else means[[name]].nunique()
            )
            if apart.max() > 1:
                told.append(name)
    return told


def _named(setting: dict[str, Any]) -> str:
    return f"{setting['estimator']} ({setting['options']})" if setting["options"] else str(setting["estimator"])


def _reading(row: pd.DataFrame) -> str:
    if row.empty:
        return "–"
    first = row.iloc[0]
    return f"{first['value']:.3g} ± {first['stderr']:.2g}{' noise' if _is_noise(first) else ''}"


def _is_noise(row: "pd.Series[Any]") -> bool:
    """Whether a reading cannot be told from noise: its interval, or without one itself, reaches down to the floor."""
    low = row["value"] if math.isnan(row["ci_low"]) else row["ci_low"]
    return bool(low <= row["floor"])


def verdicts(means: pd.DataFrame, blocks: list[str]) -> list[str]:
    """What the readings against K say of each estimator and block, a line each.

    Args:
        means: readings of one metric.
        blocks: of which blocks.
    """
    lines = []
    told = _told(means)
    columns = [*told, "estimator", "options", "M", "block"]
    for key, rows in means.groupby(columns, sort=False, dropna=False, observed=True):
        setting = dict(zip(columns, key, strict=True))
        if setting["block"] in blocks:
            where = "".join(f"{name} {setting[name]}, " for name in told)
            held = f" at M = {setting['M']}" if means["M"].nunique() > 1 else ""
            ordered = rows.drop_duplicates("K", keep="last").sort_values("K")
            lines.append(f"{where}{_named(setting)}, {setting['block']}{held}: {'; '.join(_verdict(ordered))}.")
    return lines[:_MOST_ROWS]


def _verdict(rows: pd.DataFrame) -> Iterator[str]:
    noise = [_is_noise(row) for _, row in rows.iterrows()]
    is_known = bool(rows["floor"].notna().all())
    lost = _joined(K for K, is_noise in zip(rows["K"], noise, strict=True) if is_noise)
    several = len(rows) > 1
    if not is_known:
        yield "no floor, so that signal and noise cannot be told apart"
    elif not lost:
        yield "a signal at every K" if several else "a signal"
    elif all(noise):
        yield "cannot be told from noise at any K" if several else "cannot be told from noise"
    else:
        yield f"a signal, but at K = {lost} it cannot be told from noise"
    first, last = rows.iloc[0], rows.iloc[-1]
    if several and not all(noise):
        between = f"from {first['value']:.3g} at K = {first['K']} to {last['value']:.3g} at K = {last['K']}"
        if last["ci_high"] < first["ci_low"]:
            yield f"it falls with K, {between}"
        elif last["ci_low"] > first["ci_high"]:
            yield f"it rises with K, {between}"
        else:
            yield f"no change with K beyond the intervals, {between}"


def _joined(values: Any) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values))


def _listed(title: str, lines: list[str]) -> list[str]:
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return [f"<p><strong>{title}</strong></p><ul>{items}</ul>"] if items else []
