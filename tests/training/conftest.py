"""A run small enough to train in a moment: 23 points, batches of 5, so the last of 5 steps is a smaller batch."""

import pytest
import torch

from snrkit.config import RunSpec
from snrkit.results import RunDir
from snrkit.training.loop import train

CPU = torch.device("cpu")
STEPS = 5


def silent(done, total, note):
    pass


@pytest.fixture
def small():
    """The spec, with any settings changed."""

    def spec(**changes):
        data = {
            "data": {"name": "gaussian", "size": 23, "dim": 3},
            "model": {"name": "gaussian", "options": {"perturb": 0.3}},
            "estimator": {"name": "iwae", "M": 2, "K": 4},
            "epochs": 4, "batch_size": 5, "checkpoint_every": 3, "eval_points": 7,
        }  # fmt: skip
        return RunSpec.parse(data | changes, "test")

    return spec


@pytest.fixture
def go(tmp_path):
    """Train a spec in a named directory below the test's own."""

    def call(spec, name="run", resume=False, progress=silent):
        return train(spec, RunDir(tmp_path / name), data_dir=None, device=CPU, resume=resume, progress=progress)

    return call
