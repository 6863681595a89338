"""Draws made by workers are those of one process, to the bit."""

import dataclasses
import os
import threading
from contextlib import suppress

import pandas as pd
import pytest
import torch

import snrkit
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.plan import Plan
from snrkit.diagnostics.store import Store
from snrkit.errors import ModelError, NonFiniteError, ResourceError, SpecError
from snrkit.estimators.iwae import Iwae
from snrkit.fleet.elsewhere import Elsewhere
from snrkit.fleet.fleet import Fleet, fleet_of
from snrkit.fleet.hands import Processes
from snrkit.interrupt import Interrupted
from snrkit.specs.measure import Execution
from tests.fleet.test_sweeps import trouble
from tests.zoo import toy

ONE = Execution(threads=1)
PLAN = Plan(estimators=("iwae", "dreg"), K=(2, 3), M=(1, 4), draws=12, seed=1, bias="bound", dsnr=True, how=ONE)
TABLES = ("table", "slopes", "comparisons", "kept")


def same(one, two):
    for name in TABLES:
        a, b = (getattr(found, name).drop(columns="seconds", errors="ignore") for found in (one, two))
        pd.testing.assert_frame_equal(a, b, check_exact=True)
    return True


@pytest.fixture(scope="module")
def alone():
    """What one process of one thread measures."""
    return diagnose(*toy(dim=3), PLAN)


def by(executor, plan=PLAN, model=None, **more):
    own, x = toy(dim=3)
    return diagnose(model or own, x, plan, elsewhere=Elsewhere(fleet_of(executor, "cloudpickle")), **more)


@pytest.mark.rest_slow
@pytest.mark.parametrize("kind", ["pool", "client"])
def test_workers_of_any_kind_give_the_numbers_of_one_process(request, kind, alone):
    found = by(request.getfixturevalue(kind))
    assert same(found, alone)
    assert set(found.table.threads) == {1}


@pytest.mark.slow
def test_what_stops_keeps_what_is_finished_and_goes_on(tmp_path, processes, alone):
    left = [12]

    def stop():
        left[0] -= 1
        return left[0] < 0

    with suppress(Interrupted):
        assert not by(Fleet(processes.hands, "cloudpickle"), folder=tmp_path / "blocks", stop=stop).complete
    kept = {path.name for path in (tmp_path / "blocks").glob("*.npz")}
    second = by(Fleet(processes.hands, "cloudpickle"), folder=tmp_path / "blocks")
    assert same(second, alone)
    assert kept <= {path.name for path in (tmp_path / "blocks").glob("*.npz")}


def test_kept_blocks_of_other_threads_are_not_used(tmp_path):
    model, x = toy(dim=3)
    plan = Plan(estimators="iwae", K=2, draws=12)
    for count in (1, 2):
        diagnose(model, x, plan.replaced(how=Execution(threads=count)), folder=tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 12


@pytest.mark.slow
def test_blocks_drawn_alone_serve_workers(tmp_path, processes, monkeypatch, alone):
    model, x = toy(dim=3)
    diagnose(model, x, PLAN, folder=tmp_path)
    monkeypatch.setattr(Store, "save", lambda *_: pytest.fail("a block was drawn again"))
    assert same(by(Fleet(processes.hands, "cloudpickle"), folder=tmp_path), alone)


class Broken(torch.nn.Module):
    """Raises once it is measured by workers, or gives no numbers."""

    def __init__(self, model, how):
        super().__init__()
        self.model, self.how = model, how

    def encode(self, x):
        return self.model.encode(x)

    def log_joint(self, x, z):
        found = self.model.log_joint(x, z)
        if z.shape[0] * z.shape[1] * z.shape[2] < 40:
            return found  # of a trial
        if self.how == "raise":
            raise RuntimeError("out of luck")
        return found * float("nan")


def test_what_a_model_raises_on_a_worker_is_told_as_its_own(processes):
    model, _ = toy(dim=3)
    plan = Plan(estimators="iwae", K=50, draws=12, how=ONE)
    with pytest.raises(ModelError, match="out of luck"):
        by(Fleet(processes.hands, "cloudpickle"), plan, Broken(model, "raise"))
    with pytest.raises(NonFiniteError):
        by(Fleet(processes.hands, "cloudpickle"), plan, Broken(model, "nan"))


class Deadly(torch.nn.Module):
    """Ends every process but the one that it was made in."""

    def __init__(self, model):
        super().__init__()
        self.model, self.here = model, os.getpid()

    def encode(self, x):
        return self.model.encode(x)

    def log_joint(self, x, z):
        if os.getpid() != self.here:
            os._exit(9)
        return self.model.log_joint(x, z)


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda *of, **by: snrkit.evaluate(*of, 130, **by), id="evaluate"),
        pytest.param(
            lambda *of, **by: snrkit.measure(*of, "iwae", K=2, draws=40, **by), id="measure", marks=pytest.mark.slow
        ),
    ],
)
def test_work_that_no_worker_survives_is_given_up_after_six_tries(ask):
    model, x = toy(dim=3)
    hands, begun = Processes(2), []
    renew = hands.renew
    hands.renew = lambda: (begun.append(1), renew())
    with pytest.raises(ResourceError, match="6 times at the same place; most often memory runs out"):
        ask(Deadly(model), x, executor=Fleet(hands, "cloudpickle"))
    hands.close(now=True)
    assert len(begun) == 6


@dataclasses.dataclass(frozen=True)
class Own(Iwae):
    """An estimator of one's own."""

    name = "own"


def test_what_is_of_ones_own_travels_with_consent_alone(processes):
    model, x = toy(dim=3)
    with pytest.raises(SpecError, match="say send='cloudpickle'"):
        snrkit.measure(model, x, "iwae", K=2, draws=12, executor=processes)
    with pytest.raises(SpecError, match="own is of your own"):
        snrkit.measure(model, x, Own(), K=2, draws=12, executor=processes)
    found = snrkit.measure(model, x, Own(), K=2, draws=12, executor=Fleet(processes.hands, "cloudpickle"))
    alone = snrkit.measure(model, x, Own(), K=2, draws=12, threads=1)
    pd.testing.assert_frame_equal(found.drop(columns="seconds"), alone.drop(columns="seconds"), check_exact=True)


@pytest.mark.slow
def test_workers_that_are_killed_and_stopped_change_nothing():
    model, x = toy(dim=3)
    plan = Plan(estimators=("iwae", "dreg"), K=(500, 1000), draws=400, how=ONE)
    alone = diagnose(model, x, plan)
    hands = Processes(8)
    threading.Thread(target=trouble, args=(hands, 3, 30), daemon=True).start()
    found = diagnose(model, x, plan, elsewhere=Elsewhere(Fleet(hands, "cloudpickle")))
    hands.close(now=True)
    assert same(found, alone)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers(workers, alone):
    hands = Processes(workers)
    found = by(Fleet(hands, "cloudpickle"))
    hands.close(now=False)
    assert same(found, alone)
