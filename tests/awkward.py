"""Models that break naive per-draw gradients: each decoder does one awkward thing. Pixels 9, latent 4 as in the zoo."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils.parametrizations import weight_norm

from snrkit import DiagonalNormal, LatentModel, bernoulli_log_prob, standard_normal_log_prob
from tests.zoo import D

PIXELS = 9


class Awkward(LatentModel):
    """An ordinary encoder, and a decoder that subclasses define."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(PIXELS, 6), nn.Tanh(), nn.Linear(6, 2 * D))

    def encode(self, x: Tensor) -> DiagonalNormal:
        loc, log_scale = self.encoder(x).chunk(2, -1)
        return DiagonalNormal(loc, log_scale.exp())

    def logits(self, z: Tensor) -> Tensor:
        raise NotImplementedError

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        return standard_normal_log_prob(z) + bernoulli_log_prob(x, self.logits(z))


class FlattenedRows(Awkward):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(D, PIXELS)

    def logits(self, z: Tensor) -> Tensor:
        return self.out(z.flatten(0, -2)).view(*z.shape[:-1], PIXELS)


class InPlace(Awkward):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(D, 5), nn.ReLU(inplace=True), nn.Linear(5, PIXELS))

    def logits(self, z: Tensor) -> Tensor:
        return self.net(z)


class Twice(Awkward):
    def __init__(self) -> None:
        super().__init__()
        self.mix, self.out = nn.Linear(D, D), nn.Linear(D, PIXELS)

    def logits(self, z: Tensor) -> Tensor:
        return self.out(torch.tanh(self.mix(torch.tanh(self.mix(z)))))


class Tied(Awkward):
    """One weight in a layer, and again transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.out = nn.Linear(D, 5), nn.Linear(D, PIXELS)

    def logits(self, z: Tensor) -> Tensor:
        return self.out(linear(torch.tanh(self.mix(z)), self.mix.weight.T))


class Norms(Awkward):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(D, 5), nn.LayerNorm(5), nn.Linear(5, PIXELS))
        self.scale = nn.Parameter(torch.ones(PIXELS))

    def logits(self, z: Tensor) -> Tensor:
        return self.net(z) * self.scale


class WeightNorm(Awkward):
    def __init__(self) -> None:
        super().__init__()
        self.out = weight_norm(nn.Linear(D, PIXELS))

    def logits(self, z: Tensor) -> Tensor:
        return self.out(z)


class TimeMajor(Awkward):
    def __init__(self) -> None:
        super().__init__()
        self.step, self.out = nn.Linear(1, 5), nn.Linear(5, PIXELS)

    def logits(self, z: Tensor) -> Tensor:
        steps = z.movedim(-1, 0).unsqueeze(-1)  # [D, B, M, K, 1]
        return self.out(torch.tanh(self.step(steps)).sum(0))


class Matmul(Awkward):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(D, PIXELS) / 2)

    def logits(self, z: Tensor) -> Tensor:
        return z @ self.weight


class Conv(Awkward):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(D, PIXELS)
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def logits(self, z: Tensor) -> Tensor:
        image = self.project(z).reshape(-1, 1, 3, 3)
        return self.conv(image).reshape(*z.shape[:-1], PIXELS)


class Recurrent(Awkward):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.GRUCell(D, 5), nn.Linear(5, PIXELS)

    def logits(self, z: Tensor) -> Tensor:
        rows = z.flatten(0, -2)
        return self.out(self.cell(rows, self.cell(rows))).view(*z.shape[:-1], PIXELS)


class TwiceInEncoder(Awkward):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(PIXELS, PIXELS)
        self.head, self.out = nn.Linear(PIXELS, 2 * D), nn.Linear(D, PIXELS)

    def encode(self, x: Tensor) -> DiagonalNormal:
        loc, log_scale = self.head(torch.tanh(self.encoder(torch.tanh(self.encoder(x))))).chunk(2, -1)
        return DiagonalNormal(loc, log_scale.exp())

    def logits(self, z: Tensor) -> Tensor:
        return self.out(z)


class Aliased(Awkward):
    """An ordinary net whose last layer also has a name of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(6, PIXELS)
        self.decoder = nn.Sequential(nn.Linear(D, 6), nn.LayerNorm(6), nn.Tanh(), self.out)

    def logits(self, z: Tensor) -> Tensor:
        return self.decoder(z)


