"""Values that others published, to stand beside one's own; typed in by hand."""

from snrkit.runs.kinds.base import number, text
from snrkit.runs.kinds.text import CsvKind

PUBLISHED = CsvKind(
    name="published",
    pattern="*.published.csv",
    columns={
        "data": text("registered name of the data's source"),
        "estimator": text("registered name"),
        "options": text("its hyperparameters, as in a run's table"),
        "M": number("outer samples per data point", 1),
        "K": number("importance samples per outer sample", 1),
        "metric": text("as in an evaluation"),
        "value": number("as printed"),
        "error": number("as printed and as defined there", 0.0),
        "reference": text("where"),
    },
    remedy="correct it",
    key=("data", "estimator", "options", "M", "K", "metric", "reference"),
)
