"""How the norm of the mean and the variance of a gradient fall with K on the Gaussian toy: what its SNR is made of."""

import numpy as np
import pytest

from snrkit.diagnostics.intervals import jackknife_stderr
from snrkit.diagnostics.slopes import fit
from snrkit.estimators.base import build_estimator
from tests.support.rates import gradients, moments

pytestmark = pytest.mark.slow

COUNTS = (100, 300, 1000)


def fitted(estimator, what):
    """The exponent of the norm of the mean of phi's gradient, or of its variance, with its jackknife error."""
    values = []
    for K in COUNTS:
        mean, variance, draws = moments(gradients(estimator, 1, K)["inference"])
        square = (mean**2 - variance / draws).sum(-1)
        values.append(np.sqrt(square) if what == "mean" else variance.sum(-1))
    slopes = fit(np.log(COUNTS), np.log(np.stack(values, axis=1)), np.ones(len(COUNTS)))
    return float(slopes[0]), float(jackknife_stderr(slopes[1:]))


CASES = [
    ("mean", "dreg", {}, -1),  # the gradient of the K-sample bound
    ("mean", "jvi", {"dreg": 1}, -2),  # of which the jackknife takes the first term away
    ("variance", "vae", {}, -1),
    ("variance", "iwae", {}, -1),
    ("variance", "dreg", {}, -3),
    ("variance", "jvi", {}, -1),  # which leaves the noise
    ("variance", "jvi", {"dreg": 1}, -5),
]


@pytest.mark.parametrize(("what", "name", "options", "exponent"), CASES, ids=str)
def test_exponent(what, name, options, exponent):
    found, stderr = fitted(build_estimator(name, options), what)
    assert stderr < 0.05
    # The next term of the expansion moves the steep ones most.
    assert abs(found - exponent) < 0.04 * abs(exponent) + 4 * stderr


@pytest.mark.parametrize(("what", "name", "options", "exponent"), CASES, ids=str)
def test_another_exponent_would_be_seen(what, name, options, exponent):
    found, stderr = fitted(build_estimator(name, options), what)
    for wrong in (exponent - 1, exponent + 1):
        assert abs(found - wrong) > 0.04 * abs(wrong) + 4 * stderr
