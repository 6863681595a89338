import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import snrkit
from snrkit.core import bounds
from snrkit.core.logweights import log_mean_exp
from snrkit.diagnostics.advise import advise, bound_gap
from snrkit.diagnostics.budget import affordable, cost_batch, settings
from snrkit.diagnostics.choosing import _best
from snrkit.diagnostics.intervals import jackknife_stderr, student
from snrkit.errors import SpecError
from snrkit.estimators.base import build_estimator
from snrkit.evaluation.cost import step_seconds
from tests.zoo import numbers, toy

BUDGET = 6
NAMES = ("vae", "iwae", "piwae", "dreg")


def estimators(*names):
    return [build_estimator(name, {}) for name in names or NAMES]


def near_toy():
    model, x = toy(points=5, perturb=0.05)
    return model, x


def test_settings_spend_the_whole_budget_once():
    found = settings(BUDGET, estimators())
    assert all(M * K == BUDGET for _, M, K in found)
    assert len(set(found)) == len(found)
    assert sum(e.name == "vae" for e, _, _ in found) == 1
    # With one importance sample iwae is vae.
    assert sum(e.name == "iwae" for e, _, _ in found) == 3
    assert sum(e.name == "iwae" for e, _, _ in settings(BUDGET, estimators("iwae", "dreg"))) == 4
    assert not any(e.name == "piwae" and M == 1 for e, M, _ in found)


def test_bound_gap_against_its_definition():
    log_w = numbers(1, 3, 24)
    reference = log_mean_exp(log_w)
    iwae = (reference - bounds.iwae(log_w.view(3, 8, 1, 3)).mean(1)).mean()
    assert bound_gap(build_estimator("iwae", {}), log_w, 2, 3) == pytest.approx(float(iwae))
    pooled = (reference - bounds.iwae(log_w.view(3, 4, 1, 6)).mean(1)).mean()
    assert bound_gap(build_estimator("piwae", {}), log_w, 2, 3) == pytest.approx(float(pooled))
    assert bound_gap(build_estimator("vae", {}), log_w, 1, 6) == pytest.approx(
        float((reference - log_w.mean(1)).mean())
    )


@pytest.mark.slow
def test_table_agrees_with_measure():
    model, x = near_toy()
    advice = advise(model, x, x, BUDGET, estimators("iwae", "piwae"), draws=100, seed=3)
    table = snrkit.measure(model, x, ["iwae"], K=[2, 6], M=[1, 3], draws=100, seed=3)
    value = table[table.metric == "snr_pooled"].set_index(["M", "K", "block"]).value
    rows = advice.table.set_index(["estimator", "M", "K"])
    assert rows.loc[("piwae", 3, 2), "snr_inference"] == pytest.approx(value[(3, 2, "inference")])
    assert rows.loc[("piwae", 3, 2), "snr_generative"] == pytest.approx(value[(1, 6, "generative")])
    assert (advice.table.seconds_per_step > 0).all()


@pytest.mark.slow
def test_clear_cases_are_decided_and_the_split_is_piwae():
    """With many draws: the inference network likes K = 1, the tightest bound is K = T, and both is a piwae."""
    model, x = near_toy()
    advice = advise(model, x, x, BUDGET, estimators("iwae", "piwae"), draws=4000, seed=1)
    answers = advice.recommendations.set_index("goal")
    assert answers.loc["inference network", "setting"] in ("iwae M=6 K=1", "piwae M=6 K=1")
    assert answers.loc["both networks", "setting"] == "piwae M=6 K=1"
    assert (
        answers.loc["generative network", "setting"].endswith("K=6")
        or "piwae" in answers.loc["generative network", "setting"]
    )
    gap = advice.table.set_index(["estimator", "M", "K"]).bound_gap
    assert gap[("iwae", 1, 6)] == gap.min()


def test_noise_gives_no_advice():
    model, x = toy(points=5, perturb=0.0)
    optimum = type(model).optimum(x.mean(0))
    advice = advise(optimum, x, x, 2, estimators("iwae"), draws=40, seed=0)
    row = advice.recommendations.set_index("goal").loc["inference network"]
    assert row.setting == ""
    assert "cannot tell, more draws needed" in row.reason
    assert row.draws_needed > 40 or math.isinf(row.draws_needed)


