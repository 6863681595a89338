"""DRAW, the deep recurrent attentive writer of Gregor et al. 2015: an image is written onto a canvas in several steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from snrkit.core.objective import Network
from snrkit.core.streams import Streams
from snrkit.models.base import DataSummary, Posterior, parse_options
from snrkit.models.densities import bernoulli_log_prob, standard_normal_log_prob
from snrkit.models.draw import Draw, Drawn
from snrkit.models.standard import BernoulliPixels
from snrkit.models.windows import Window
from snrkit.specs.base import Count, Positive, Spec

_GENERATIVE = ("decoder.", "write.", "write_window.", "canvas")
Call = Callable[..., Any]


class AttentiveOptions(Spec):
    """Options of ``draw``.

    Attributes:
        steps: T, the number of steps.
        hidden: width of either LSTM.
        latent: dimension of z_t, so that z has T times as many.
        read: N of the N x N window through which the image is read; 0: without attention, all of it.
        write: N of the N x N window through which the canvas is written to; 0: without attention, all of it.
    """

    steps: Positive = 10
    hidden: Positive = 256
    latent: Positive = 10
    read: Count = 5
    write: Count = 5


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
        encoder: output and cell of the encoder, each ``[..., hidden]``.
        decoder: those of the decoder.
        canvas: c_t, log-odds of the pixels, ``[..., P]``.
    """

    encoder: tuple[Tensor, Tensor]
    decoder: tuple[Tensor, Tensor]
    canvas: Tensor


@dataclass(frozen=True)
class Unrolled:
    """All steps of the proposal, at samples z.

    Attributes:
        z: ``[B, M, K, T D]``.
        loc: means of z_t given the steps before it, ``[B, M, K, T D]``.
        log_scale: the logarithms of their standard deviations, same shape.
        noise: (z - loc) / scale, same shape.
    """

    z: Tensor
    loc: Tensor
    log_scale: Tensor
    noise: Tensor

    @property
    def log_q(self) -> Tensor:
        """log q(z|x), ``[B, M, K]``."""
        return standard_normal_log_prob(self.noise) - self.log_scale.sum(dim=-1)

    @property
    def kl(self) -> Tensor:
        """The sum over steps of KL(q(z_t|z_1, ..., z_{t-1}, x), N(0, I)), ``[B, M, K]``, nats."""
        terms = 0.5 * (self.loc.square() + (2 * self.log_scale).exp() - 1) - self.log_scale
        return terms.sum(dim=-1)


@dataclass(frozen=True)
class AttentiveNormal(Drawn):
    """q(z|x) = q(z_1|x) q(z_2|z_1, x) ..., normals whose parameters depend on what has been written so far.

    Attributes:
        model: whose networks they come from.
        x: data ``[B, P]``.
        constant: hold all parameters constant, those of the decoder too; the dependence on earlier steps stays.
    """

    model: "Attentive"
    x: Tensor
    constant: bool = False

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the standard normal noise that one sample consumes: ``(T D,)``."""
        return (self.model.latent,)

    def draw(self, noise: Tensor, path: bool) -> Draw:
        """Of noise ``[B, M, K, T D]``; the density of the path takes the steps once more."""
        own = self.unroll(noise, drawn=True)
        return Draw(own.z, own.log_q, self.detached().log_prob(own.z) if path else None)

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x): z ``[B, M, K, T D]`` to ``[B, M, K]``."""
        return self.unroll(z).log_q

    def kl(self, z: Tensor) -> Tensor:
        """The KL divergence of each step from the prior given the steps before it, summed: ``[B, M, K]``, nats.

        Its mean over samples is KL(q(z|x), p(z)): each step's is in closed form, and what comes before it is sampled.
        """
        return self.unroll(z).kl

    def detached(self) -> Self:
        """The same density with its parameters held constant."""
        return replace(self, constant=True)

    def layer_means(self, noise: Tensor) -> tuple[Tensor, ...]:
        """Means of every z_t given the steps before it, in a row: one layer, ``[B, M, K, T D]``."""
        return (self.unroll(noise, drawn=True).loc,)

    def unroll(self, given: Tensor, drawn: bool = False) -> Unrolled:
        """All steps at samples z or, where they are still to be drawn, of their noise, ``[B, M, K, T D]``."""
        steps = self.model.split(given)
        state, found = self.model.start(steps[0], self.constant), []
        for step in steps:
            loc, log_scale, state = self.model.infer(self.x[:, None, None], state, self.constant)
            z, noise = (loc + log_scale.exp() * step, step) if drawn else (step, (step - loc) * (-log_scale).exp())
            found.append((z, loc, log_scale, noise))
            state = self.model.generate(z, state, self.constant)
        return Unrolled(*(torch.cat(parts, dim=-1) for parts in zip(*found, strict=True)))


