"""A metric of another package: the largest coordinate of the mean gradient."""

import sys
from contextlib import contextmanager

from tests.support.plugin import install

OWN = """
import numpy as np
from snrkit.diagnostics.intervals import delete_one, jackknife_stderr, student
from snrkit.diagnostics.metrics.base import Family, Reading
from snrkit.errors import SpecError
from snrkit.runs.metrics import Metric

def largest(evidence):
    moments = evidence.moments
    for name, block in evidence.blocks.items():
        def value(row): return float(abs(moments.merged(row)[1][block]).max())
        error = float(jackknife_stderr(np.array([value(row) for row in delete_one(moments.blocks)])))
        yield Reading("largest_mean", name, student(value(None), error, moments.blocks))

METRIC = Metric("largest |E[g]| over coordinates", "largest mean", of_mean=True, shown=True)
FAMILY = Family({"largest_mean": METRIC}, largest)
"""


@contextmanager
def installed_metric(folder, monkeypatch, source=OWN):
    """With that package in a folder of ``sys.path``."""
    monkeypatch.syspath_prepend(folder)
    install(
        folder, "own-metrics", "1.0", {"snrkit.metrics": {"largest_mean": "own_metrics:FAMILY"}}, own_metrics=source
    )
    yield
    sys.modules.pop("own_metrics", None)
