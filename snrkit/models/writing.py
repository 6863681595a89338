"""What writing in steps consists of: a step of an LSTM, the state between steps, and what came of all of them."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snrkit.models.densities import standard_normal_log_prob
from snrkit.models.windows import Place


class Cell(nn.Module):
    """One step of an LSTM (Hochreiter & Schmidhuber 1997) of two linear layers, which every engine can take apart.

    Args:
        fan_in: width of the input.
        width: of the output and of the cell.
    """

    def __init__(self, fan_in: int, width: int) -> None:
        super().__init__()
        self.input, self.state = nn.Linear(fan_in, 4 * width), nn.Linear(width, 4 * width, bias=False)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Input ``[..., in]``, output and cell before it ``[..., width]`` to those after it."""
        i, f, g, o = (self.input(x) + self.state(h)).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


@dataclass(frozen=True)
class State:
    """Where the recurrence stands, for each sample.

    Attributes:
        step: t, the number of steps taken.
        encoder: output and cell of the encoder, each ``[..., hidden]``.
        decoder: those of the decoder.
        canvas: c_t, log-odds of the pixels, ``[..., P]``.
        window: where the last step wrote, if through a window.
    """

    step: int
    encoder: tuple[Tensor, Tensor]
    decoder: tuple[Tensor, Tensor]
    canvas: Tensor
    window: Place | None = None


@dataclass(frozen=True)
class Unrolled:
    """All steps of the proposal, at samples z.

    Attributes:
        z: ``[B, M, K, T D]``.
        loc: means of z_t given the steps before it, ``[B, M, K, T D]``.
        log_scale: the logarithms of their standard deviations, same shape.
        noise: (z - loc) / scale, same shape.
        canvas: after the last step, log-odds of the pixels, ``[B, M, K, P]``.
    """

    z: Tensor
    loc: Tensor
    log_scale: Tensor
    noise: Tensor
    canvas: Tensor

    @property
    def log_q(self) -> Tensor:
        """log q(z|x), ``[B, M, K]``."""
        return standard_normal_log_prob(self.noise) - self.log_scale.sum(dim=-1)

    @property
    def kl(self) -> Tensor:
        """KL(q(z_td|z_1, ..., z_{t-1}, x), N(0, 1)) of each number of each step, ``[B, M, K, T D]``, nats."""
        return 0.5 * (self.loc.square() + (2 * self.log_scale).exp() - 1) - self.log_scale


@dataclass(frozen=True)
class Written:
    """How an image came about.

    Attributes:
        pixels: Bernoulli means of the canvas after each step, ``[..., T, P]``.
        read: where each step looked, ``[..., T]`` each; None without attention.
        write: where each step wrote.
    """

    pixels: Tensor
    read: Place | None
    write: Place | None
