"""Estimators that a user writes: measured on the noise that their terms name, and refused in one sentence."""

from dataclasses import dataclass

import pytest
import torch

import snrkit
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.plan import Plan
from snrkit.errors import SpecError
from snrkit.estimators.iwae import Iwae
from tests.zoo import toy

ASKED = {"K": [4], "draws": 40}


@dataclass(frozen=True)
class Own(Iwae):
    name = "own"


@dataclass(frozen=True)
class Apart(Iwae):
    """Whose inference network ascends on samples of its own, by definition."""

    name = "apart"

    def terms(self):
        value = self.own_bound
        return snrkit.Term("inference", value, noise="own"), snrkit.Term("generative", value)


@pytest.mark.parametrize("direct", [False, True])
def test_a_term_with_noise_of_its_own_is_measured_on_it(direct):
    model, x = toy(points=2)
    key = ["block", "metric", "scope"]
    apart = diagnose(model, x, Plan(estimators=[Apart()], direct=direct, **ASKED)).table.set_index(key)["value"]
    separate = Plan(estimators=[Own()], samples="separate", direct=direct, **ASKED)
    assert apart.equals(diagnose(model, x, separate).table.set_index(key)["value"])
    shared = diagnose(model, x, Plan(estimators=[Own()], direct=direct, **ASKED)).table.set_index(key)["value"]
    assert "all" in shared.index.get_level_values("block")
    assert "all" not in apart.index.get_level_values("block")
    assert apart["inference", "snr_mean", "minibatch"] != shared["inference", "snr_mean", "minibatch"]


class Plain(snrkit.Estimator):
    name = "plain"
    theory = Iwae().theory

    def bound(self, log_w):
        return log_w.mean((-1, -2))


@dataclass(frozen=True)
class Nameless(Plain):
    name = None


@dataclass(frozen=True)
class WithTerms(Plain):
    given: tuple = ()

    def terms(self):
        return tuple(snrkit.Term(network, self.own_bound) for network in self.given)


@dataclass(frozen=True)
class Scalar(Plain):
    def bound(self, log_w):
        return log_w.mean()


@dataclass(frozen=True)
class PerGroup(Plain):
    def bound(self, log_w):
        return log_w.mean(-1)


@dataclass(frozen=True)
class ScalarTerm(Iwae):
    name = "scalar-term"

    def terms(self):
        return tuple(
            snrkit.Term(network, lambda weights: weights.log_w.mean()) for network in ("inference", "generative")
        )


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        (Plain(), "Plain is no dataclass"),
        (Nameless(), "Nameless has no name"),
        (WithTerms(("inference",)), "no term for the generative network"),
        (WithTerms(("inference", "inference")), "'inference' is the network of two"),
        (WithTerms(("encoder", "generative")), "'encoder' is no network"),
        (Scalar(), r"plain.bound: gives \[\] of log-weights"),
        (PerGroup(), "one number for each data point"),
        (ScalarTerm(), "terms: gives"),
    ],
)
def test_what_an_estimator_lacks_is_told(estimator, words):
    model, x = toy(points=2)
    with pytest.raises(SpecError, match=words):
        snrkit.measure(model, x, estimators=[estimator], **ASKED)


def test_a_bound_that_is_not_finite_of_weights_that_are_is_its_own_fault():
    @dataclass(frozen=True)
    class Lost(Iwae):
        name = "lost"

        def bound(self, log_w):
            return super().bound(log_w) * torch.nan

    model, x = toy(points=1)
    with pytest.raises(snrkit.errors.NonFiniteError, match="lost's bound is not finite at K=4 in 40 of 40 draws"):
        snrkit.measure(model, x, estimators=[Lost()], **ASKED)
