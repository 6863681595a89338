"""Trainers of small specs, and what training leaves behind."""

import json

import torch

from snrkit.data import load
from snrkit.runs.checkpoint import load_checkpoint
from snrkit.runs.folder import RunDir
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
