"""Draws of losses made by workers are those of one process, to the bit."""

import multiprocessing
import os
import weakref
from concurrent.futures import Future

import pandas as pd
import pytest
import torch
from torch import nn

import snrkit
from snrkit.backend.machine import Machine
from snrkit.errors import CapabilityError, SpecError
from snrkit.fleet.fleet import Fleet
from snrkit.fleet.hands import Futures, Processes
from snrkit.fleet.orders import serve_all
from snrkit.losses import crew

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
    with pytest.raises(SpecError, match="say send='cloudpickle'"):
        snrkit.measure_loss(loss, model, lambda: torch.randn(3, 4), executor=processes, **FEW)
    with pytest.raises(CapabilityError, match="leave out the executor"):
        snrkit.measure_loss(aside, model, x, executor=executor, **FEW)


class Steady(nn.Module):
    """A dropout whose batch normalisation moves, and which a policy may ask."""

    def __init__(self):
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 1)

    def forward(self, x):
        return self.head(torch.dropout(self.norm(self.body(x)), 0.5, self.training))


def several():
    torch.manual_seed(0)
    model, data = Steady(), torch.randn(60, 4)
    loader = iter(data.split(3) * 4)

    def policy():
        # What a model keeps decides which batch it is.
        return torch.randn(3, 4) + model.norm.running_mean.mean()

    return model, {"stateless": lambda: torch.randn(3, 4), "in turn": lambda: next(loader), "policy": policy}


@pytest.mark.parametrize("kind", ["stateless", "in turn", "policy"])
@pytest.mark.parametrize("repeats", [1, 2])
def test_batches_drawn_anew_are_those_of_one_process(processes, kind, repeats):
    few = {"draws": 24, "seed": 3, "repeats": repeats}
    (model, batches), (same, others) = several(), several()
    told = []
    alone = snrkit.measure_loss(loss, model, batches[kind], threads=1, **few)
    found = snrkit.measure_loss(
        loss, same, others[kind], executor=Fleet(processes.hands, "cloudpickle"),
        progress=lambda *step: told.append(step), **few,
    )  # fmt: skip
    pd.testing.assert_frame_equal(found.drop(columns="seconds"), alone.drop(columns="seconds"), check_exact=True)
    assert told[-1] == (24, 24, "loss")


class Counting(Futures):
    """One worker, which is this process; it counts the tasks whose batches are in memory when it is given another."""

    workers = 1

    def __init__(self):
        self.machine, self.tasks, self.most = Machine.here(), weakref.WeakSet(), 0

    def submit(self, orders, cargos, missing=()):
        self.most = max(self.most, len(self.tasks))
        found = Future()
        found.set_result(serve_all(orders, {digest: cargos[digest].content for digest in missing}))
        return found


def test_draws_are_made_again_for_the_dsnr_by_workers_alone(monkeypatch):
    few, x = {"draws": 60, "seed": 3, "dsnr": True, "M": [1, 3]}, torch.randn(3, 4, generator=torch.Generator())
    alone = snrkit.measure_loss(loss, net(), x, threads=1, **few)
    told = []
    monkeypatch.setattr("snrkit.losses.measuring.projected", None)
    found = snrkit.measure_loss(
        loss, net(), x, executor=Fleet(Counting(), "cloudpickle"), progress=lambda *step: told.append(step), **few
    )
    pd.testing.assert_frame_equal(found.drop(columns="seconds"), alone.drop(columns="seconds"), check_exact=True)
    assert set(found[found.metric == "dsnr"].M) == {1, 3}
    assert told[-1] == (120, 120, "loss")


@pytest.mark.parametrize(("blocks", "most"), [(2, 3), (5, 6)])
def test_batches_are_let_go_of_once_their_draws_are_there(monkeypatch, blocks, most):
    hands, made = Counting(), crew.Crew._of_batches

    def noted(self, numbers, batches):
        monkeypatch.setattr(crew, "_AHEAD", blocks * len(batches))
        task = made(self, numbers, batches)
        hands.tasks.add(task.read)
        return task

    monkeypatch.setattr(crew.Crew, "_of_batches", noted)
    few = {"draws": 40, "seed": 3}
    snrkit.measure_loss(loss, net(), lambda: torch.randn(3, 4), executor=Fleet(hands, "cloudpickle"), **few)
    assert blocks <= hands.most <= most
    assert not hands.tasks


