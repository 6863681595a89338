"""DRAW, the deep recurrent attentive writer of Gregor et al. 2015: an image is written onto a canvas in several steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from snrkit.core.logweights import LogWeights, Parts
from snrkit.core.objective import Network
from snrkit.core.streams import Streams
from snrkit.models.base import Posterior, parse_options
from snrkit.models.densities import bernoulli_log_prob, standard_normal_log_prob
from snrkit.models.draw import Draw, Drawn
from snrkit.models.standard import BernoulliPixels
from snrkit.models.summary import DataSummary
from snrkit.models.windows import Place, Window
from snrkit.models.writing import Cell, State, Unrolled, Written
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


@dataclass(frozen=True)
class AttentiveNormal(Drawn):
    """q(z|x) = q(z_1|x) q(z_2|z_1, x) ..., normals whose parameters depend on what has been written so far.

    Attributes:
        model: whose networks they come from.
        x: data ``[B, P]``.
        constant: hold all parameters constant, those of the decoder too; the dependence on earlier steps stays.
        last: what was drawn last, which is not done again for its divergence and for the image.
    """

    model: "Attentive"
    x: Tensor
    constant: bool = False
    last: list[Unrolled] = field(default_factory=list, repr=False, compare=False)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the standard normal noise that one sample consumes: ``(T D,)``."""
        return (self.model.latent,)

    def draw(self, noise: Tensor, path: bool) -> Draw:
        """Of noise ``[B, M, K, T D]``; the density of the path takes the steps once more."""
        own = self.unroll(noise, drawn=True)
        self.last[:] = [own]
        return Draw(own.z, own.log_q, self.detached().log_prob(own.z) if path else None)

    def at(self, z: Tensor) -> Unrolled:
        """All steps at samples z ``[B, M, K, T D]``; those of the last draw are remembered."""
        return next((own for own in self.last if own.z is z), None) or self.unroll(z)

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x): z ``[B, M, K, T D]`` to ``[B, M, K]``."""
        return self.at(z).log_q

    def kl(self, z: Tensor) -> Tensor:
        """The KL divergence of each step from the prior given the steps before it, summed: ``[B, M, K]``, nats.

        Its mean over samples is KL(q(z|x), p(z)): each step's is in closed form, and what comes before it is sampled.
        """
        return self.at(z).kl.sum(dim=-1)

    def detached(self) -> Self:
        """The same density with its parameters held constant."""
        return replace(self, constant=True, last=[])

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
        z, loc, log_scale, noise = (torch.cat(parts, dim=-1) for parts in zip(*found, strict=True))
        # The very tensor that was given, by which it is recognised.
        return Unrolled(z if drawn else given, loc, log_scale, noise, state.canvas)


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
        self.read_window = nn.Linear(hidden, Window.PARAMETERS) if read else nn.Identity()
        self.decoder = Cell(options.latent, hidden)
        self.write = nn.Linear(hidden, write**2 if write else self.pixels)
        self.write_window = nn.Linear(hidden, Window.PARAMETERS) if write else nn.Identity()
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

    def weights_of(
        self,
        posterior: Posterior,
        x: Tensor,
        noise: Tensor,
        parts: Parts,
        log_joint: Callable[[Tensor, Tensor], Tensor],
    ) -> LogWeights:
        """As of any model; the canvas that the proposal has come to is not written once more."""

        def known(x: Tensor, z: Tensor) -> Tensor:
            assert isinstance(posterior, AttentiveNormal)
            return standard_normal_log_prob(z) + bernoulli_log_prob(x, posterior.at(z).canvas)

        own = isinstance(posterior, AttentiveNormal) and log_joint == self.log_joint
        return super().weights_of(posterior, x, noise, parts, known if own else log_joint)

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
        return State(0, (zero, zero), (zero, zero), canvas.expand(*lead, -1))

    def infer(self, x: Tensor, state: State, constant: bool = False) -> tuple[Tensor, Tensor, State]:
        """Mean and log standard deviation of the next z_t, each ``[..., D]``, of x ``[B, 1, 1, P]``; the encoder."""
        read, encode, posterior = (_held(network, constant) for network in self.inference(state.step))
        h = state.decoder[0]
        seen = x, x - torch.sigmoid(state.canvas)
        if self.options.read:
            window = Window.of(read(h), self.options.read, self.shape)
            seen = window.read(seen[0]), window.read(seen[1])
        encoder = encode(torch.cat([seen[0].expand_as(seen[1]), seen[1], h], dim=-1), *state.encoder)
        loc, log_scale = posterior(encoder[0]).chunk(2, dim=-1)
        return loc, log_scale, replace(state, encoder=encoder)

    def inference(self, step: int) -> tuple[nn.Module, nn.Module, nn.Module]:  # noqa: ARG002
        """Reading window, encoder and proposal of a step: the same for all, which a model to study them may change."""
        return self.read_window, self.encoder, self.posterior

    def generate(self, z: Tensor, state: State, constant: bool = False) -> State:
        """Decoder and canvas after a step of z_t ``[..., D]``."""
        decoder = _held(self.decoder, constant)(z, *state.decoder)
        written, place = _held(self.write, constant)(decoder[0]), None
        if self.options.write:
            window = Window.of(_held(self.write_window, constant)(decoder[0]), self.options.write, self.shape)
            written, place = window.write(written), window.place
        return replace(state, step=state.step + 1, decoder=decoder, canvas=state.canvas + written, window=place)

    def writing(self, z: Tensor) -> Written:
        """How images come about, for z ``[..., T D]``."""
        states = self.states(z)
        read = None
        if self.options.read:
            own = [self.inference(state.step)[0](state.decoder[0]) for state in states[:-1]]
            read = Place.stacked([Window.of(each, self.options.read, self.shape).place for each in own])
        write = [state.window for state in states if state.window is not None]
        pixels = torch.stack([torch.sigmoid(state.canvas) for state in states[1:]], dim=-2)
        return Written(pixels, read, Place.stacked(write) if write else None)


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
