"""Readings where the draws were made: the numbers of the host, from a device whose memory they do not leave."""

import numpy as np
import pytest
import torch

from snrkit.diagnostics.arrays import place
from snrkit.diagnostics.arrays.device import DeviceArrays
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.moments import Moments, PointMoments
from snrkit.diagnostics.plan import Plan
from tests.diagnostics.test_arrays import assert_same, blocks_of, evidence_of, readings
from tests.zoo import images, mlp

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
CUDA = torch.device("cuda")


@pytest.mark.parametrize("lender", [False, True], ids=["own means", "lent means"])
@pytest.mark.parametrize("G", [2, 7, 20])
def test_every_metric_of_every_block_is_that_of_the_host(G, lender):
    with np.errstate(invalid="ignore", divide="ignore"):
        one, other = (readings(evidence_of(G, where, lender)) for where in (None, CUDA))
    assert_same(one, other)


def test_moments_stay_on_the_device_where_it_has_room(monkeypatch):
    assert place.place_of(CUDA, 1000, 20) == CUDA
    assert place.place_of(CUDA, 10**11, 20) is None
    assert isinstance(Moments(blocks_of(1, 4), None, CUDA)._arrays, DeviceArrays)
    monkeypatch.setattr(place, "_free", lambda device: 0)
    assert place.place_of(CUDA, 1000, 20) is None


def test_kept_blocks_give_the_same_table_bit_for_bit(tmp_path):
    """Some blocks then come from files, and all readings are still made on the device."""
    plan = Plan(estimators=("iwae", "dreg"), K=(1, 5), draws=60, seed=2, bias="bound")
    first, again = (diagnose(mlp().to("cuda"), images(), plan, folder=tmp_path).table for _ in range(2))
    np.testing.assert_array_equal(first.value, again.value)
    np.testing.assert_array_equal(first.stderr, again.stderr)


def test_float32_draws_are_added_up_in_float64():
    draws = 3 + 1e-3 * torch.randn(11, 2, 30, generator=torch.Generator().manual_seed(1))
    found = PointMoments()
    for part in (draws[:4], draws[4:]):
        found.add([part.cuda()])
    torch.testing.assert_close(found.mean[0].cpu(), draws.double().mean(0), rtol=1e-13, atol=0)
    torch.testing.assert_close(found.m2[0].cpu(), 10 * draws.double().var(0), rtol=1e-11, atol=0)
