"""Estimators by the score and by sleep: each against one of the same mean, by paired draws on the toy; edges."""

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from snrkit.core.logweights import LogWeights
from snrkit.core.objective import Term, apart
from snrkit.diagnostics.plan import Plan
from snrkit.errors import CapabilityError, SpecError
from snrkit.estimators.base import Estimator, build_estimator
from snrkit.estimators.dreg import Dreg
from tests.support.estimators import title
from tests.support.rates import MOST, gradients
from tests.zoo import numbers

K = 6


@dataclass(frozen=True)
class FirstOf(Dreg):
    """dreg of the first samples alone."""

    name: ClassVar[str] = "first"
    count: int = 5

    def terms(self) -> tuple[Term, ...]:
        def alone(value):
            return lambda w: value(LogWeights.of({name: part[..., : self.count] for name, part in w.present().items()}))

        inference, generative = super().terms()
        return apart(inference=alone(inference.value), generative=alone(generative.value))


def of(name, **options):
    return build_estimator(name, options)


def phi(estimator):
    """Draws of 6 samples on the toy, ``[R, D]``."""
    return gradients(estimator, 1, K, MOST // K)["inference"]


def distance(one, other):
    """The largest difference of the means, in standard errors, of paired draws."""
    apart = one - other
    return float((apart.mean(dim=0).abs() / (apart.std(dim=0) / len(apart) ** 0.5)).max())


# What has the same mean as what, and at least how many times its variance.
SAME = [
    (of("rws"), of("rws-dreg"), 5),
    (of("vimco"), of("dreg"), 3),
    (of("vimco", geometric=0), of("dreg"), 10),
    (of("ovis-tilde"), of("dreg"), 2),
    (of("ovis-mc"), FirstOf(5), 2),
    (of("ovis-mc", S=3), FirstOf(3), 2),
    (of("reinforce"), of("dreg"), 1000),
    (of("rloo"), of("vae"), 0.2),  # as close to the optimum log w hardly varies
    (of("tvo", intervals=1), of("vae"), 0.2),
]


@pytest.mark.parametrize(("one", "other", "times"), SAME, ids=lambda v: title(v) if isinstance(v, Estimator) else "")
def test_the_same_mean_and_mostly_more_noise(one, other, times):
    first, second = phi(one), phi(other)
    assert 0 < distance(first, second) < 4.2
    assert float(first.var(dim=0).sum()) > times * float(second.var(dim=0).sum())


@pytest.mark.parametrize("one", [of("ovis-tilde", gamma=1), of("rws"), of("rws-dreg"), of("ovis-mc")], ids=title)
def test_another_mean_would_be_seen(one):
    assert distance(phi(one), phi(of("dreg"))) > (20 if one.name != "ovis-mc" else 6)


def test_dreg_and_rws_dreg_add_up_to_stl():
    torch.testing.assert_close(phi(of("dreg")) + phi(of("rws-dreg")), phi(of("stl")), rtol=1e-12, atol=1e-12)


def test_sleep_is_mixed_in_as_it_is_asked_for():
    wake, sleep = phi(of("rws")), phi(of("wake-sleep"))
    torch.testing.assert_close(phi(of("rws", sleep=0.25)), 0.75 * wake + 0.25 * sleep, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(phi(of("rws", sleep=1)), sleep, rtol=1e-10, atol=1e-12)


def test_one_interval_is_rloo():
    torch.testing.assert_close(phi(of("tvo", intervals=1)), phi(of("rloo")), rtol=1e-10, atol=1e-12)


def test_ovis_is_vimco_less_a_constant():
    log_w = 3 * numbers(1, 4, 2, K)
    apart = of("ovis-tilde").signal(log_w) - of("vimco", geometric=0).signal(log_w)
    torch.testing.assert_close(apart, torch.full_like(log_w, -math.log1p(-1 / K)), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_signals_where_one_weight_is_all(dtype):
    """1 - w~ is 0 in this precision; its logarithm is not -inf."""
    log_w = torch.tensor([0.0, -200.0, -210.0], dtype=dtype)
    assert float(1 - torch.softmax(log_w, 0)[0]) == 0
    for estimator in (
        of("vimco"),
        of("vimco", geometric=0),
        of("ovis-tilde"),
        of("ovis-tilde", gamma=1),
        of("reinforce"),
    ):
        assert torch.isfinite(estimator.signal(log_w)).all(), title(estimator)
    torch.testing.assert_close(
        of("ovis-tilde").signal(log_w)[0], torch.tensor(199.0, dtype=dtype), rtol=1e-4, atol=1e-4
    )


def test_a_geometric_mean_with_a_weight_of_zero_is_zero():
    log_w = torch.tensor([0.5, -0.3, -math.inf], dtype=torch.float64)
    found = of("vimco").signal(log_w)
    # In the place of the third the geometric mean of the first two, in theirs nothing.
    total = math.exp(0.5) + math.exp(-0.3)
    first = math.log(total / 3) - math.log(math.exp(-0.3) / 3) - math.exp(0.5) / total
    last = math.log(total / 3) - math.log((total + math.exp(0.1)) / 3)
    torch.testing.assert_close(found[[0, 2]], torch.tensor([first, last], dtype=torch.float64))
    assert torch.isfinite(found).all()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tvo", {"first": 0}, "must not be 0; give for example first=0.05"),
        ("tvo", {"first": 1.5}, r"must lie in \[0, 1\]"),
        ("tvo", {"intervals": 2.5}, "must be a whole number"),
        ("ovis-mc", {"S": 0}, r"must lie in \[1, inf\]"),
        ("ovis-tilde", {"gamma": 2}, r"must lie in \[0, 1\]"),
        ("vimco", {"geometric": 0.5}, "must be a whole number"),
        ("rws", {"sleep": -1}, r"must lie in \[0, 1\]"),
    ],
)
def test_options_out_of_range(name, options, message):
    with pytest.raises(SpecError, match=message):
        build_estimator(name, options)


@pytest.mark.parametrize(("name", "options", "least"), [("vimco", {}, 2), ("ovis-mc", {}, 3), ("ovis-mc", {"S": 4}, 6)])
def test_too_few_samples_are_refused(name, options, least):
    estimator = build_estimator(name, options)
    with pytest.raises(SpecError, match=f"{name} needs at least {least} samples, got {least - 1}"):
        Plan(estimators=(estimator,), K=(least - 1,))
    Plan(estimators=(estimator,), K=(least,))


def test_without_dreams_there_is_no_sleep():
    weights = LogWeights(numbers(1, 1, 1, K), numbers(2, 1, 1, K))
    with pytest.raises(CapabilityError, match="log_q_sleep: the weights lack it"):
        of("wake-sleep").terms()[0].value(weights)
