"""Many test points at once on the device against one at a time, and that nothing is read back between passes."""

import warnings

import numpy as np
import pytest
import torch

from snrkit.core.streams import Streams
from snrkit.evaluation import latents
from snrkit.evaluation.bounds import evaluate, point_scores, sample_log_weights
from snrkit.evaluation.passes import Pass, one_pass
from tests.contract.test_evaluation import built, same
from tests.contract.test_models import every
from tests.zoo import conv, hierarchical, images, mlp

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
CUDA = torch.device("cuda")


@every
def test_many_points_at_once_are_one_at_a_time(name, options):
    model, x = built(name, options, torch.float64)
    model, x = model.to(CUDA).eval(), x.to(CUDA)
    at_once = one_pass(model, x)
    assert at_once.many
    one, many = (point_scores(model, x, 130, Streams(0), at_once=each) for each in (Pass(50), at_once))
    same(many, one, 1e-10)


@pytest.mark.parametrize("make", [mlp, hierarchical, conv])
def test_nothing_is_read_back_between_passes(make):
    """The last of many passes is followed by the same reads as the only one of few."""
    model = make().to(CUDA)
    reads = []
    for points in (4, 40):
        x = images(points=points).to(CUDA)
        torch.cuda.synchronize()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                point_scores(model, x, 64, Streams(0), at_once=Pass(4 * 64, many=True))
            finally:
                torch.cuda.set_sync_debug_mode("default")
        reads.append(sum("synchroniz" in str(one.message) for one in caught))
    assert reads[0] == reads[1]


def test_log_weights_stream_within_a_point(monkeypatch):
    model, x = mlp().to(CUDA), images().to(CUDA)
    whole = sample_log_weights(model, x, 500, Streams(0), Pass(10**6))
    torch.testing.assert_close(sample_log_weights(model, x, 500, Streams(0), Pass(7)), whole, rtol=0, atol=1e-10)
    monkeypatch.setattr(latents, "MEAN_SAMPLES", 50)
    scores = {score.metric: score.value for score in evaluate(hierarchical().to(CUDA), x, 128, Streams(0))}
    assert np.isfinite(list(scores.values())).all()
