"""Draws of losses made by workers are those of one process, to the bit."""

import pandas as pd
import pytest
import torch
from torch import nn

import snrkit
from snrkit.errors import CapabilityError, SpecError
from snrkit.fleet.fleet import Fleet

FEW = {"draws": 12, "seed": 3}


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5), nn.Linear(5, 1))


def loss(model, x):
    return (model(x) + 0.1 * torch.randn(len(x), 1)).square().mean()


@pytest.mark.slow
def test_the_same_numbers(processes):
    model, x = net(), torch.ones(3, 4)
    alone = snrkit.measure_loss(loss, model, x, threads=1, dsnr=True, **FEW)
    executor = Fleet(processes.hands, "cloudpickle")
    found = snrkit.measure_loss(loss, model, x, executor=executor, dsnr=True, **FEW)
    pd.testing.assert_frame_equal(found.drop(columns="seconds"), alone.drop(columns="seconds"), check_exact=True)


@pytest.mark.slow
def test_what_workers_cannot_do_is_refused(processes):
    model, x, own = net(), torch.ones(3, 4), torch.Generator()
    executor = Fleet(processes.hands, "cloudpickle")

    def aside(model, x):
        return model(x + torch.randn(3, 4, generator=own)).mean()

    with pytest.raises(SpecError, match="say send='cloudpickle'"):
        snrkit.measure_loss(loss, model, x, executor=processes, **FEW)
    with pytest.raises(CapabilityError, match="draws batches anew"):
        snrkit.measure_loss(loss, model, lambda: torch.randn(3, 4), executor=executor, **FEW)
    with pytest.raises(CapabilityError, match="leave out the executor"):
        snrkit.measure_loss(aside, model, x, executor=executor, **FEW)
