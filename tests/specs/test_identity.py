"""What names a run: a setting that is added renames none that leaves it alone, and tells apart those that do not."""

import json

import pytest
from pydantic import Field

from snrkit.specs.base import digest_of
from snrkit.specs.run import EXTENSIBLE, EstimatorSpec, OptimiserSpec, RunSpec
from snrkit.specs.schema1 import SCHEMA_1, told_apart

PLAIN = RunSpec()
CIWAE = RunSpec(estimator=EstimatorSpec(name="ciwae", options={"beta": 0.3}), seed=4)


class LaterOptimiser(OptimiserSpec):
    amsgrad: bool = False


class Later(RunSpec):
    optimiser: LaterOptimiser = LaterOptimiser()
    warm_up: float | None = None
    notes: dict[str, str] = Field(default_factory=dict)


class Kept(RunSpec):
    keep_last: int = 3


@pytest.mark.parametrize("spec", [PLAIN, CIWAE], ids=["plain", "ciwae"])
def test_settings_added_at_their_default_rename_no_run(spec):
    later = Later.model_validate(spec.model_dump())
    assert later.identity() == spec.identity()
    # Given explicitly, a default is still the default.
    given = Later.model_validate(spec.model_dump() | {"warm_up": None, "notes": {}, "optimiser": {"amsgrad": False}})
    assert given.identity() == spec.identity()


@pytest.mark.parametrize(
    "changes", [{"warm_up": 0.5}, {"notes": {"a": "b"}}, {"optimiser": {"amsgrad": True}}], ids=str
)
def test_settings_added_that_differ_rename_it(changes):
    found = {Later.model_validate(PLAIN.model_dump() | more).identity() for more in ({}, changes)}
    assert len(found) == 2


def test_what_a_resumed_run_may_change_is_no_part_of_it_also_where_it_is_added(monkeypatch):
    monkeypatch.setattr("snrkit.specs.run.EXTENSIBLE", EXTENSIBLE | {"keep_last"})
    assert Kept(keep_last=9, epochs=7).identity() == PLAIN.identity()


def test_an_option_added_to_an_estimator_renames_no_run_and_given_it_does():
    options = [{"beta": 0.3}, {"beta": 0.3, "gamma": 0.0}]
    found = [RunSpec(estimator=EstimatorSpec(name="ciwae", options=own), seed=4).identity() for own in options]
    assert found[0] == CIWAE.identity() != found[1]


def test_names_of_version_0_1_0():
    assert (PLAIN.identity(), CIWAE.identity()) == ("359782ab4a", "7876d61675")


def test_a_digest_is_of_what_is_said_and_not_of_its_order():
    content = told_apart(PLAIN, EXTENSIBLE)
    assert set(content) == set(SCHEMA_1)
    assert digest_of(json.loads(json.dumps(content))) == digest_of(dict(reversed(content.items()))) == PLAIN.identity()
