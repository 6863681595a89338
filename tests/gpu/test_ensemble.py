"""Captured steps against the same steps uncaptured, of runs alone and side by side; stops, and what waits for the device."""

from contextlib import suppress

import pytest
import torch

from snrkit.backend.graph import CapturedStep
from snrkit.data import load
from snrkit.interrupt import Interrupted
from snrkit.runs.checkpoint import load_checkpoint
from snrkit.runs.folder import RunDir
from snrkit.specs.run import RunSpec
from snrkit.training.ensemble import Ensemble
from snrkit.training.loop import run_epochs
from snrkit.training.opening import begin, resolve_spec
from snrkit.training.trainer import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
CUDA, CPU = torch.device("cuda"), torch.device("cpu")
ESTIMATORS = [("vae", 8, 1), ("iwae", 1, 8), ("piwae", 2, 4)]
# 23 points in batches of 5: the last of 5 steps is a smaller batch, which has a graph of its own.
TABLE = {
    "data": {"name": "digits", "train_limit": 23},
    "model": {"name": "mlp", "options": {"hidden": [7], "latent": 3}},
    "epochs": 3, "batch_size": 5, "eval_points": 7, "checkpoint_every": 100,
}  # fmt: skip


def trainer(folder, number=0, way=None, device=CUDA, **changes):
    name, M, K = ESTIMATORS[number]
    table = TABLE | {"estimator": {"name": name, "M": M, "K": K}, "dtype": "float64", "seed": number} | changes
    spec = RunSpec.parse(table, "test")
    dataset, run = load(spec.data, None), RunDir(folder / f"run{number}")
    previous = load_checkpoint(run.path) if run.checkpoint.exists() else None
    made = Trainer(resolve_spec(spec, dataset), dataset, run, device, previous, way=way)
    begin(run, made.spec, device, made.epoch)
    return made


def ensemble(folder, way=None, **changes):
    return Ensemble([trainer(folder, e, **changes) for e in range(len(ESTIMATORS))], folder / "marker", way=way)


def go(crew, steps=None):
    last = None if steps is None else crew.step + steps
    with suppress(Interrupted):
        run_epochs(crew, lambda: crew.step == last, lambda *_: None, lambda *_: None)
    return crew


def state(folder, number=0):
    return load_checkpoint(folder / f"run{number}").model


def distance(one, other):
    return max(float((one[name] - other[name]).norm() / other[name].norm()) for name in other)


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in other)


@pytest.mark.parametrize("number", range(len(ESTIMATORS)))
def test_a_captured_run_is_the_plain_run(tmp_path, number):
    """At rates that change after the first epoch."""
    optimiser = {"schedule": "burda", "lr": 0.01, "clip": 5.0}
    captured = go(trainer(tmp_path / "captured", number, optimiser=optimiser))
    assert isinstance(captured._ahead.advance, CapturedStep)
    assert captured._ahead.advance.why_not == ""
    assert captured.feed.ahead > 1
    for way in ("ahead", "plain"):
        go(trainer(tmp_path / way, number, way, optimiser=optimiser))
        assert distance(state(tmp_path / "captured", number), state(tmp_path / way, number)) <= 1e-10
    rows = [RunDir(tmp_path / way / f"run{number}").read_metrics() for way in ("captured", "plain")]
    for one, other in zip(*rows, strict=True):
        assert one["bound"] == pytest.approx(other["bound"], rel=1e-10)


def test_captured_members_are_the_uncaptured_ones_and_the_runs_alone(tmp_path):
    captured = go(ensemble(tmp_path / "captured"))
    assert captured._ahead.advance.why_not == ""
    go(ensemble(tmp_path / "ahead", "ahead"))
    go(ensemble(tmp_path / "plain", "plain"))
    for number in range(len(ESTIMATORS)):
        go(trainer(tmp_path / "alone", number))
        for way in ("ahead", "plain", "alone"):
            assert distance(state(tmp_path / "captured", number), state(tmp_path / way, number)) <= 1e-10


@pytest.mark.parametrize("make", [trainer, ensemble])
@pytest.mark.parametrize("steps", [3, 7])
def test_a_stop_within_a_block_changes_no_bit(tmp_path, make, steps):
    go(make(tmp_path / "whole", dtype="float32"))
    go(make(tmp_path / "stopped", dtype="float32"), steps)
    assert load_checkpoint(tmp_path / "stopped" / "run0").step == steps
    go(make(tmp_path / "stopped", dtype="float32"))
    assert equal(state(tmp_path / "stopped"), state(tmp_path / "whole"))


def test_a_run_goes_on_from_a_card_to_a_processor_and_back(tmp_path):
    for device, steps in ((CUDA, 7), (CPU, 2), (CUDA, None)):
        go(trainer(tmp_path, device=device), steps)
    assert load_checkpoint(tmp_path / "run0").step == 15
    assert RunDir(tmp_path / "run0").read_metrics()[-1]["epoch"] == 3


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("make", [trainer, ensemble])
def test_steps_wait_for_nothing(tmp_path, make):
    """Once captured, until the bounds are read; a block that is drawn anew does not wait either."""
    crew = make(tmp_path, data={"name": "digits", "train_limit": 100})
    for own in getattr(crew, "members", [crew]):
        own.feed.ahead = 4
    crew.begin_epoch()
    crew.take_step()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(10):
            crew.take_step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert crew.step == 11


def test_a_member_that_fails_stands_still(tmp_path):
    crew = ensemble(tmp_path)
    crew.begin_epoch()
    crew.take_step()
    before = {name: value.clone() for name, value in crew.members[1].model.state_dict().items()}
    wrong = crew.members[1]
    crew._ahead._held[0][1, 1] *= float("nan")
    go(crew)
    assert list(crew.failed) == ["run1"]
    assert "at step 1 " in crew.failed["run1"]
    assert equal(wrong.model.state_dict(), before)
    go(ensemble(tmp_path / "whole"))
    for number in (0, 2):
        assert distance(state(tmp_path, number), state(tmp_path / "whole", number)) <= 1e-10


def test_tf32_is_not_float32_and_close_to_it(tmp_path):
    wide = {"dtype": "float32", "model": {"name": "mlp", "options": {"hidden": [256], "latent": 64}}}
    for precision in ("float32", "tf32"):
        go(trainer(tmp_path / precision, 1, precision=precision, **wide))
    found = distance(state(tmp_path / "tf32", 1), state(tmp_path / "float32", 1))
    assert 0 < found < 0.5
    assert torch.backends.cuda.matmul.fp32_precision != "tf32"
