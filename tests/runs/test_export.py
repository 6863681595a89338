"""The compact copy of a run: what it keeps, and what it is good for."""

import pytest
import torch

from snrkit.errors import CheckpointError
from snrkit.runs.checkpoint import load_checkpoint
from snrkit.runs.export import export
from snrkit.runs.folder import RunDir

CPU = torch.device("cpu")


@pytest.fixture
def copy(small, go, tmp_path):
    go(small(epochs=2))
    return export(RunDir(tmp_path / "run"), tmp_path / "out")


def test_weights_are_rounded_to_half_precision_and_measured_in_their_own(copy, tmp_path):
    kept, model = load_checkpoint(tmp_path / "run"), load_checkpoint(copy.path).restore_model(CPU)
    for name, value in model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, kept.model[name].half().float())
        assert not torch.equal(value, kept.model[name])


def test_it_is_smaller_and_complete(copy, tmp_path):
    run = RunDir(tmp_path / "run")
    assert copy.name == run.name
    assert {path.name for path in copy.path.iterdir()} == {path.name for path in run.path.iterdir()} - {".lock"}
    assert copy.checkpoint.stat().st_size < run.checkpoint.stat().st_size
    for one, other in zip(copy.read_metrics(), run.read_metrics(), strict=True):
        assert one == pytest.approx(other, rel=1e-6)
        assert one.keys() == other.keys()


def test_a_finished_copy_is_not_trained_further(copy, small, go, tmp_path):
    assert go(small(epochs=2), f"out/{copy.name}", resume=True).epoch == 2
    with pytest.raises(CheckpointError, match="exported copy"):
        go(small(epochs=3), f"out/{copy.name}", resume=True)
