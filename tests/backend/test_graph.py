"""Captured steps, with a stand-in for CUDA that notes what is asked of it and replays by calling the step again."""

from contextlib import contextmanager, nullcontext

import pytest
import torch

from snrkit.backend import graph


class Stream:
    def wait_stream(self, other):
        pass


class Graph:
    """Replays what was called within ``torch.cuda.graph``."""

    replays = 0

    def replay(self):
        Graph.replays += 1
        self.output.copy_(self.again())


@pytest.fixture
def cuda(monkeypatch):
    """What was captured, and the devices made current."""
    record = {"capturing": None, "devices": []}

    @contextmanager
    def capturing(made):
        record["capturing"] = made
        yield
        record["capturing"] = None

    def device(of):
        record["devices"].append(of)
        return nullcontext()

    monkeypatch.setattr(Graph, "replays", 0)
    for name, stand_in in {
        "Stream": Stream, "current_stream": Stream, "stream": lambda _: nullcontext(), "CUDAGraph": Graph,
        "graph": capturing, "device": device,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return record


@pytest.mark.parametrize("sizes", [[5, 5, 3] * 4, [3] + [5, 5, 3] * 4], ids=["from the start", "from the last batch"])
def test_every_shape_is_captured_once_and_then_replayed(cuda, sizes):
    """Also where a resumed run begins with the smaller last batch of an epoch."""
    state, plain = torch.zeros(2), 0

    def step(x):
        nonlocal plain
        plain += cuda["capturing"] is None
        before = state.clone()
        state.add_(x.sum())
        made, found = cuda["capturing"], state.clone()
        if made is not None:
            made.output, made.again = found, lambda: step(x)
            state.copy_(before)
        return found

    taken = graph.CapturedStep(step, (state,))
    found = [float(taken(torch.ones(size))[0]) for size in sizes]
    assert found == torch.tensor(sizes).cumsum(0).tolist()
    assert Graph.replays == len(sizes)
    assert plain == len(sizes) + 2 * graph.WARM_UP


def test_it_is_captured_and_replayed_on_the_device_of_its_tensors(cuda):
    state = torch.zeros(2)

    def step(x):
        if cuda["capturing"] is not None:
            vars(cuda["capturing"]).update(output=state, again=lambda: state)
        return state

    graph.CapturedStep(step, (state,))(torch.ones(3))
    assert cuda["devices"] == [state.device]
