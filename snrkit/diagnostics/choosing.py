"""Which of the measured settings to choose, and by how much it is ahead of the next."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from snrkit.diagnostics.budget import Setting
from snrkit.diagnostics.intervals import Interval
from snrkit.diagnostics.measure import Measurement
from snrkit.diagnostics.tables import log_ratio, title
from snrkit.estimators.base import Estimator

GOALS = {"inference": "inference network", "generative": "generative network", "both": "both networks"}
# Bounds that differ by less are one.
_EQUAL_GAPS = 1e-9


def once(
    every: Sequence[Setting], rows: Sequence[dict[str, object]], found: Measurement
) -> tuple[list[Setting], list[dict[str, object]]]:
    """The settings without those that have the very same gradients and bound as a cheaper one, whose row names them.

    Their draws say so, to the last bit; what is the same by definition was not measured twice (``budget.settings``).

    Args:
        every: the settings.
        rows: of the table, one for each, with what they are by definition in ``same``.
        found: the draws behind them.
    """
    groups: list[list[int]] = []
    for place in range(len(every)):
        own = next((group for group in groups if _are_one(every, rows, found, group[0], place)), None)
        if own is None:
            groups.append([place])
        else:
            own.append(place)
    firsts = [min(group, key=lambda i: rows[i]["seconds_per_step"]) for group in groups]  # type: ignore[arg-type, return-value]
    whole = []
    for group, first in zip(groups, firsts, strict=True):
        drawn = [name(every[i]) for i in group if i != first]
        defined = [str(rows[i]["same"]) for i in group if rows[i]["same"]]
        whole.append(rows[first] | {"same": ", ".join([*defined, *drawn])})
    return [every[first] for first in firsts], whole


def _are_one(
    every: Sequence[Setting], rows: Sequence[dict[str, object]], found: Measurement, one: int, other: int
) -> bool:
    gaps = [float(rows[i]["bound_gap"]) for i in (one, other)]  # type: ignore[arg-type]
    if abs(gaps[0] - gaps[1]) > _EQUAL_GAPS:
        return False
    first, second = (found.strength(*every[i]) for i in (one, other))
    ratios = [log_ratio(first[network], second[network]) for network in ("inference", "generative")]
    return all(ratio.value == 0 and ratio.stderr == 0 for ratio in ratios)


def recommend(
    every: list[Setting], found: Measurement, rows: list[dict[str, object]], draws: int
) -> list[dict[str, Any]]:
    """What to do for each goal: see the columns of ``advise.Advice.recommendations``; ``of`` is the setting.

    Args:
        every: the settings.
        found: the draws behind them.
        rows: of the table, one for each.
        draws: gradient draws.
    """
    gaps = {setting: float(row["bound_gap"]) for setting, row in zip(every, rows, strict=True)}  # type: ignore[arg-type]
    costs = {setting: float(row["seconds_per_step"]) for setting, row in zip(every, rows, strict=True)}  # type: ignore[arg-type]
    smallest = min(gaps.values())
    tightest = [setting for setting in every if gaps[setting] <= smallest + 1e-9]
    answers = [
        ("inference", every, "inference", "it has the highest inference SNR of all settings"),
        ("generative", tightest, "generative", f"its bound is the tightest ({smallest:.3f} nats below log p̂)"),
        ("both", tightest, "inference", "the generative network keeps the tightest bound, and none of those gives the "
         "inference network a higher SNR"),
    ]  # fmt: skip
    return [
        {"goal": GOALS[whose], "network": whose} | _best(of, network, found, costs, draws, why)
        for whose, of, network, why in answers
    ]


@dataclass(frozen=True)
class _Margin:
    """How far the SNR of a setting lies above that of the next: their ratio, and its 95 % interval."""

    next: str = ""
    ratio: float = math.nan
    low: float = math.nan
    high: float = math.nan

    @classmethod
    def over(cls, other: Setting, logs: Interval) -> "_Margin":
        """Of the logarithm of the ratio."""
        return cls(name(other), *(math.exp(value) for value in (logs.value, logs.low, logs.high)))

    @property
    def columns(self) -> dict[str, object]:
        """As a recommendation has it."""
        return {"next": self.next, "margin": self.ratio, "margin_low": self.low, "margin_high": self.high}

    @property
    def interval(self) -> str:
        """That of the ratio, in words."""
        return f"95 % interval {self.low:.3g} to {self.high:.3g}"


def _best(
    candidates: list[Setting],
    network: str,
    found: Measurement,
    costs: dict[Setting, float],
    draws: int,
    why: str,
) -> dict[str, object]:
    """The setting of highest SNR in a network and its margin over the next, or that it cannot be told from another."""
    readings = {s: found.strength(*s)[network] for s in candidates}
    ranked = sorted(candidates, key=lambda s: readings[s].interval.value, reverse=True)
    first, margin = ranked[0], _Margin()
    if readings[first].interval.low <= 0:
        reason = f"no {network} gradient stands clear of the noise in {draws} draws: cannot tell, more draws needed"
        return _untold(reason, _to_resolve(readings[first].interval, draws), margin)
    alike = [first]
    for other in ranked[1:]:
        interval = log_ratio(readings[first], readings[other])
        if interval.value == 0 and interval.stderr == 0:
            alike.append(other)
            continue
        own = _Margin.over(other, interval)
        margin = margin if margin.next else own
        # One that is lower but known worse than the next may still be the best.
        if interval.low > 0 or readings[first].interval.low > readings[other].interval.high:
            continue
        margin = own
        known = f" ({margin.ratio:.3g} times, {margin.interval})" if math.isfinite(margin.ratio) else ""
        reason = (
            f"{name(first)} and {name(other)} are too close in {draws} draws{known}: cannot tell, more draws needed"
        )
        return _untold(reason, _to_resolve(interval, draws), margin)
    first = min(alike, key=lambda s: costs[s])
    above = f", {margin.ratio:.3g} times that of the next, {margin.next} ({margin.interval})" if margin.next else ""
    reason = why + above + _towards(first[0], network) + _tie(first, alike, network)
    return {"of": first, "setting": name(first), "reason": reason, "draws_needed": math.nan, **margin.columns}


def _untold(reason: str, draws_needed: float, margin: _Margin) -> dict[str, object]:
    return {"of": None, "setting": "", "reason": reason, "draws_needed": draws_needed, **margin.columns}


def _tie(first: Setting, alike: Sequence[Setting], network: str) -> str:
    """Which settings have the very same gradient, so that only the time of a step speaks against them."""
    others = ", ".join(name(other) for other in alike if other != first)
    return f"; the {network} gradient is the same with {others}, whose step took longer here" if others else ""


def _towards(estimator: Estimator, network: str) -> str:
    """What an inference gradient is the gradient of, where that is not the estimator's own bound."""
    if network != "inference" or estimator.unbiased[0]:
        return ""
    return f"; it is no gradient of its bound ({estimator.theory.unbiased_for})"


def _to_resolve(interval: Interval, draws: int) -> float:
    """Draws at which the interval's reach, falling as 1/sqrt(R), would equal the value, to two digits; inf if that is 0."""
    reach = interval.high - interval.value
    if not interval.value > 0 or math.isnan(reach):
        return math.inf
    return float(f"{draws * (reach / interval.value) ** 2:.1e}")


def name(setting: Setting) -> str:
    """A setting as text, e.g. ``piwae M=8 K=8``."""
    estimator, M, K = setting
    return f"{title(estimator)} M={M} K={K}"
