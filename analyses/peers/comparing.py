"""Gradients of a plain loop, what they say, and how far that is from a table."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from sklearn.datasets import load_digits
from torch import Tensor

METRICS = "variance", "snr_pooled_squared"
_BLOCKS = 20
BAR = 4


def digits(points: int) -> Tensor:
    """The first digits, binarised: ``[points, 64]``."""
    return torch.from_numpy(load_digits().data[:points] > 8).float()


def loop(
    step: Callable[[], Any], networks: Mapping[str, Sequence[Tensor]], draws: int, seed: int, scale: float = 1.0
) -> dict[str, Tensor]:
    """Gradients that a step leaves in ``.grad``, each network's as rows ``[draws, P]``.

    Args:
        step: computes a loss and calls its ``backward``.
        networks: parameters by name.
        draws: how many.
        seed: of torch's generator, once.
        scale: what gradients are multiplied by.
    """
    torch.manual_seed(seed)
    rows: dict[str, list[Tensor]] = {name: [] for name in networks}
    for _ in range(draws):
        for parameters in networks.values():
            for parameter in parameters:
                parameter.grad = None
        step()
        for name, parameters in networks.items():
            found = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
            rows[name].append(torch.cat([gradient.flatten() for gradient in found]) * scale)
    return {name: torch.stack(found) for name, found in rows.items()}


def readings(rows: Tensor) -> dict[str, tuple[float, float]]:
    """Metric to (value, standard error) of gradients ``[draws, P]``, by a jackknife over blocks of draws."""
    parts = torch.stack([part.double() for part in rows.split(len(rows) // _BLOCKS)])
    size = parts.shape[1]
    means, squares = parts.mean(dim=1), parts.var(dim=1, correction=0)

    def of(kept: list[int]) -> Tensor:
        draws, mean = size * len(kept), means[kept].mean(dim=0)
        within = squares[kept].mean(dim=0) + means[kept].var(dim=0, correction=0)
        variance = within.sum() * draws / (draws - 1)
        return torch.stack([variance, (mean.square().sum() - variance / draws) / variance])

    every = list(range(len(parts)))
    left = torch.stack([of([j for j in every if j != i]) for i in every])
    errors = ((len(every) - 1) * left.var(dim=0, correction=0)).sqrt()
    return {name: (float(v), float(e)) for name, v, e in zip(METRICS, of(every), errors, strict=True)}


def compared(what: str, table: pd.DataFrame, rows: Mapping[str, Tensor]) -> Iterator[dict[str, Any]]:
    """A row for every block and metric: measured, by hand, and the distance in standard errors."""
    for block, gradients in rows.items():
        for metric, (own, error) in readings(gradients).items():
            found = table[(table.block == block) & (table.metric == metric) & (table.scope == "minibatch")]
            (row,) = found.itertuples()
            z = (row.value - own) / math.hypot(row.stderr, error)
            yield {
                "what": what, "block": block, "metric": metric, "measured": row.value, "measured se": row.stderr,
                "by hand": own, "by hand se": error, "z": z,
            }  # fmt: skip


def verdict(title: str, version: str, table: pd.DataFrame, draws: int, more: str = "") -> str:
    """What a section says above its table."""
    worst = table.loc[table.z.abs().idxmax()]
    return (
        f"## {title} {version}\n\n{more}{len(table)} comparisons of {draws} draws: the largest distance is "
        f"{abs(worst.z):.1f} standard errors ({worst.what}, {worst.block}, {worst.metric}; bar: {BAR})."
    )
