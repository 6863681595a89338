"""Metrics: what each registered one says of itself, and one of another package."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.plan import Plan
from snrkit.errors import CapabilityError, SpecError
from snrkit.runs.metrics import METRICS, describe
from tests.support.metric import OWN, installed_metric
from tests.zoo import toy


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
    with installed_metric(tmp_path, monkeypatch):
        yield


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


def test_one_that_raises_is_told_from_the_model(tmp_path, monkeypatch):
    model, x = toy(dim=3)
    with installed_metric(tmp_path, monkeypatch, OWN.replace("moments.merged", "moments.emerged")):
        with pytest.raises(CapabilityError, match=r"metrics: largest_mean cannot be read \(AttributeError: .*emerged"):
            diagnose(model, x, Plan(estimators="iwae", K=2, draws=8))
        assert len(diagnose(model, x, Plan(estimators="iwae", K=2, draws=8, metrics="ess")).table) == 1


def test_those_asked_for_read_as_among_all_and_no_others_are_there():
    """The rows are those of the whole table, so a choice changes no number."""
    model, x = toy(dim=3)
    asked = {"estimators": "iwae", "K": 2, "M": (1, 2), "draws": 40}
    names = ["ess", "dsnr", "snr_mean", "bias_cosine"]
    some = diagnose(model, x, Plan(**asked, metrics=names, bias="log_p")).table
    every = diagnose(model, x, Plan(**asked, dsnr=True, bias="log_p")).table
    assert set(some.metric) == set(names)
    rows = every[every.metric.isin(names)].reset_index(drop=True)
    pd.testing.assert_frame_equal(some.drop(columns="seconds"), rows.drop(columns="seconds"), check_exact=True)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"metrics": "snr_meen"}, "unknown metric 'snr_meen'; did you mean 'snr_mean'"),
        ({"metrics": "bias_norm"}, "bias_norm needs a target; choose bound or log_p"),
        ({"metrics": "ess", "bias": "log_p"}, "none of them has a target; add bias_norm"),
    ],
)
def test_metrics_that_cannot_be_had_are_refused_before_anything_is_drawn(asked, message):
    with pytest.raises(SpecError, match=message):
        Plan(estimators="iwae", K=2, **asked)
