"""Metrics: what each registered one says of itself, and one of another package."""

import subprocess
import sys

import numpy as np
import pytest

from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.plan import Plan
from snrkit.runs.metrics import METRICS, describe
from tests.support.plugin import install
from tests.zoo import toy

OWN = """
import numpy as np
from snrkit.diagnostics.intervals import delete_one, jackknife_stderr, student
from snrkit.diagnostics.metrics.base import Family, Reading
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


@pytest.mark.parametrize("name", METRICS.names)
def test_a_metric_says_what_it_is(name):
    assert name in METRICS.load(name).metrics
    assert describe(name).definition
    assert describe(name).title


def test_what_metrics_are_can_be_asked_without_torch():
    ask = "import sys, snrkit.runs.metrics as m; [m.describe(n) for n in m.METRICS.names]; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", ask], check=False).returncode == 0


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A package with a metric of its own is installed."""
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "own-metrics", "1.0", {"snrkit.metrics": {"largest_mean": "own_metrics:FAMILY"}}, own_metrics=OWN)
    yield
    sys.modules.pop("own_metrics", None)


@pytest.mark.usefixtures("own")
def test_a_metric_of_another_package_is_in_the_table_at_every_m_with_its_definition():
    model, x = toy(dim=3)
    found = diagnose(model, x, Plan(estimators="iwae", K=2, M=(1, 4), draws=40, mean_from="dreg")).table
    rows = found[found.metric == "largest_mean"]
    assert set(rows.M) == {1, 4}
    assert set(rows.block) == set(found.block)
    assert set(rows.definition) == {"largest |E[g]| over coordinates; E[g] from dreg draws"}
    tensors = rows[rows.block.isin(["A", "b", "mu"]) & (rows.M == 1)].value
    assert rows[(rows.block == "all") & (rows.M == 1)].value.item() == np.max(tensors)
