"""Normalising flows: invertible maps of z with parameters per data point, and the proposal that they make of a normal.

Rezende & Mohamed 2015, sections 4.1 and appendix A. The determinants are written as sums of positive terms, so that they
are positive in any precision, whatever the parameters.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import softplus

from snrkit.core.logweights import widened
from snrkit.models.densities import normal_log_prob, standard_normal_log_prob
from snrkit.models.draw import Draw, Drawn

# Below this square of its length w is no direction any more, and the layer becomes a translation.
_SHORTEST = 1e-6


class Layer(ABC):
    """One map y = f(z); its tensors have the leading axes that z has, or broadcast to them."""

    @staticmethod
    @abstractmethod
    def size(latent: int) -> int:
        """Numbers behind one layer, for z of ``latent`` dimensions."""

    @classmethod
    @abstractmethod
    def of(cls, raw: Tensor, latent: int) -> Self:
        """The layer of any numbers ``[..., size]``: constraints are put on here."""

    @abstractmethod
    def at(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """f(z) and log |det df/dz|, nats: ``[..., D]`` to ``[..., D]`` and ``[...]``."""

    @abstractmethod
    def solve(self, z: Tensor, v: Tensor) -> Tensor:
        """J^-1 v, with the Jacobian J at z: two ``[..., D]`` to ``[..., D]``, in O(D)."""

    @abstractmethod
    def inverse(self, y: Tensor) -> Tensor:
        """z with f(z) = y, without a derivative: ``[..., D]`` to ``[..., D]``."""

    def detached(self) -> Self:
        """The same map with its parameters held constant."""
        return type(self)(*(part.detach() for part in self._parts()))

    def unbind(self, dim: int) -> list[Self]:
        """The layers that lie along a leading axis."""
        return [type(self)(*own) for own in zip(*(part.unbind(dim) for part in self._parts()), strict=True)]

    def _parts(self) -> list[Tensor]:
        return [getattr(self, own.name) for own in fields(self)]  # type: ignore[arg-type]


@dataclass(frozen=True)
class Planar(Layer):
    """f(z) = z + u tanh(w.z + b), where 1 + w.u > 0 makes it invertible.

    Of raw u' it is u = u' + (softplus(w.u') - 1 - w.u') w / |w|^2, hence w.u = softplus(w.u') - 1. A layer with w = 0 moves
    every z by u tanh(b).

    Attributes:
        u: ``[..., D]``.
        w: ``[..., D]``.
        b: ``[...]``.
        gain: 1 + w.u, the determinant where it differs most from 1, ``[...]``.
    """

    u: Tensor
    w: Tensor
    b: Tensor
    gain: Tensor

    @staticmethod
    def size(latent: int) -> int:
        """2 D + 1."""
        return 2 * latent + 1

    @classmethod
    def of(cls, raw: Tensor, latent: int) -> Self:
        """Of u', w and b in this order."""
        u, w, b = raw[..., :latent], raw[..., latent : 2 * latent], raw[..., 2 * latent]
        along, square = _dot(u, w), w.square().sum(dim=-1)
        floored = square.clamp_min(_SHORTEST)
        # Not 1 + w.u of the rounded u: softplus keeps its digits where that vanishes.
        share = square / floored
        gain = share * softplus(along) + (1 - share) * (1 + along)
        return cls(u + ((softplus(along) - 1 - along) / floored)[..., None] * w, w, b, gain)

    def at(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z + u tanh(w.z + b), and log(1 + tanh'(w.z + b) w.u)."""
        t = self._tanh(z)
        return z + self.u * t[..., None], self._det(t).log()

    def solve(self, z: Tensor, v: Tensor) -> Tensor:
        """By the formula of Sherman and Morrison."""
        t = self._tanh(z)
        return v - self.u * ((1 - t.square()) * _dot(self.w, v) / self._det(t))[..., None]

    def inverse(self, y: Tensor) -> Tensor:
        """By bisection: t + w.u tanh(t + b) rises in t = w.z, and is w.y."""
        lean, goal = self.gain - 1, _dot(self.w, y)
        low, high = goal - lean.abs(), goal + lean.abs()
        for _ in range(torch.finfo(y.dtype).bits - 2):
            middle = (low + high) / 2
            above = middle + lean * torch.tanh(middle + self.b) > goal
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return y - self.u * torch.tanh((low + high) / 2 + self.b)[..., None]

    def _tanh(self, z: Tensor) -> Tensor:
        return torch.tanh(_dot(self.w, z) + self.b)

    def _det(self, t: Tensor) -> Tensor:
        """1 + (1 - t^2) w.u as a sum of what is positive."""
        square = t.square()
        return square + (1 - square) * self.gain


@dataclass(frozen=True)
class Radial(Layer):
    """f(z) = z + beta (z - z0) / (alpha + r), r = |z - z0|, where alpha > 0 and beta > -alpha make it invertible.

    Attributes:
        z0: ``[..., D]``.
        alpha: softplus of a raw number, ``[...]``.
        total: alpha + beta, softplus of another, ``[...]``.
    """

    z0: Tensor
    alpha: Tensor
    total: Tensor

    @staticmethod
    def size(latent: int) -> int:
        """D + 2."""
        return latent + 2

    @classmethod
    def of(cls, raw: Tensor, latent: int) -> Self:
        """Of z0, alpha' and beta' in this order."""
        return cls(raw[..., :latent], softplus(raw[..., latent]), softplus(raw[..., latent + 1]))

    def at(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z0 + a (z - z0), and (D - 1) log a + log(a - beta h^2 r), with h = 1 / (alpha + r) and a = 1 + beta h."""
        (away, r), width = self._away(z), z.shape[-1]
        stretch = (r + self.total) / (r + self.alpha)
        log_det = (width - 1) * stretch.log() + self._along(r).log() - 2 * (r + self.alpha).log()
        return self.z0 + stretch[..., None] * away, log_det

    def solve(self, z: Tensor, v: Tensor) -> Tensor:
        """By the formula of Sherman and Morrison."""
        away, r = self._away(z)
        stretch = (r + self.total) / (r + self.alpha)
        lean = (self.total - self.alpha) * _dot(away, v) / (r * stretch * self._along(r))
        return v / stretch[..., None] + away * lean[..., None]

    def inverse(self, y: Tensor) -> Tensor:
        """By the positive root of r^2 + (alpha + beta - R) r - alpha R = 0, with R = |y - z0|."""
        away, far = self._away(y)
        half = (far - self.total) / 2
        root = (half.square() + self.alpha * far).sqrt()
        # Of the two forms of the root the one without a difference of nearly equal numbers.
        r = torch.where(half > 0, half + root, self.alpha * far / (root + half.abs()))
        return self.z0 + ((r + self.alpha) / (r + self.total))[..., None] * away

    def _away(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z - z0 and its length, whose derivative is finite at 0."""
        away = z - self.z0
        return away, (away.square().sum(dim=-1) + torch.finfo(z.dtype).tiny).sqrt()

    def _along(self, r: Tensor) -> Tensor:
        """dR/dr times (r + alpha)^2, a sum of what is positive."""
        return r.square() + 2 * self.alpha * r + self.alpha * self.total


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=-1)


@dataclass(frozen=True)
class FlowNormal(Drawn):
    """Normal proposals with independent coordinates, and layers of a flow behind them, each with parameters per data point.

    Samples and their density are made together, and nothing is inverted. ``log_prob`` at any other z inverts the layers one
    by one. In float32 that loses digits: with 80 layers in 50 dimensions it is off by some 1e-3 nats (planar) or 1e-4
    (radial); ``tests/models/test_flow.py`` holds the bar. Derivatives of ``log_q_path`` and ``log_prob`` are right to the
    first order only, since Jacobians of inverses are taken for constants.

    Attributes:
        loc: means before the flow, ``[B, D]``.
        scale: standard deviations before it, positive, ``[B, D]``.
        raw: parameters of the layers, any numbers, ``[B, L, kind.size(D)]``, L at least 1.
        kind: what the layers are.
    """

    loc: Tensor
    scale: Tensor
    raw: Tensor
    kind: type[Layer]

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the standard normal noise that one sample consumes: ``(D,)``."""
        return (self.loc.shape[-1],)

    def layer_means(self, noise: Tensor) -> tuple[Tensor, ...]:
        """The samples themselves, ``[B, M, K, D]``, whose mean estimates E_q[z|x]: it has no closed form."""
        return (self.sample(noise),)

    def draw(self, noise: Tensor, path: bool) -> Draw:
        """Noise ``[B, M, K, D]`` through the layers, whose log-determinants log q loses."""
        wide, scale = widened(noise), widened(self.scale)
        z = self.loc[:, None, None] + scale[:, None, None] * wide
        log_q = standard_normal_log_prob(wide) - scale.log().sum(dim=-1)[:, None, None]
        layers, inputs = self._layers(), []
        for layer in layers:
            inputs.append(z)
            z, log_det = layer.at(z)
            log_q = log_q - log_det
        held = self._path(layers, inputs, z).to(noise.dtype) if path else None
        return Draw(z.to(noise.dtype), log_q.to(noise.dtype), held)

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x) at any z ``[B, M, K, D]``: ``[B, M, K]``."""
        dtype, z = z.dtype, widened(z)
        total = torch.zeros_like(z[..., 0])
        for layer in reversed(self._layers()):
            held = layer.detached()
            with torch.no_grad():
                before = held.inverse(z.detach())
            # One step of Newton's: all but nothing in value, the derivative of the inverse function in z and parameters.
            z = before + held.solve(before, z - layer.at(before)[0])
            total = total - layer.at(z)[1]
        return (total + normal_log_prob(z, self.loc[:, None, None], self.scale[:, None, None])).to(dtype)

    def detached(self) -> Self:
        """The same density with its parameters held constant."""
        return replace(self, loc=self.loc.detach(), scale=self.scale.detach(), raw=self.raw.detach())

    def _layers(self) -> list[Layer]:
        return list(self.kind.of(widened(self.raw)[:, None, None], self.loc.shape[-1]).unbind(3))

    def _path(self, layers: Sequence[Layer], inputs: Sequence[Tensor], z: Tensor) -> Tensor:
        """log q with constant parameters, at samples whose way through the layers is known."""
        total, after = torch.zeros_like(z[..., 0]), z
        for layer, before in zip(reversed(layers), reversed(inputs), strict=True):
            held, point = layer.detached(), before.detach()
            # Nothing in value; the derivative is that of the input of this layer in its output.
            z = point + held.solve(point, z - after.detach())
            total, after = total - held.at(z)[1], before
        loc, scale = self.loc.detach(), self.scale.detach()
        return total + normal_log_prob(z, loc[:, None, None], scale[:, None, None])
