"""Slopes of log snr_pooled against K or M, with theory's verdict."""

from snrkit.runs.kinds.base import BLOCK, HOW, INTERVAL, NOISE, RUN, SETTING, count, name, number, text
from snrkit.runs.kinds.earlier import drawn_as
from snrkit.runs.kinds.text import CsvKind

SLOPES = CsvKind(
    name="slopes",
    pattern="*.slopes.csv",
    columns={
        **RUN,
        **NOISE,
        "estimator": SETTING["estimator"],
        "options": SETTING["options"],
        **BLOCK,
        "axis": name("K or M, what the slope is against"),
        "fixed": count("the other one", 1),
        "over": name("the values fitted over"),
        "slope": number("d log snr_pooled / d log axis"),
        **INTERVAL,
        "expected": number("theory's exponent near the optimum"),
        "verdict": name("agrees, disagrees, not in the asymptotic regime, cannot tell"),
        "reason": text("why"),
        **HOW,
    },
    remedy="delete it",
    key=("run", "step", "data", "estimator", "options", "block", "axis", "fixed", "seed", "method"),
    of_run=("config.toml",),
    version=2,
    later=drawn_as,
)