def test_noise_that_is_an_argument_travels_by_itself(processes):
    def noisy(model, x, noise):
        return (model(x + noise)).square().mean()

    model, few = nn.Linear(4, 2), {"noise": (3, 4), "draws": 24}
    alone = snrkit.measure_loss(noisy, model, lambda: torch.randn(3, 4), threads=1, **few)
    found = snrkit.measure_loss(
        noisy, model, lambda: torch.randn(3, 4), executor=Fleet(processes.hands, "cloudpickle"), **few
    )
    assert set(found.engine) == {"vmap"}
    pd.testing.assert_frame_equal(found.drop(columns="seconds"), alone.drop(columns="seconds"), check_exact=True)


def test_a_worker_that_is_lost_gets_the_same_batches_again(tmp_path):
    """The first worker that comes to the marked batch dies there; a loader with state cannot give it again."""
    model, _ = several()
    data = torch.arange(12 * 3 * 4, dtype=torch.float32).view(12, 3, 4)

    def deadly(model, x):
        if x[0, 0] == data[7, 0, 0] and not (tmp_path / "died").exists() and multiprocessing.parent_process():
            (tmp_path / "died").touch()
            os._exit(9)
        return loss(model, x)

    few = {"draws": 24, "seed": 3}
    left, again = iter(data), iter(data)
    alone = snrkit.measure_loss({"loss": loss}, model, lambda: next(left), threads=1, **few)
    hands = Processes(2)
    found = snrkit.measure_loss(
        {"loss": deadly}, model, lambda: next(again), executor=Fleet(hands, "cloudpickle"), **few
    )
    hands.close(now=True)
    assert (tmp_path / "died").exists()
    pd.testing.assert_frame_equal(found.drop(columns="seconds"), alone.drop(columns="seconds"), check_exact=True)


def test_a_graph_of_gradients_cannot_travel(processes):
    model, executor = net(), Fleet(processes.hands, "cloudpickle")
    shifted = torch.ones(3, 4) + model[0].weight.mean()
    for batch in (shifted, lambda: torch.randn(3, 4) + model[0].weight.mean()):
        with pytest.raises(CapabilityError, match="batch: has a tensor that is computed from others"):
            snrkit.measure_loss(loss, model, batch, executor=executor, **FEW)

    def closed(model, x):
        return loss(model, x + shifted)

    with pytest.raises(CapabilityError, match="loss 'closed': has a tensor"):
        snrkit.measure_loss(closed, model, torch.ones(3, 4), executor=executor, **FEW)


def test_batches_that_come_to_an_end_are_told(processes):
    few = iter(torch.randn(3, 3, 4))
    with pytest.raises(SpecError, match="there is none left after 3"):
        snrkit.measure_loss(loss, net(), lambda: next(few), executor=Fleet(processes.hands, "cloudpickle"), **FEW)


@pytest.mark.slow
def test_large_batches_go_to_workers_of_a_cluster_beside_the_scheduler(client, monkeypatch):
    scattered, scatter = [], client.scatter

    def noted(content, **how):
        scattered.append(len(content))
        return scatter(content, **how)

    monkeypatch.setattr(client, "scatter", noted)
    model, few = nn.Linear(4, 1), {"draws": 12, "repeats": 2}
    alone = snrkit.measure_loss(loss, model, lambda: torch.randn(30000, 4), threads=1, **few)
    found = snrkit.measure_loss(loss, model, lambda: torch.randn(30000, 4), executor=client, send="cloudpickle", **few)
    pd.testing.assert_frame_equal(found.drop(columns="seconds"), alone.drop(columns="seconds"), check_exact=True)
    assert sum(size > 2 * 30000 * 4 * 4 for size in scattered) == 3  # a block of two batches each, and no station
