"""The matrix library that a run began with is in its checkpoint, and the run goes on with it."""

import pytest
import torch

from snrkit.backend import kernels
from snrkit.diagnostics.measure import measure
from snrkit.errors import CheckpointError
from snrkit.models.base import build_model
from snrkit.models.summary import DataSummary
from snrkit.runs.checkpoint import load_checkpoint
from snrkit.runs.folder import RunDir
from snrkit.specs.run import ModelSpec

pytestmark = pytest.mark.skipif(not kernels.has_onednn(), reason="this torch has no oneDNN")


@pytest.fixture
def prefer(monkeypatch):
    """Has the kind of machine prefer a library."""

    def set_to(library):
        monkeypatch.setattr(kernels, "_onednn_is_faster", lambda: library == "onednn")

    return set_to


@pytest.fixture
def calls(monkeypatch):
    """Counts the products that took oneDNN."""
    found, own = [], kernels._onednn
    monkeypatch.setattr(kernels, "_onednn", lambda *args: found.append(1) or own(*args))
    return found


@pytest.fixture
def wide(small):
    """Specs of runs whose products are large enough for either library."""

    def spec(**changes):
        model = {"name": "mlp", "options": {"hidden": [120, 120], "latent": 5}}
        data = {"name": "digits", "train_limit": 40}
        return small(**{"model": model, "data": data, "batch_size": 20, "epochs": 2} | changes)

    return spec


@pytest.mark.parametrize(("first", "then"), [("torch", "onednn"), ("onednn", "torch")])
def test_a_resumed_run_keeps_to_the_library_it_began_with(wide, go, prefer, calls, tmp_path, first, then):
    prefer(first)
    whole = go(wide(), "whole")
    assert whole.kernels == first
    assert bool(calls) == (first == "onednn")
    go(wide(epochs=1), "parts")
    prefer(then)
    calls.clear()
    parts = go(wide(), "parts", resume=True)
    assert bool(calls) == (first == "onednn")
    assert parts.kernels == first
    assert all(torch.equal(whole.model[name], parts.model[name]) for name in whole.model)
    # Outside of it the kind of machine decides.
    assert kernels.chosen(torch.float32, torch.device("cpu")) == then


def test_where_there_is_no_choice_none_is_noted(wide, go):
    assert go(wide(dtype="float64", epochs=0)).kernels == ""


def test_a_checkpoint_from_before_it_was_noted_chooses_anew(wide, go, prefer, tmp_path):
    prefer("torch")
    go(wide(epochs=1))
    file = RunDir(tmp_path / "run").checkpoint
    content = torch.load(file, weights_only=True)
    del content["kernels"]
    torch.save(content, file)
    prefer("onednn")
    assert go(wide(), resume=True).kernels == "onednn"
    torch.save(content | {"kernels": "abacus"}, file)
    with pytest.raises(CheckpointError, match="kernels are 'abacus'"):
        load_checkpoint(file)


def test_a_machine_without_onednn_takes_the_other(monkeypatch):
    monkeypatch.setattr(kernels, "has_onednn", lambda: False)
    with kernels.using("onednn"):
        assert kernels.chosen(torch.float32, torch.device("cpu")) == "torch"


def test_blocks_that_another_library_drew_are_not_gone_on_with(prefer, monkeypatch):
    found, spec = [], ModelSpec(options={"hidden": [4], "latent": 2})
    monkeypatch.setattr("snrkit.diagnostics.prepared.fingerprint", lambda *args: found.append(args[2:]) or "name")
    for library in ("torch", "onednn"):
        prefer(library)
        for dtype in (torch.float32, torch.float64):
            model = build_model(spec, DataSummary(torch.full((3,), 0.5), False), 0).to(dtype)
            measure(model, torch.ones(2, 3, dtype=dtype), ["iwae"], [2], draws=8)
    single, double, other, again = found
    assert single != other
    assert double == again
