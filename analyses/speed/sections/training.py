"""One training step and one evaluated image against what is written by hand, and against the limit."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analyses.speed.sections import peers
from analyses.speed.sections.reference import DECODER, device, limit, reference
from analyses.speed.sections.timing import interleaved
from snrkit.core.streams import Streams
from snrkit.data.base import Dataset
from snrkit.evaluation.bounds import sample_log_weights
from snrkit.runs.folder import RunDir
from snrkit.specs.run import RunSpec
from snrkit.training.opening import resolve_spec
from snrkit.training.trainer import Trainer

M, K, BATCH, SAMPLES = 8, 8, 20, 5000


def run() -> tuple[str, list[dict[str, Any]]]:
    """Two rows."""
    gflops = max(limit().values())
    text = (
        f"Training: batch {BATCH}, M = K = 8, Adam, against a minimal hand-written PyTorch step. Evaluation: {SAMPLES:,}\n"
        "samples of one image, their noise and log-weights. The limit is the matrix products at the faster kernel's speed."
    )
    return text, [_step(gflops), _evaluation(gflops)]


def _step(gflops: float) -> dict[str, Any]:
    model, _ = reference()
    pixels = np.random.default_rng(0).integers(0, 256, (20_000, 784), dtype=np.uint8)
    dataset = Dataset("random", pixels, pixels[:10], "grey", (28, 28), "random bytes")
    spec = RunSpec.model_validate({"estimator": {"name": "miwae", "M": M, "K": K}, "batch_size": BATCH})
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(resolve_spec(spec, dataset), dataset, RunDir(Path(folder)), device(), None)
    trainer.begin_epoch()
    by_hand = peers.training_step(model, torch.from_numpy(pixels / np.float32(255)).to(device()), M, K)
    timing = interleaved({
        "hand": (lambda: [by_hand() for _ in range(20)], 20),
        "ours": (lambda: [trainer.take_step() for _ in range(20)], 20),
    })  # fmt: skip
    return _row("training step", timing, 3 * 2 * BATCH * M * K * DECODER / 1e6 / gflops)


def _evaluation(gflops: float) -> dict[str, Any]:
    model, x = reference()

    def by_hand() -> None:
        with torch.no_grad():
            parameters = dict(model.named_parameters())
            peers.bound(parameters, x, torch.randn(SAMPLES, 50, device=x.device))

    timing = interleaved({
        "hand": (by_hand, 1),
        "ours": (lambda: sample_log_weights(model, x, SAMPLES, Streams(0)), 1),
    })  # fmt: skip
    return _row("evaluate, per image", timing, 2 * SAMPLES * DECODER / 1e6 / gflops)


def _row(what: str, timing: dict[str, Any], ideal: float) -> dict[str, Any]:
    ours, hand = timing["ours"], timing["hand"]
    return {
        "what": what, "by hand, ms": hand.median, "snrkit, ms": ours.median, "ratio": hand.median / ours.median,
        "share of the limit": ideal / ours.median, "range": f"{ours.low:.3g} to {ours.high:.3g}",
        "rounds repeated": ours.repeated,
    }  # fmt: skip