def test_a_tie_is_named():
    """iwae and dreg ascend the same bound with the same generative gradient: only the time of a step chooses."""
    model, x = near_toy()
    advice = advise(model, x, x, 2, estimators("iwae", "dreg"), draws=400, seed=1)
    answers = advice.recommendations.set_index("network")
    row = answers.loc["generative"]
    (other,) = {"iwae M=1 K=2", "dreg M=1 K=2"} - {row.setting}
    assert row.reason.endswith(f"; the generative gradient is the same with {other}, whose step took longer here")
    costs = advice.table.set_index(["estimator", "K"]).seconds_per_step
    assert costs[(row.setting.split()[0], 2)] < costs[(other.split()[0], 2)]
    assert "is the same with" not in answers.loc["inference"].reason


@pytest.mark.slow
def test_the_same_gradient_is_one_row_by_definition_or_by_its_draws():
    model, x = near_toy()
    table = advise(model, x, x, 4, estimators("vae", "iwae", "dreg", "stl"), draws=60, seed=1).table
    same = {f"{row.estimator} M={row.M} K={row.K}": row.same for row in table.itertuples()}
    assert same["vae M=1 K=4"] == "iwae M=4 K=1"
    assert "iwae M=4 K=1" not in same
    # Of two that cost the same either may be the cheaper by the clock.
    alike = {"dreg M=4 K=1", "stl M=4 K=1"}
    (kept,) = alike & set(same)
    assert {same[kept]} == alike - {kept}
    assert len(table) == 1 + 2 + 1 + 2 + 2


def test_the_margin_is_the_ratio_to_the_next_on_the_same_noise():
    model, x = near_toy()
    advice = advise(model, x, x, 6, estimators("iwae", "piwae"), draws=3000, seed=1)
    answers, table = advice.recommendations.set_index("network"), advice.table
    row = answers.loc["inference"]
    snr = {f"{own.estimator} M={own.M} K={own.K}": own.snr_inference for own in table.itertuples()}
    assert row.margin == pytest.approx(snr[row.setting] / snr[row.next])
    assert 1 < row.margin_low < row.margin < row.margin_high
    assert f"{row.margin:.3g} times that of the next, {row.next} (95 % interval {row.margin_low:.3g}" in row.reason
    assert math.isnan(answers.loc["generative"].margin) == (answers.loc["generative"].next == "")


def test_affordable_budget_and_cost():
    model, x = near_toy()
    iwae = build_estimator("iwae", {})
    before = {name: p.clone() for name, p in model.named_parameters()}
    assert step_seconds(model, iwae, x, 2, 3) > 0
    assert all(torch.equal(before[name], p) and p.grad is None for name, p in model.named_parameters())
    budget = affordable(model, x, 0.05)
    assert budget >= 1
    assert budget & (budget - 1) == 0
    with pytest.raises(SpecError, match="seconds: "):
        affordable(model, x, 1e-9)
    assert cost_batch(x, 12).shape == (12, x.shape[1])


def test_bad_budget():
    with pytest.raises(SpecError, match="budget: "):
        settings(0, estimators())


def reading(value, spread):
    replicates = value + spread * np.linspace(-1, 1, 20) / 19**0.5
    return SimpleNamespace(replicates=replicates, interval=student(value, float(jackknife_stderr(replicates)), 20))


@pytest.mark.parametrize(
    ("third", "told"),
    [
        (reading(0.7, 0.02), "iwae"),
        (reading(0.7, 0.6), None),
        (reading(-0.01, 0.02), "iwae"),
        (reading(-0.1, 1.5), None),
    ],
    ids=["worse", "known badly", "nothing but noise", "noise that may be anything"],
)
def test_the_best_stands_clear_of_all_others_and_not_of_the_next_alone(third, told):
    settings = [(build_estimator(name, {}), 1, 2) for name in ("iwae", "dreg", "stl")]
    readings = dict(zip(settings, [reading(1.0, 0.02), reading(0.8, 0.01), third], strict=True))
    found = SimpleNamespace(strength=lambda *setting: {"inference": readings[setting]})
    chosen = _best(settings, "inference", found, dict.fromkeys(settings, 1.0), 40, "why")
    assert (chosen["of"] and chosen["of"][0].name) == told
    assert chosen["next"].startswith("dreg" if told else "stl")
