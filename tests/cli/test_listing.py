"""``snrkit list`` says what the registries hold."""

import json
import re

import pytest

from snrkit.cli.listing import as_markdown, estimators, rate
from snrkit.estimators import ESTIMATORS
from snrkit.estimators.base import build_estimator
from snrkit.models import MODELS
from snrkit.runs.metrics import METRICS


@pytest.mark.parametrize(
    ("powers", "shown"),
    [
        ((0.5, 0.5), "(MK)^½"), ((0.5, -0.5), "(M/K)^½"), ((0.5, -1.5), "M^½ K^(-3/2)"), ((0.5, 0.0), "M^½"),
        ((0.5, 1.0), "M^½ K^(1)"), ((0.0, 0.0), "1"), ((0.5, 0.25), "M^½ K^(0.25)"),
    ],
)  # fmt: skip
def test_a_rate_as_people_write_it(powers, shown):
    assert rate(*powers) == shown


def test_every_estimator_with_what_its_class_says():
    rows = {row["estimator"]: row for row in estimators()}
    assert list(rows) == ESTIMATORS.names
    assert all(len(row["gradient"]) > 20 and row["source"] and row["unbiased_for"] for row in rows.values())
    assert (rows["vimco"]["least_K"], rows["vimco"]["z"], rows["iwae"]["z"]) == ("2", "any", "continuous")
    assert rows["reinforce"]["snr_phi"] == "M^½ K^(-3/2)"
    assert rows["stl"]["unbiased"] == "no, yes"
    for name, row in rows.items():
        if name != "ciwae":
            own = build_estimator(name, {})
            assert row["unbiased"] == ", ".join({True: "yes", False: "no"}[exact] for exact in own.unbiased)
            assert rate(*own.theory.theta) == row["snr_theta"]
            assert ("dreams" in row["needs"]) == own.needs.sleep


@pytest.mark.parametrize(
    ("what", "names"), [("estimators", ESTIMATORS.names), ("models", MODELS.names), ("metrics", METRICS.names)]
)
def test_three_forms_of_one_list(snrkit, what, names):
    found = json.loads(snrkit("list", what, "--json").out)[what]
    assert [row[what[:-1]] for row in found] == names
    table = snrkit("list", what, "--markdown").out.splitlines()
    assert [re.match(r"\| `([^`]+)` \|", line)[1] for line in table[2:]] == names
    # A bar in a cell would begin another.
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {len(found[0]) + 1}
    shown = snrkit("list", what).out.splitlines()
    assert [line for line in shown if line[0] != " "] == names


def test_data_and_nothing_else(snrkit):
    assert "digits" in snrkit("list", "data").out
    assert snrkit("list", "cats").refused("estimators")
    assert snrkit("list").refused("Choose from: estimators, models, data, metrics (see 'snrkit list --help')")
    assert as_markdown([{"a": "x", "b": "p|q"}]).splitlines()[-1] == "| `x` | p\\|q |"