class Attentive(BernoulliPixels):
    """Encoder and decoder are LSTMs that take T steps; in each the decoder adds to a canvas, the log-odds of the pixels.

    The encoder reads the image and what the canvas still lacks of it, so the proposal of z_t depends on what the decoder
    made of z_1, ..., z_{t-1}: the decoder's parameters are in p and in q. ``networks`` counts decoder, writing and the first
    canvas as generative; a gradient of that network includes its route through the proposal. Estimators that assume
    parameters of p alone are refused.

    Slides and code in circulation differ from the paper in places; here log sigma_t is a linear map of its own, windows are
    placed on pixels counted from 1, and their rows are normalised wherever they lie. With 28 x 28 pixels, 64 steps, LSTMs of
    256, 100 latents and windows of 2 and 5 it has 960,251 parameters.

    Args:
        shape: height and width.
        options: see ``AttentiveOptions``.
    """

    unrolled = True

    def __init__(self, shape: tuple[int, int], options: AttentiveOptions) -> None:
        super().__init__()
        self.shape, self.pixels, self.options = shape, shape[0] * shape[1], options
        self.latent = options.steps * options.latent
        hidden, read, write = options.hidden, options.read, options.write
        self.encoder = Cell(2 * (read**2 if read else self.pixels) + hidden, hidden)
        self.posterior = nn.Linear(hidden, 2 * options.latent)
        self.read_window = nn.Linear(hidden, Window.PARAMETERS) if read else None
        self.decoder = Cell(options.latent, hidden)
        self.write = nn.Linear(hidden, write**2 if write else self.pixels)
        self.write_window = nn.Linear(hidden, Window.PARAMETERS) if write else None
        self.canvas = nn.Parameter(torch.zeros(self.pixels))

    def networks(self, x: Tensor) -> dict[str, Network]:
        """Decoder, writing and canvas are generative, though the proposal depends on them too; data ``[B, P]``."""
        return {
            name: "generative" if name.startswith(_GENERATIVE) else "inference"
            for name, reached in self.reached(x).items()
            if any(reached)
        }

    def encode(self, x: Tensor) -> AttentiveNormal:
        """Data ``[B, P]`` to the proposal over all steps."""
        return AttentiveNormal(self, x)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """x ``[B, 1, 1, P]``, z ``[B, M, K, T D]`` to ``[B, M, K]``."""
        return standard_normal_log_prob(z) + bernoulli_log_prob(x, self.states(z)[-1].canvas)

    def kl_to_prior(self, posterior: Posterior, z: Tensor) -> Tensor:
        """Of each step given the steps before it, summed: ``[B, M, K]``, nats; its mean over samples is the divergence."""
        assert isinstance(posterior, AttentiveNormal)
        return posterior.kl(z)

    def pixel_means(self, z: Tensor) -> Tensor:
        """Bernoulli means, of the last canvas: z ``[..., T D]`` to ``[..., P]``."""
        return torch.sigmoid(self.states(z)[-1].canvas)

    def states(self, z: Tensor) -> list[State]:
        """Decoder and canvas before the first step and after each, for z ``[..., T D]``; T + 1 of them."""
        steps = self.split(z)
        found = [self.start(steps[0])]
        for step in steps:
            found.append(self.generate(step, found[-1]))
        return found

    def split(self, z: Tensor) -> tuple[Tensor, ...]:
        """``[..., T D]`` to T tensors ``[..., D]``."""
        return torch.split(z, self.options.latent, dim=-1)

    def start(self, like: Tensor, constant: bool = False) -> State:
        """The state before the first step, for samples ``[..., D]``."""
        lead, zero = like.shape[:-1], like.new_zeros(*like.shape[:-1], self.options.hidden)
        canvas = self.canvas.detach() if constant else self.canvas
        return State((zero, zero), (zero, zero), canvas.expand(*lead, -1))

    def infer(self, x: Tensor, state: State, constant: bool = False) -> tuple[Tensor, Tensor, State]:
        """Mean and log standard deviation of the next z_t, each ``[..., D]``, of x ``[B, 1, 1, P]``; the encoder."""
        glimpse = self._read(x, x - torch.sigmoid(state.canvas), state.decoder[0], constant)
        seen = torch.cat([*glimpse, state.decoder[0]], dim=-1)
        encoder = _held(self.encoder, constant)(seen, *state.encoder)
        loc, log_scale = _held(self.posterior, constant)(encoder[0]).chunk(2, dim=-1)
        return loc, log_scale, replace(state, encoder=encoder)

    def generate(self, z: Tensor, state: State, constant: bool = False) -> State:
        """Decoder and canvas after a step of z_t ``[..., D]``."""
        decoder = _held(self.decoder, constant)(z, *state.decoder)
        written = _held(self.write, constant)(decoder[0])
        if self.write_window is not None:
            parameters = _held(self.write_window, constant)(decoder[0])
            written = Window.of(parameters, self.options.write, self.shape).write(written)
        return replace(state, decoder=decoder, canvas=state.canvas + written)

    def _read(self, x: Tensor, error: Tensor, decoder: Tensor, constant: bool) -> tuple[Tensor, Tensor]:
        """What is seen of the image and of what the canvas lacks, ``[..., N N]`` of windows or ``[..., P]``."""
        if self.read_window is None:
            return x.expand_as(error), error
        window = Window.of(_held(self.read_window, constant)(decoder), self.options.read, self.shape)
        return window.read(x), window.read(error)


def _held(module: nn.Module, constant: bool) -> Call:
    """A network, or the same with its parameters held constant."""
    if not constant:
        return module
    fixed = {name: parameter.detach() for name, parameter in module.named_parameters()}
    return lambda *arguments: torch.func.functional_call(module, fixed, arguments)


def build(options: Mapping[str, Any], data: DataSummary, streams: Streams) -> Attentive:  # noqa: ARG001
    """An ``Attentive`` with torch's default initialisation, uniform within 1/sqrt(fan-in), and an even first canvas.

    Raises:
        SpecError: an invalid option, real-valued data, or rows that are no images of a known height and width.
    """
    data.require_pixels("draw")
    parsed: AttentiveOptions = parse_options(AttentiveOptions, "draw", options)
    return Attentive(data.require_image("draw"), parsed)
