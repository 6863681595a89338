"""What is found of a model at hand by workers is what one process finds, to the bit."""

import pandas as pd
import pytest
import torch

import snrkit
from snrkit.errors import NonFiniteError, SpecError
from snrkit.evaluation import portions
from snrkit.fleet.fleet import Fleet
from tests.zoo import images, mlp, toy


@pytest.fixture
def few(monkeypatch):
    """Portions of two points."""
    monkeypatch.setattr(portions, "_MOST", 2)


@pytest.mark.parametrize("made", [lambda: toy(points=7), lambda: (mlp(), images(points=5))])
def test_an_evaluation_of_any_model(few, processes, made):
    model, x = made()
    alone = snrkit.evaluate(model, x, 300, seed=2, threads=1)
    told = []
    workers = Fleet(processes.hands, "cloudpickle")
    found = snrkit.evaluate(model, x, 300, seed=2, executor=workers, progress=lambda *step: told.append(step))
    pd.testing.assert_frame_equal(found, alone, check_exact=True)
    assert told[-1] == (len(x), len(x), "points")
    assert len(told) == len(x) // 2


def test_an_evaluation_without_consent_is_refused(processes):
    with pytest.raises(SpecError, match="say send='cloudpickle'"):
        snrkit.evaluate(*toy(), 130, executor=processes)
    with pytest.raises(SpecError, match="threads: must be at least 1"):
        snrkit.evaluate(*toy(), 130, threads=0)


class Partial(torch.nn.Module):
    """Gives the points with positive coordinates no weight, or no number."""

    def __init__(self, model, value):
        super().__init__()
        self.model, self.value = model, value

    def encode(self, x):
        return self.model.encode(x)

    def log_joint(self, x, z):
        # Of some samples alone: all of them would be an error.
        return torch.where(z[..., 0] > 1, self.value, self.model.log_joint(x, z))


def test_weights_of_zero_on_workers_are_no_damage(few, processes):
    model, x = toy()
    own, workers = Partial(model, -torch.inf), Fleet(processes.hands, "cloudpickle")
    alone, found = snrkit.evaluate(own, x, 300, threads=1), snrkit.evaluate(own, x, 300, executor=workers)
    assert alone.value["elbo"] == -torch.inf
    pd.testing.assert_frame_equal(found, alone, check_exact=True)


def test_what_is_no_number_on_a_worker_is_told_as_here(few, processes):
    class Late(Partial):
        def log_joint(self, x, z):
            return super().log_joint(x, z) if z.numel() > 2000 else self.model.log_joint(x, z)

    with pytest.raises(NonFiniteError, match="NaN or infinite at"):
        snrkit.evaluate(Late(toy()[0], torch.nan), toy()[1], 600, executor=Fleet(processes.hands, "cloudpickle"))


def test_advice_of_any_model(processes):
    model, x = toy(dim=3)
    asked = {"budget": 2, "estimators": ["vae", "iwae"], "draws": 12}
    alone = snrkit.advise(model, x, **asked, threads=1)
    found = snrkit.advise(model, x, **asked, executor=Fleet(processes.hands, "cloudpickle"))
    apart = "seconds_per_step"
    pd.testing.assert_frame_equal(found.table.drop(columns=apart), alone.table.drop(columns=apart), check_exact=True)
    assert set(found.measurement.table.threads) == {1}
    with pytest.raises(SpecError, match="say send='cloudpickle'"):
        snrkit.advise(model, x, **asked, executor=processes)
