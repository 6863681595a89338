"""Every registered model with every registered estimator: measured alike by all engines, or refused with what works."""

import pytest
import torch

from snrkit.core.streams import Streams
from snrkit.diagnostics.engines import ENGINES
from snrkit.diagnostics.engines.base import PassSize
from snrkit.diagnostics.engines.loop import LoopEngine
from snrkit.diagnostics.measure import measure
from snrkit.diagnostics.problem import Problem
from snrkit.errors import CapabilityError, SpecError
from snrkit.estimators import ESTIMATORS
from snrkit.estimators.base import build_estimator
from snrkit.models.base import build_model
from snrkit.specs.run import ModelSpec
from snrkit.trial.needs import unmet
from snrkit.trial.opening import opened
from tests.contract.test_models import CASES, data_of

DRAWS, WHOLE = range(2, 5), PassSize(units=4, samples=10**6)
# Options at which an estimator asks for other things than at its defaults.
VARIANTS = {
    "jvi": [{"dreg": 1}],
    "rws": [{"sleep": 0.5}],
    "vimco": [{"geometric": 0}],
    "vr-iwae": [{"detached": 1}],
    "ovis-tilde": [{"gamma": 1}],
}
OPTIONED = [(name, options) for name in ESTIMATORS.names for options in [{}, *VARIANTS.get(name, [])]]
OTHERS = [name for name in ENGINES.names if name != LoopEngine.name]


def estimator_and_samples(name, options):
    """The estimator, and the smallest K from 5 on that it works with."""
    estimator = build_estimator(name, options)
    for K in range(5, 100):
        try:
            estimator.require_samples(K)
        except SpecError:
            continue
        return estimator, K
    raise AssertionError(f"{name} works with no K below 100")


def made(name, options):
    x, summary = data_of(name, options)
    return build_model(ModelSpec(name=name, options=options), summary, 3).double(), x


def relative(one, other):
    norm = other.norm()
    return float((one - other).norm() / norm) if norm else float(one.norm())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_measured_or_refused(name, options):
    model, x = made(name, options)
    assert _measured(model, x, OPTIONED) >= 4


def test_a_few_of_them_with_bits():
    """What asks for most: two that are measured, of which one dreams, and two that are refused."""
    few = [("vimco", {}), ("rws", {"sleep": 0.5}), ("iwae", {}), ("vae-analytic", {})]
    assert _measured(*made("sbn", {"widths": [3, 2]}), few) == 2


def _measured(model, x, estimators):
    """How many of them are measured; each of the others is refused."""
    with opened(model, x, "evaluation") as subject:
        findings = subject.findings
    measured = 0
    for estimator_name, own in estimators:
        estimator, K = estimator_and_samples(estimator_name, own)
        if problem := unmet(estimator.needs, findings):
            _refused(model, x, estimator, K, problem, findings)
            continue
        measured += 1
        _alike(model, x, estimator, K)
    return measured


def _refused(model, x, estimator, K, problem, findings):
    with pytest.raises(CapabilityError) as caught:
        measure(model, x, estimators=[estimator], K=[K], draws=4)
    assert caught.value.problem == problem
    advised = caught.value.remedy.removeprefix("choose ").split(", ")
    assert advised
    assert all(not unmet(build_estimator(other, {}).needs, findings) for other in advised)


def _alike(model, x, estimator, K):
    problem = Problem.units(model, x[:2], K, Streams(3), dreams=estimator.needs.sleep)
    groups = range(2)
    expected = LoopEngine().moments(problem, estimator, groups, DRAWS, WHOLE)
    few = LoopEngine().moments(problem, estimator, groups, DRAWS, PassSize(units=1, samples=2))
    found = {"in portions": few}
    for engine in OTHERS:
        found[engine] = ENGINES.load(engine)().moments(problem, estimator, groups, DRAWS, WHOLE)
    for way, own in found.items():
        for kind in ("mean", "m2"):
            for at, (one, other) in enumerate(zip(getattr(own, kind), getattr(expected, kind), strict=True)):
                # Of a tensor that is zero but for rounding nothing can be said relative to itself.
                scale = max(float(tensor.norm()) for tensor in getattr(expected, kind))
                close = relative(one, other) <= 1e-10 or float((one - other).norm()) <= 1e-13 * scale
                assert close, (estimator.name, estimator.describe(), way, problem.layout.names[at], kind)
    assert any(bool(torch.any(m2 != 0)) for m2 in expected.m2)
