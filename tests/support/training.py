"""Trainers of small specs, and what training leaves behind."""

import json
import signal

import pytest
import torch

from snrkit.core.streams import Streams
from snrkit.data import load
from snrkit.evaluation.bounds import evaluate
from snrkit.interrupt import Interrupted
from snrkit.run import train
from snrkit.runs.checkpoint import load_checkpoint
from snrkit.runs.folder import RunDir
from snrkit.specs.run import RunSpec
from snrkit.training import opening
from snrkit.training.trainer import Trainer

CPU = torch.device("cpu")
TIMING = {"seconds", "images_per_second"}


def trainer(spec, tmp_path):
    dataset = load(spec.data, None)
    return Trainer(opening.resolve_spec(spec, dataset), dataset, RunDir(tmp_path / "run"), CPU, None)


def everything(out):
    """All that a sweep leaves behind, without timings: per run its tensors, its place and its metrics."""
    found = {}
    for folder in sorted(path for path in out.iterdir() if path.is_dir()):
        saved = load_checkpoint(folder)
        tensors = list(saved.model.values())
        tensors += [state[name] for state in saved.optimiser["state"].values() for name in sorted(state)]
        rows = [{k: v for k, v in row.items() if k not in TIMING} for row in RunDir(folder).read_metrics()]
        place = (saved.epoch, saved.step, saved.position, {k: v for k, v in saved.running.items() if k not in TIMING})
        status = json.loads(RunDir(folder).status.read_text())
        found[folder.name] = ([tensor.numpy().tobytes() for tensor in tensors], place, rows, status)
    return found


def learns(model, epochs, margin, tmp_path, estimator="iwae"):
    """Train a model on digits; see that it gains nats on test points, and that a stop and a resume change no bit.

    Args:
        model: the table of the spec.
        epochs: of 15 steps.
        margin: by how many nats the bound on 100 test points must exceed that of the model as it was initialised.
        tmp_path: where the runs go.
        estimator: with which it is trained, K = 3.
    """

    def spec(epochs):
        table = {"data": {"name": "digits", "binarise": "threshold"}, "estimator": {"name": estimator, "K": 3}}
        table |= {"optimiser": {"lr": 0.005}, "batch_size": 100, "epochs": epochs, "eval_points": 0}
        return RunSpec.parse(table | {"model": model}, "the test")

    def bound(run):
        scores = evaluate(run.model, run.points(100)[0], 128, Streams(0))
        return next(score.value for score in scores if score.metric == "iwae_64")

    def stop(done, total, note):
        if done == 15 * epochs // 2 + 1:
            signal.raise_signal(signal.SIGINT)

    whole = train(spec(epochs), tmp_path / "whole", device="cpu")
    fresh = train(spec(0), tmp_path / "fresh", device="cpu")
    before, after = bound(fresh), bound(whole)
    assert after > before + margin
    with pytest.raises(Interrupted):
        train(spec(epochs), tmp_path / "stopped", device="cpu", progress=stop)
    assert 0 < load_checkpoint(tmp_path / "stopped").position < 15
    again = train(spec(epochs), tmp_path / "stopped", device="cpu", resume=True)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value), name
