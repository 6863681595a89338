"""One training step against what is written by hand, and against the limit."""

from typing import Any

import numpy as np
import torch

from analyses.speed.sections import peers
from analyses.speed.sections.crews import BATCH, random_bytes, steps, trainer
from analyses.speed.sections.reference import DECODER, device, limit, reference
from analyses.speed.sections.sizes import Sizes
from analyses.speed.sections.timing import Timing, interleaved

M, K = 8, 8


def run(sizes: Sizes) -> tuple[str, list[dict[str, Any]]]:
    """One row."""
    gflops = max(limit().values())
    text = (
        f"Batch {BATCH}, M = K = 8, Adam, {sizes.steps} steps in a row, against a minimal hand-written PyTorch step.\n"
        "The limit is the matrix products at the faster kernel's speed."
    )
    model, _ = reference()
    dataset = random_bytes(60_000)
    run = trainer({"name": "miwae", "M": M, "K": K}, dataset)
    run.begin_epoch()
    images = torch.from_numpy(dataset.train / np.float32(255)).to(device())
    by_hand, n = peers.training_step(model, images, M, K), sizes.steps
    calls = {"hand": (lambda: [by_hand() for _ in range(n)], n), "ours": (steps([run], n), n)}
    timing = interleaved(calls, sizes.row_s)
    return text, [_row("training step", timing, 3 * 2 * BATCH * M * K * DECODER / 1e6 / gflops)]


def _row(what: str, timing: dict[str, Timing], ideal: float) -> dict[str, Any]:
    ours, hand = timing["ours"], timing["hand"]
    return {
        "what": what, "by hand, ms": hand.median, "snrkit, ms": ours.median, "ratio": hand.median / ours.median,
        "share of the limit": ideal / ours.median, "range": f"{ours.low:.3g} to {ours.high:.3g}",
        "rounds": ours.rounds, "rounds repeated": ours.repeated,
    }  # fmt: skip
