"""Learning rates over epochs."""

from itertools import groupby

import pytest

from snrkit.specs.run import OptimiserSpec
from snrkit.specs.schedule import learning_rate
from snrkit.training.trainer import Trainer

BURDA = OptimiserSpec(schedule="burda", lr=1e-3)


def test_constant():
    assert {learning_rate(OptimiserSpec(lr=0.25), epoch) for epoch in (0, 1, 5000)} == {0.25}


def test_burdas_stages_rates_and_epochs():
    stages = [(rate, len(list(run))) for rate, run in groupby(learning_rate(BURDA, epoch) for epoch in range(3280))]
    assert [length for _, length in stages] == [3**i for i in range(8)]
    assert [rate for rate, _ in stages] == pytest.approx([1e-3 * 10 ** (-i / 7) for i in range(8)], rel=1e-12)
    # As rounded in Burda's own code.
    assert [float(f"{rate:.1e}") for rate, _ in stages] == [1e-3, 7.2e-4, 5.2e-4, 3.7e-4, 2.7e-4, 1.9e-4, 1.4e-4, 1e-4]


@pytest.mark.parametrize(
    ("stage", "first", "last"),
    [(0, 1, 1), (1, 2, 4), (2, 5, 13), (3, 14, 40), (4, 41, 121), (5, 122, 364), (6, 365, 1093), (7, 1094, 3280)],
)
def test_burdas_epochs_counted_from_one(stage, first, last):
    rate = pytest.approx(1e-3 * 10 ** (-stage / 7), rel=1e-12)
    assert learning_rate(BURDA, first - 1) == rate
    assert learning_rate(BURDA, last - 1) == rate
    assert learning_rate(BURDA, last) < 0.8 * learning_rate(BURDA, first - 1)


def test_training_follows_the_schedule(small, go, monkeypatch):
    rates = []
    step = Trainer._step
    monkeypatch.setattr(Trainer, "_step", lambda self, x: (rates.append(self.state.rate), step(self, x))[1])
    go(small(epochs=6, batch_size=12, optimiser={"schedule": "burda", "lr": 1e-3}))
    expected = [1e-3] * 2 + [1e-3 * 10 ** (-1 / 7)] * 6 + [1e-3 * 10 ** (-2 / 7)] * 4
    assert rates == pytest.approx(expected, rel=1e-12)
