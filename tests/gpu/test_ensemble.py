"""The captured step of an ensemble against the same step uncaptured, and its members against runs alone."""

import pytest
import torch

from snrkit.backend.graph import CapturedStep
from snrkit.data import load
from snrkit.runs.folder import RunDir
from snrkit.specs.run import RunSpec
from snrkit.training import ensemble
from snrkit.training.loop import run_epochs
from snrkit.training.opening import begin, resolve_spec
from snrkit.training.trainer import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
CUDA = torch.device("cuda")
ESTIMATORS = [("vae", 8, 1), ("iwae", 1, 8), ("piwae", 2, 4)]


def trainers(folder):
    made = []
    for seed, (name, M, K) in enumerate(ESTIMATORS):
        # 23 points in batches of 5: the last of 5 steps is a smaller batch, which is run uncaptured.
        spec = RunSpec.parse(
            {
                "data": {"name": "digits", "train_limit": 23},
                "model": {"name": "mlp", "options": {"hidden": [7], "latent": 3}},
                "estimator": {"name": name, "M": M, "K": K},
                "epochs": 3, "batch_size": 5, "eval_points": 7, "dtype": "float64", "seed": seed,
            },
            "test",
        )  # fmt: skip
        dataset = load(spec.data, None)
        trainer = Trainer(resolve_spec(spec, dataset), dataset, RunDir(folder / f"run{seed}"), CUDA, None)
        begin(trainer.run_dir, trainer.spec, CUDA, 0)
        made.append(trainer)
    return made


def go(crew):
    run_epochs(crew, lambda: False, lambda *_: None, lambda *_: None)


def states(members):
    return [{name: value.cpu() for name, value in member.model.state_dict().items()} for member in members]


def close(one, other):
    for a, b in zip(one, other, strict=True):
        for name in a:
            assert (a[name] - b[name]).norm() <= 1e-10 * b[name].norm()


def test_captured_is_uncaptured_and_members_are_the_runs_alone(tmp_path, monkeypatch):
    captured = ensemble.Ensemble(trainers(tmp_path / "a"), tmp_path / "a" / "marker")
    assert isinstance(captured._advance, CapturedStep)
    go(captured)
    with monkeypatch.context() as patch:
        patch.setattr(ensemble, "captured", lambda step, state: step)
        plain = ensemble.Ensemble(trainers(tmp_path / "b"), tmp_path / "b" / "marker")
        go(plain)
    close(states(captured.members), states(plain.members))
    alone = trainers(tmp_path / "c")
    for trainer in alone:
        assert trainer.feed.ahead > 1
        go(trainer)
    close(states(captured.members), states(alone))
