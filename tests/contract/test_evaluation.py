"""Many test points at once, as a GPU computes them, against one at a time, for every registered model, here on the CPU."""

import numpy as np
import pytest
import torch

from snrkit.core.streams import Streams
from snrkit.evaluation.bounds import PointScores, point_scores
from snrkit.evaluation.passes import Pass, bytes_per_sample, pass_within, takes_many
from snrkit.models.base import build_model
from snrkit.specs.run import ModelSpec
from tests.contract.test_models import data_of, every

SAMPLES = 130
ONE, MANY = Pass(2048), Pass(2 * SAMPLES + 1, many=True)
NAMES = ("elbo", "iwae_64", "log_p", "ess_64", "ess", "zero_weights")


def built(name, options, dtype):
    x, summary = data_of(name, options)
    x = torch.cat([x, x.flip(0)[:2]])  # five: the last pass of two is of one
    return build_model(ModelSpec(name=name, options=options), summary, 3).to(dtype), x.to(dtype)


def same(one: PointScores, other: PointScores, rtol: float) -> None:
    for name in NAMES:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=rtol, atol=rtol, err_msg=name)
    for a, b in zip(one.layers, other.layers, strict=True):
        np.testing.assert_allclose(a.means, b.means, rtol=rtol, atol=rtol)
        np.testing.assert_allclose(a.variances, b.variances, rtol=10 * rtol, atol=rtol)


@every
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=["float32", "float64"])
def test_many_points_at_once_are_one_at_a_time(name, options, dtype, rtol):
    model, x = built(name, options, dtype)
    one, many = (point_scores(model, x, SAMPLES, Streams(0), at_once=at_once) for at_once in (ONE, MANY))
    same(many, one, rtol)


@every
def test_registered_models_are_taken_many_at_once(name, options):
    model, x = built(name, options, torch.float32)
    model.eval()
    with torch.no_grad():
        shape = model.noise_shape(x)
        assert takes_many(model, x, shape)
        each = bytes_per_sample(model, x, shape)
    assert each >= 4 * x.shape[1]
    assert pass_within(model, x, 4000 * each) == Pass(1000, many=True)
