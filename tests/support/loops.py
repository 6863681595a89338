"""Loops as users write them by hand: the SNR of repeated gradients, to hold adapters against."""

from collections.abc import Callable, Sequence

import torch
from torch import nn


def snr_by_hand(step: Callable[[], None], networks: dict[str, Sequence[nn.Parameter]], draws: int) -> dict[str, float]:
    """Mean over coordinates of |mean| / sd of gradients, by network; ``step`` leaves them in ``.grad``."""
    found: dict[str, list[torch.Tensor]] = {name: [] for name in networks}
    for draw in range(draws):
        torch.manual_seed(draw)
        for parameters in networks.values():
            for parameter in parameters:
                parameter.grad = None
        step()
        for name, parameters in networks.items():
            own = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
            found[name].append(torch.cat([grad.flatten() for grad in own]).double())
    return {name: _mean_ratio(torch.stack(rows)) for name, rows in found.items()}


def _mean_ratio(rows: torch.Tensor) -> float:
    sd = rows.std(dim=0)
    moving = sd > 0
    return float((rows.mean(dim=0).abs()[moving] / sd[moving]).mean())


def readings(table, metric="snr_mean"):
    """Block to (value, stderr)."""
    rows = table[table.metric == metric]
    return {row.block: (row.value, row.stderr) for row in rows.itertuples() if row.block in ("inference", "generative")}


def assert_agree(table, by_hand, errors=4.0):
    """Both were drawn as often, so that one standard error stands for the other too."""
    for block, (value, stderr) in readings(table).items():
        assert abs(value - by_hand[block]) <= errors * (2**0.5) * stderr + 0.01 * value, (block, value, stderr, by_hand)
