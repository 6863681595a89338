"""Whether the default engine is the right one: models of many kinds, each drawn by every engine."""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from analyses.speed.sections.reference import device
from analyses.speed.sections.timing import interleaved
from snrkit import DiagonalNormal, LatentModel, bernoulli_log_prob, standard_normal_log_prob
from snrkit.core.streams import Streams
from snrkit.diagnostics.engines import ENGINES
from snrkit.diagnostics.engines.base import pass_size
from snrkit.diagnostics.problem import Problem
from snrkit.errors import CapabilityError
from snrkit.estimators.base import build_estimator
from snrkit.models.mlp import Mlp

PIXELS, SIDE, DRAWS, BOUND = 784, 28, 50, 1.3


class Pictures(LatentModel):
    """Networks for images of 28 x 28 pixels, given in parts."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, x: Tensor) -> DiagonalNormal:
        """Mean and log standard deviation."""
        loc, log_scale = self.encoder(x).chunk(2, -1)
        return DiagonalNormal(loc, log_scale.exp())

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """A standard normal prior, Bernoulli pixels."""
        logits = self.decoder(z.flatten(0, -2)).view(*z.shape[:-1], PIXELS)
        return standard_normal_log_prob(z) + bernoulli_log_prob(x, logits)


class Recurrent(nn.Module):
    """Strips of an image from a recurrent cell, each step with the same input."""

    def __init__(self, latent: int, hidden: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.cell, self.out = nn.GRUCell(latent, hidden), nn.Linear(hidden, PIXELS // steps)

    def forward(self, z: Tensor) -> Tensor:
        """``[n, latent]`` to ``[n, pixels]``."""
        state, strips = None, []
        for _ in range(self.steps):
            state = self.cell(z, state)
            strips.append(self.out(state))
        return torch.cat(strips, dim=-1)


class Reader(nn.Module):
    """A recurrent encoder of the rows."""

    def __init__(self, hidden: int, latent: int) -> None:
        super().__init__()
        self.rows, self.head = nn.GRU(SIDE, hidden, batch_first=True), nn.Linear(hidden, 2 * latent)

    def forward(self, x: Tensor) -> Tensor:
        """``[n, pixels]`` to ``[n, 2 latent]``."""
        states, _ = self.rows(x.view(-1, SIDE, SIDE))
        last: Tensor = self.head(states[:, -1])
        return last


def dense(*widths: int, norm: bool = False) -> nn.Sequential:
    """Linear layers with tanh between them, and layer normalisation if asked for."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), *([nn.LayerNorm(fan_out)] if norm else []), nn.Tanh()]
    return nn.Sequential(*layers[: -2 if norm else -1])


def looking(channels: int, latent: int) -> nn.Sequential:
    """A convolutional encoder."""
    return nn.Sequential(
        nn.Unflatten(-1, (1, SIDE, SIDE)), nn.Conv2d(1, channels, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, 3, 2, 1), nn.ReLU(), nn.Flatten(-3), nn.Linear(98 * channels, 2 * latent),
    )  # fmt: skip


def painting(channels: int, latent: int, transposed: bool) -> nn.Sequential:
    """A convolutional decoder."""
    wide, narrow = 2 * channels, channels
    grow = (
        [nn.ConvTranspose2d(wide, narrow, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(narrow, 1, 4, 2, 1)]
        if transposed
        else [
            nn.Upsample(scale_factor=2), nn.Conv2d(wide, narrow, 3, 1, 1), nn.ReLU(),
            nn.Upsample(scale_factor=2), nn.Conv2d(narrow, 1, 3, 1, 1),
        ]
    )  # fmt: skip
    return nn.Sequential(nn.Linear(latent, 49 * wide), nn.Unflatten(-1, (wide, 7, 7)), nn.ReLU(), *grow)


MODELS: dict[str, Callable[[], LatentModel]] = {
    "mlp, 50 latents": lambda: Mlp(PIXELS, (200, 200), 50),
    "mlp, 500 latents": lambda: Pictures(dense(PIXELS, 200, 1000), dense(500, 200, PIXELS)),
    "mlp, 2,000 latents": lambda: Pictures(dense(PIXELS, 200, 4000), dense(2000, 200, PIXELS)),
    "mlp, 4,096 latents": lambda: Pictures(dense(PIXELS, 200, 8192), dense(4096, 200, PIXELS)),
    "small mlp": lambda: Pictures(dense(PIXELS, 6, 8), dense(4, 5, PIXELS)),
    "layer normalisation": lambda: Pictures(dense(PIXELS, 200, 40, norm=True), dense(20, 200, PIXELS, norm=True)),
    "convolutional encoder": lambda: Pictures(looking(16, 16), dense(16, 200, PIXELS)),
    "conv, transposed": lambda: Pictures(looking(16, 16), painting(16, 16, transposed=True)),
    "conv, upsampled": lambda: Pictures(looking(16, 16), painting(16, 16, transposed=False)),
    "conv, upsampled, 32": lambda: Pictures(looking(32, 16), painting(32, 16, transposed=False)),
    "recurrent decoder": lambda: Pictures(dense(PIXELS, 100, 32), Recurrent(16, 64, 14)),
    "recurrent encoder": lambda: Pictures(Reader(64, 16), dense(16, 200, PIXELS)),
}


def run() -> tuple[str, list[dict[str, Any]]]:
    """One row per model and K."""
    rows = [_row(name, K) for name in MODELS for K in (1, 10, 100)]
    over = [row for row in rows if row["default / better"] > BOUND]
    text = (
        f"Milliseconds per draw of {DRAWS} draws of one data point with their moments, by each engine. The default\n"
        "(factors) hands parts or all of a model to the others by a predicted cost; `served` says what served.\n"
        f"Slower than {BOUND} times the better of loop and vmap: {len(over)} of {len(rows)}."
    )
    return text, rows


def _row(name: str, K: int) -> dict[str, Any]:
    torch.manual_seed(0)
    model = MODELS[name]().to(device())
    x = (torch.rand(1, PIXELS) < 0.2).float().to(device())
    problem, estimator = Problem.units(model, x, K, Streams(0)), build_estimator("iwae", {})
    size = pass_size(problem, estimator, None)
    engines = {engine: ENGINES.load(engine)() for engine in ("factors", "vmap", "loop")}

    def call(engine: str, draws: int) -> Callable[[], object]:
        return lambda: engines[engine].moments(problem, estimator, range(1), range(draws), size)

    calls = {"factors": (call("factors", DRAWS), DRAWS), "loop": (call("loop", DRAWS // 5), DRAWS // 5)}
    try:
        call("vmap", 2)()
        calls["vmap"] = call("vmap", DRAWS), DRAWS
    except CapabilityError:
        pass
    ms = {engine: found.median for engine, found in interleaved(calls).items()}
    served = sorted(set(engines["factors"].serving(problem, estimator).values()))
    better = min(value for engine, value in ms.items() if engine != "factors")
    return {
        "model": name, "K": K, "default": ms["factors"], "loop": ms["loop"], "vmap": ms.get("vmap", float("nan")),
        "served": " + ".join(served), "default / better": ms["factors"] / better,
    }  # fmt: skip