class Repeated(Awkward):
    """One block three times, as weight-sharing networks write it."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(D, D), nn.LayerNorm(D), nn.Tanh())] * 3)
        self.out = nn.Linear(D, PIXELS)

    def logits(self, z: Tensor) -> Tensor:
        for block in self.blocks:
            z = block(z)
        return self.out(z)


class SharedBias(Awkward):
    """Two layers with one bias."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.again, self.out = nn.Linear(D, D), nn.Linear(D, D), nn.Linear(D, PIXELS)
        self.again.bias = self.mix.bias

    def logits(self, z: Tensor) -> Tensor:
        return self.out(torch.tanh(self.again(torch.tanh(self.mix(z)))))


class Branching(Awkward):
    """Data points whose first pixel is on use a layer a second time, transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.out = nn.Linear(D, D), nn.Linear(D, PIXELS)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        hidden = torch.tanh(self.mix(z))
        hidden = hidden + x[..., :1] * linear(hidden, self.mix.weight.T)
        return standard_normal_log_prob(z) + bernoulli_log_prob(x, self.out(hidden))


class Annealed(Awkward):
    """A layer that is used a second time, transposed, once a parameter that is not trained opens a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.out = nn.Linear(D, D), nn.Linear(D, PIXELS)
        self.gate = nn.Parameter(torch.zeros(()), requires_grad=False)

    def logits(self, z: Tensor) -> Tensor:
        hidden = torch.tanh(self.mix(z))
        return self.out(hidden + self.gate * linear(hidden, self.mix.weight.T))


class Gated(Awkward):
    """A layer that only data points whose first pixel is on use."""

    def __init__(self) -> None:
        super().__init__()
        self.extra, self.out = nn.Linear(D, PIXELS), nn.Linear(D, PIXELS)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        logits = self.out(z) + x[..., :1] * self.extra(z)
        return standard_normal_log_prob(z) + bernoulli_log_prob(x, logits)


class Skip(Awkward):
    """The last layer, begun at zero, sees the image itself beside the hidden units."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(D, 6), nn.Linear(6 + PIXELS, PIXELS)
        nn.init.zeros_(self.out.weight)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        beside = torch.cat([torch.tanh(self.hidden(z)), x.expand(*z.shape[:-1], PIXELS)], -1)
        return standard_normal_log_prob(z) + bernoulli_log_prob(x, self.out(beside))


class Narrow(Awkward):
    """A proposal so narrow that draws of a gradient are nearly the same."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(D, PIXELS)

    def encode(self, x: Tensor) -> DiagonalNormal:
        loc, log_scale = self.encoder(x).chunk(2, -1)
        return DiagonalNormal(loc, (log_scale - 8).exp())

    def logits(self, z: Tensor) -> Tensor:
        return self.out(z)


class GradientInside(Awkward):
    """Asks for a gradient by the latent variables, which not every pass gives one of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.energy, self.out = nn.Linear(D, 1), nn.Linear(D, PIXELS)

    def logits(self, z: Tensor) -> Tensor:
        with torch.enable_grad():
            source = z if z.requires_grad else z.requires_grad_()
            (step,) = torch.autograd.grad(torch.tanh(self.energy(source)).sum(), source, create_graph=True)
        return self.out(z + step)


class FewPoints(Awkward):
    """Takes no more than four data points at once, and says so in an error of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(D, PIXELS)

    def encode(self, x: Tensor) -> DiagonalNormal:
        if len(x) > 4:
            raise ValueError("at most 4 points")
        return super().encode(x)

    def logits(self, z: Tensor) -> Tensor:
        return self.out(z)


AWKWARD = [
    FlattenedRows, InPlace, Twice, Tied, Norms, WeightNorm, TimeMajor, Matmul, Conv, Recurrent, TwiceInEncoder,
    Aliased, Repeated, SharedBias, Branching, Gated,
    GradientInside, FewPoints,
]  # fmt: skip


def awkward(kind: type[Awkward]) -> Awkward:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return kind().double()
