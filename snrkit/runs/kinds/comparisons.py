"""Differences of log snr_pooled between every two estimators, on the same noise."""

from snrkit.runs.kinds.base import BLOCK, HOW, INTERVAL, NOISE, RUN, SETTING, name, number
from snrkit.runs.kinds.earlier import drawn_as
from snrkit.runs.kinds.text import CsvKind

COMPARISONS = CsvKind(
    name="comparisons",
    pattern="*.comparisons.csv",
    columns={
        **RUN,
        **NOISE,
        "M": SETTING["M"],
        "K": SETTING["K"],
        **BLOCK,
        "first": name("an estimator with its options, as shown"),
        "second": name("another"),
        "log_ratio": number("log snr_pooled of the first minus that of the second, same noise"),
        **INTERVAL,
        "verdict": name("which is larger, or that it cannot be told"),
        **HOW,
    },
    remedy="delete it",
    key=("run", "step", "data", "M", "K", "block", "first", "second", "seed", "method"),
    version=2,
    later=drawn_as,
)
