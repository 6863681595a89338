"""Where z has no path through the parameters: what stands for the gradient of a bound, what lends its mean, advice."""

import math

import pytest
import torch

from snrkit.diagnostics.advise import BY_SCORES, CANDIDATES, advise, candidates
from snrkit.diagnostics.means import source_of
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.plan import Plan
from snrkit.errors import CapabilityError, SpecError
from snrkit.estimators.base import build_estimator
from snrkit.specs.measure import Execution
from tests.support.enumeration import NETWORKS, Enumerated, network
from tests.zoo import toy

K, BIASES = 3, ("bias_squared", "bias_norm")


def of(name, **options):
    return build_estimator(name, options)


def measured(draws=1000, **asked):
    model, x = network()
    return diagnose(model, x, Plan(draws=draws, K=(K,), blocks=NETWORKS, how=Execution(engine="vmap"), **asked))


def value(found, estimator, metric, block="inference"):
    rows = found.table.query(f"estimator == '{estimator}' and metric == '{metric}' and block == '{block}'")
    return None if rows.empty else rows.iloc[0]


@pytest.fixture(scope="module")
def biases():
    return measured(estimators=("rws", "ovis-tilde", "ovis-mc", "rloo", "wake-sleep"), bias="bound", metrics=BIASES)


@pytest.mark.slow
def test_the_target_is_had_from_scores_and_named(biases):
    row = value(biases, "rws", "bias_norm")
    assert row.target == "gradient of its own bound, from ovis-tilde draws"
    assert value(biases, "wake-sleep", "bias_norm").target == "gradient of its own bound, from rloo draws"
    for name in ("ovis-tilde", "rloo"):
        assert value(biases, name, "bias_norm") is None, name


def test_biases_are_those_of_the_enumeration(biases):
    """Of rws, of ovis-mc, whose mean is the gradient of a looser bound, and of dreams; theta has none."""
    exact = Enumerated(*network(), K)

    def log_mean(samples):
        bound = exact.first(samples).mean(lambda w: (torch.logsumexp(w.log_w, -1) - math.log(samples)).flatten())
        return exact.gradient(bound)["inference"]

    rws = exact.fixed(lambda w: (torch.softmax(w.log_w.detach(), -1) * w.log_q).sum((1, 2, 3)))
    expected = {"rws": exact.gradient(rws)["inference"] - log_mean(3), "ovis-mc": log_mean(2) - log_mean(3)}
    expected["wake-sleep"] = exact.gradient(exact.sleep())["inference"] - log_mean(1)
    for name, apart in expected.items():
        row = value(biases, name, "bias_squared")
        assert abs(row.value - float(apart.square().sum())) < 4.2 * row.stderr, name
        assert abs(value(biases, name, "bias_squared", "generative").value) < 1e-20, name


def test_what_is_biased_and_has_no_target_is_said():
    found = measured(40, estimators=("tvo", "rws"), bias="bound", metrics=BIASES)
    assert any("no bias of tvo, since no estimator here has the gradient" in remark for remark in found.remarks)
    assert value(found, "tvo", "bias_norm") is None
    with pytest.raises(SpecError, match="bias: no estimator here has the gradient of the bound of tvo"):
        Plan(estimators=("tvo",), K=(K,), bias="bound")
    with pytest.raises(SpecError, match="bias: iwae has by definition no bias"):
        Plan(estimators=("iwae",), K=(K,), bias="bound")


def test_too_few_samples_for_the_target_are_refused():
    model, x = network()
    with pytest.raises(SpecError, match="ovis-tilde needs at least 2 samples, got 1"):
        diagnose(model, x, Plan(estimators=("reinforce",), K=(1,), bias="bound", draws=40))


def test_with_a_path_the_target_is_the_plain_gradient():
    for name, plain, scored in (("vimco", "iwae", "ovis-tilde"), ("rloo", "vae", None)):
        assert source_of(of(name), pathless=False) == of(plain)
        assert source_of(of(name), pathless=True) == (None if scored is None else of(scored))
    assert source_of(of("ovis-tilde", gamma=1), pathless=True) == of("ovis-tilde")
    assert source_of(of("tvo", intervals=1), pathless=True) == of("rloo")


def test_a_mean_is_lent_by_what_is_right_for_it():
    lent = measured(60, estimators=("reinforce", "vimco"), mean_from="ovis-tilde", metrics=("mean_norm",))
    own = measured(60, estimators=("ovis-tilde",), metrics=("mean_norm",))
    for network_ in NETWORKS:
        norms = [
            value(f, n, "mean_norm", network_) for f, n in ((lent, "vimco"), (lent, "reinforce"), (own, "ovis-tilde"))
        ]
        assert len({None if row is None else round(row.value, 12) for row in norms}) == 1
    with pytest.raises(CapabilityError, match="dreg: needs a reparameterised proposal"):
        measured(40, estimators=("vimco",), mean_from="dreg")
    with pytest.raises(SpecError, match="ovis-tilde has not the same mean as rws"):
        Plan(estimators=("rws",), K=(K,), mean_from="ovis-tilde")


def test_candidates_are_those_that_are_right():
    assert [e.name for e in candidates(*network())] == list(BY_SCORES)
    assert [e.name for e in candidates(*toy())] == list(CANDIDATES)


@pytest.mark.slow
def test_advice_for_bits():
    """Settings with enough samples only; dreams averaged once; a recommendation that is no gradient of a bound says so."""
    model, x = network()
    named = [of(name) for name in ("rws", "wake-sleep", "rloo", "vimco")]
    found = advise(model, x, x, 8, named, draws=400, seed=2)
    settings = list(zip(found.table.name, found.table.M, found.table.K, strict=True))
    every = [(name, M, K) for name in ("rws", "rloo", "vimco") for M, K in ((4, 2), (2, 4), (1, 8))]
    assert sorted(settings) == sorted([*every, ("wake-sleep", 1, 8)])
    assert found.table.snr_inference.notna().all()
    reasons = found.recommendations.set_index("network")
    assert set(reasons.index) == {"inference", "generative", "both"}
    chosen = reasons.loc["both"]
    assert chosen.setting.startswith("rws") == ("is no gradient of its bound" in chosen.reason)
