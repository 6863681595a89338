"""What is said of several runs covers at its level, whether they were measured on the same draws of the noise or not."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

import snrkit
from snrkit.models.gaussian import Gaussian
from snrkit.report.on_noise import _pair
from snrkit.report.repetitions import readings_over_seeds, shared_noise
from snrkit.runs.paired import Pair, differences
from tests.support.results import table

TRIALS, T19 = 1500, 2.093
# Runs, spread between them, share of the variance of a reading that is common where draws are shared; errors are 1.
CASES = [(2, 0.0, 1.0), (3, 0.0, 0.7), (3, 1.0, 0.7), (5, 0.3, 1.0), (5, 3.0, 0.5)]


def limit(level, trials=TRIALS):
    return level + 4 * math.sqrt(level * (1 - level) / trials)


def drawn(dice, runs, spread, rho, trials=TRIALS):
    """Truths and readings of runs, ``[trials, runs]`` each."""
    truths = spread * dice.standard_normal((trials, runs))
    common, own = dice.standard_normal((trials, 1)), dice.standard_normal((trials, runs))
    return truths, truths + math.sqrt(rho) * common + math.sqrt(1 - rho) * own


def seeds_of(runs, kind):
    return {"shared": [0] * runs, "apart": list(range(runs)), "some": [0, 0, *range(2, runs)]}[kind]


def frame(readings, seeds):
    """A setting for each trial, whose runs read ``[trials, runs]``, each with an error of 1."""
    row = table("demo", ["iwae"], (10,)).query("metric == 'snr_mean' and block == 'inference'").iloc[0].to_dict()
    trials, runs = readings.shape
    trial, run = np.divmod(np.arange(trials * runs), runs)
    return pd.DataFrame([row]).loc[[0] * trials * runs].reset_index(drop=True).assign(
        setting=[f"s{t}" for t in trial], run=[f"r{r}" for r in run], source=[f"r{r}/snr.parquet" for r in run],
        seed=np.array(seeds)[run], value=readings.ravel(), stderr=1.0, ci_low=readings.ravel() - 1.96,
        ci_high=readings.ravel() + 1.96,
    )  # fmt: skip


@pytest.mark.parametrize(("runs", "spread", "rho"), CASES)
@pytest.mark.parametrize("kind", ["shared", "apart", "some"])
def test_the_error_of_a_mean_over_runs_is_no_less_than_it_is(runs, spread, rho, kind):
    dice = np.random.default_rng([runs, len(kind)])
    seeds = seeds_of(runs, kind)
    truths, readings = drawn(dice, runs, spread, rho if kind == "shared" else 0.0, 300)
    if kind == "some":  # the first two of them are one and the same draw
        readings[:, 1] = truths[:, 1] + readings[:, 0] - truths[:, 0]
    found = readings_over_seeds(frame(readings, seeds))
    assert (found["runs"] == runs).all()
    variances = found["stderr"] ** 2
    true = (readings.mean(1)).var()
    error = true * math.sqrt(2 / 300) + variances.std() / math.sqrt(300)
    assert variances.mean() > true - 4 * error
    if kind == "apart":
        assert variances.mean() < true * 1.6 + 4 * error  # no less than one's own luck costs something
    below, above = found["ci_low"].to_numpy() > truths.mean(1), found["ci_high"].to_numpy() < truths.mean(1)
    assert (below | above).mean() <= limit(0.05, 300)


def told_apart(readings, seeds, pair):
    wrong = 0
    for own in readings:
        rows = pd.DataFrame({"who": range(len(own)), "seed": seeds, "value": own, "stderr": 1.0, "ci_low": own - T19,
                             "ci_high": own + T19})  # fmt: skip
        wrong += differences([pair(rows)])[0].verdict != "cannot tell"
    return wrong / len(readings)


@pytest.mark.slow
@pytest.mark.parametrize(("runs", "spread", "rho"), CASES)
@pytest.mark.parametrize("kind", ["shared", "apart"])
def test_no_difference_between_estimators_is_told_in_at_most_a_twentieth(runs, spread, rho, kind):
    dice = np.random.default_rng([runs, len(kind), 7])
    _, readings = drawn(dice, runs, spread, rho if kind == "shared" else 0.0, 250)
    assert told_apart(readings, seeds_of(runs, kind), _pair) <= limit(0.05, 250)


def test_taken_for_independent_shared_draws_tell_apart_what_is_equal():
    _, readings = drawn(np.random.default_rng(5), 5, 0.0, 1.0, 100)
    as_if = told_apart(readings, [0] * 5, lambda rows: Pair.of_values(rows["value"], 1.0, degrees=19, averages=True))
    assert as_if > 0.2
    assert told_apart(readings, [0] * 5, _pair) <= limit(0.05, 100)


def test_the_share_of_what_runs_have_in_common():
    who = pd.Series(["a", "b", "c", "c"])
    assert shared_noise(who[:3], pd.Series([0, 0, 0])) == pytest.approx(1)
    assert shared_noise(who[:3], pd.Series([0, 1, 2])) == 0
    assert shared_noise(who[:3], pd.Series([0, 0, 2])) == pytest.approx(4 / 9)
    # Two readings of one run on other draws weigh half each.
    assert shared_noise(who, pd.Series([0, 1, 0, 2])) == pytest.approx((1 / 3 + 1 / 6) ** 2)
    assert shared_noise(who[2:], pd.Series([0, 1], index=[2, 3])) == 0


@pytest.mark.parametrize("count", [1, 2, 8])
def test_runs_that_share_several_draws_have_the_error_of_the_mean_over_these(count):
    dice, runs, trials = np.random.default_rng([count, 11]), 3, 400
    luck = dice.standard_normal((trials, count))
    who, seeds = np.repeat(range(runs), count), np.tile(range(count), runs)
    found = []
    for own in luck:
        # What differs between the runs beside it is next to nothing, and keeps their spread from being none.
        values = np.tile(own, runs) + 1e-6 * dice.standard_normal(runs * count)
        rows = pd.DataFrame({"who": who, "seed": seeds, "value": values, "stderr": 1.0, "ci_low": values - T19,
                             "ci_high": values + T19})  # fmt: skip
        found += differences([_pair(rows)])
    true = 1 / math.sqrt(count)
    assert [one.stderr for one in found] == pytest.approx([true] * trials, rel=1e-3)
    values = np.array([one.value for one in found])
    assert abs(values.std() - true) < 4 * true / math.sqrt(2 * trials)
    missed = sum(not one.low <= 0 <= one.high for one in found) / trials
    assert missed <= limit(0.05, trials)


@pytest.mark.slow
def test_networks_near_one_optimum_share_most_of_the_luck_of_the_same_draws():
    torch.manual_seed(0)
    x = torch.randn(5, 3)
    models = [Gaussian.optimum(x.mean(0)) for _ in range(3)]
    for model in models:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))

    def read(model, seed):
        rows = snrkit.measure(model, x, "iwae", K=8, draws=40, seed=seed)
        return rows.query("metric == 'snr_mean' and block == 'inference'")["value"].item()

    trials = 12
    same = np.corrcoef([[read(model, seed) for seed in range(trials)] for model in models])
    other = np.corrcoef([[read(model, 100 * n + seed) for seed in range(trials)] for n, model in enumerate(models, 1)])
    pairs = np.triu_indices(3, 1)
    assert same[pairs].mean() > 0.25
    assert np.abs(other[pairs]).max() < 4 / math.sqrt(trials)


def test_the_error_of_three_runs_of_which_two_share_a_draw_by_hand():
    (found,) = readings_over_seeds(frame(np.array([[1.0, 2.0, 6.0]]), [0, 0, 1])).to_dict("records")
    # The spread, 7 over 3 runs, and of the variance 1 of a draw what a mean has in which it weighs two thirds.
    assert found["stderr"] == pytest.approx(math.sqrt(7 / 3 + (2 / 3) ** 2))
