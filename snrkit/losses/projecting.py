"""The draws of a loss once more, projected on the means of their blocks: for the DSNR, by whoever makes them."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from snrkit.backend.memory import fresh
from snrkit.diagnostics.plan import Job
from snrkit.diagnostics.projecting import Onto, Projected, projected_rows
from snrkit.losses.drawing import Told, Write, parts, rows_at_once
from snrkit.losses.parameters import Trained


def projected(trained: Trained, job: Job, write: Write, batch: Any, onto: Onto, told: Told) -> list[Projected]:
    """The draws of each block; raises as ``write`` does."""
    held = rows_for(trained, job)
    return [projected_block(held, draws, write, batch, onto, told) for draws in job.blocks()]


def rows_for(trained: Trained, job: Job) -> Tensor:
    """Rows ``[r, P]`` for as many draws as are made at once."""
    at_once = rows_at_once(trained, max(map(len, job.blocks())))
    return fresh((at_once, trained.layout.size), trained.dtype, trained.device)


def projected_block(held: Tensor, draws: range, write: Write, batch: Any, onto: Onto, told: Told) -> Projected:
    """The draws of one block, written to rows that are held; raises as ``write`` does."""

    def rows() -> Iterator[Tensor]:
        for part in parts(draws, len(held)):
            write(part, held[: len(part)], batch, None)
            told(len(part))
            # Those that do not fill an average wait for the next, which are written to the same rows.
            yield held[: len(part)].to(torch.float64, copy=True)

    return projected_rows(rows(), onto)
