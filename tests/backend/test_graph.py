"""Captured steps, with a stand-in for CUDA that notes what is asked of it and replays by calling the step again."""

from contextlib import contextmanager, nullcontext

import pytest
import torch

from snrkit.backend import graph
from snrkit.errors import CapabilityError


class Stream:
    waits = 0

    def wait_stream(self, other):
        Stream.waits += 1


class Graph:
    """Replays what was called within ``torch.cuda.graph``."""

    replays = 0

    def replay(self):
        Graph.replays += 1
        self.again()


@pytest.fixture
def cuda(monkeypatch):
    """What is being captured, the devices made current, and whether waiting for the device is an error."""
    record = {"capturing": None, "devices": [], "waiting": 0}

    @contextmanager
    def capturing(made):
        record["capturing"] = made
        yield
        record["capturing"] = None

    def device(of):
        record["devices"].append(of)
        return nullcontext()

    monkeypatch.setattr(Graph, "replays", 0)
    monkeypatch.setattr(Stream, "waits", 0)
    for name, stand_in in {
        "Stream": Stream, "current_stream": Stream, "stream": lambda _: nullcontext(), "CUDAGraph": Graph,
        "graph": capturing, "device": device, "get_sync_debug_mode": lambda: record["waiting"],
        "set_sync_debug_mode": lambda mode: record.update(waiting=mode),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return record


class Counting:
    """A step that adds to a sum, and notes it in a table at a place that it moves on."""

    def __init__(self, cuda, steps):
        self.cuda, self.calls = cuda, 0
        self.sum, self.place, self.table = torch.zeros(()), torch.zeros(1, dtype=torch.int64), torch.zeros(steps)
        self.state = (self.sum, self.place, self.table)

    def __call__(self, points):
        if self.cuda["capturing"] is not None:
            self.cuda["capturing"].again = lambda: self(points)
            return
        self.calls += 1
        self.sum.add_(points)
        self.table.index_copy_(0, self.place, self.sum[None])
        self.place.add_(1)


@pytest.mark.parametrize("sizes", [[5, 5, 3] * 4, [3] + [5, 5, 3] * 4, [5, 3]], ids=["many", "last batch", "few"])
def test_every_number_of_points_is_captured_once_and_then_replayed(cuda, sizes):
    """Also where a resumed run begins with the smaller last batch of an epoch, and where the table has no row to spare."""
    own = Counting(cuda, len(sizes))
    taken = graph.CapturedStep(own, own.state)
    for size in sizes:
        taken(size)
    assert own.table.tolist() == torch.tensor(sizes).cumsum(0).tolist()
    assert Graph.replays == len(sizes)
    assert own.calls == len(sizes) + 2 * graph.WARM_UP
    assert taken.why_not == ""
    assert cuda["waiting"] == 0


def test_it_is_captured_and_replayed_on_the_device_of_its_tensors(cuda):
    own = Counting(cuda, 1)
    graph.CapturedStep(own, own.state)(3)
    assert cuda["devices"] == [own.sum.device]


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_step_that_waits_for_the_device_is_called_as_it_is(cuda, wrapped):
    """After what was begun on the stream beside it; also where the error comes as one of several runs at once."""
    own = Counting(cuda, 4)

    def step(points):
        if cuda["waiting"] == "error":
            problem = "called a synchronizing CUDA operation"
            raise CapabilityError("model", problem, "be slow") if wrapped else RuntimeError(f"{problem}\nand more")
        own(points)

    taken = graph.CapturedStep(step, own.state)
    for size in (5, 5, 3, 5):
        taken(size)
    assert own.table.tolist() == [5, 10, 13, 18]
    assert "called a synchronizing CUDA operation" in taken.why_not
    assert "\n" not in taken.why_not
    assert Stream.waits == 2
    assert Graph.replays == cuda["waiting"] == 0
    assert own.calls == 4 + graph.WARM_UP - 1


def test_where_memory_runs_out_the_state_is_as_before(cuda):
    own = Counting(cuda, 4)

    def step(points):
        own(points)
        raise torch.OutOfMemoryError("CUDA out of memory")

    taken = graph.CapturedStep(step, own.state)
    with pytest.raises(torch.OutOfMemoryError):
        taken(5)
    assert own.sum == own.place == 0
    assert not own.table.any()
