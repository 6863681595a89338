"""Small models and data that many tests share. All sizes differ pairwise, so that swapped axes show."""

import torch
from torch import Tensor, nn

from snrkit import DiagonalNormal, LatentModel, bernoulli_log_prob, standard_normal_log_prob
from snrkit.core.streams import Streams
from snrkit.core.tokens import EOS, PAD, SPECIAL
from snrkit.models.conv import Conv
from snrkit.models.flow import Flow
from snrkit.models.flows import Layer, Planar
from snrkit.models.gaussian import Gaussian
from snrkit.models.hierarchical import Hierarchical
from snrkit.models.mlp import Mlp
from snrkit.models.sbn import Sbn

B, M, K, D = 3, 2, 5, 4


def numbers(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return Streams(seed).normal("test", (), shape, dtype=dtype, device=torch.device("cpu"))


def toy(seed: int = 0, points: int = B, dim: int = D, perturb: float = 0.3) -> tuple[Gaussian, Tensor]:
    """The Gaussian toy off its optimum, and data for it."""
    x = 1.5 * numbers(seed, points, dim)
    model = Gaussian.optimum(x.mean(0))
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            parameter.add_(perturb * numbers(seed + index + 1, *parameter.shape))
    return model, x


def images(seed: int = 0, points: int = B, pixels: int = 9, dtype: torch.dtype = torch.float64) -> Tensor:
    return (numbers(seed, points, pixels) > 0).to(dtype)


def sentences(seed: int = 0, points: int = B, length: int = 9) -> tuple[Tensor, tuple[str, ...]]:
    """Token numbers of sentences of several lengths, with their vocabulary."""
    words = (*SPECIAL, "the", "ark", "was", "dry")
    x = (3 + numbers(seed, points, length).abs() * 3 % 4).floor()
    for row, point in enumerate(x):
        end = length - 1 - 2 * row % (length - 1)
        point[end], point[end + 1 :] = EOS, PAD
    return x, words


def mlp(seed: int = 0, pixels: int = 9, dtype: torch.dtype = torch.float64) -> Mlp:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Mlp(pixels, (7, 6), D).to(dtype)


def hierarchical(seed: int = 0, pixels: int = 9, dtype: torch.dtype = torch.float64) -> Hierarchical:
    """Two stochastic layers; together they have as many dimensions as the other models' one, D."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Hierarchical(pixels, (D - 1, 1), ((7, 6), (5, 8))).to(dtype)


def flow(seed: int = 0, pixels: int = 9, dtype: torch.dtype = torch.float64, kind: type[Layer] = Planar) -> Flow:
    """A flow of three layers behind the proposal."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Flow(pixels, (7, 6), D, 3, kind).to(dtype)


def conv(seed: int = 0, dtype: torch.dtype = torch.float64) -> Conv:
    """Of images of 3 x 3 pixels, whose last row and column the decoder leaves off."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Conv((3, 3), (2, 3), 3, 8, D).to(dtype)


def sbn(seed: int = 0, pixels: int = 9, dtype: torch.dtype = torch.float64) -> Sbn:
    """Two layers of bits, together D, whose log-odds are a few units, so that bits are of consequence."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Sbn(pixels, (D - 1, 1))
        for parameter in model.parameters():
            parameter.data.mul_(2.5).add_(0.3 * torch.randn_like(parameter))
    return model.to(dtype)


class Users(LatentModel):
    """What a user might write: ReLU in place, a plain parameter, a fixed prior scale, an unused parameter."""

    def __init__(self, pixels: int = 9) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(pixels, 8), nn.ReLU(inplace=True), nn.Linear(8, 2 * D))
        self.decoder = nn.Sequential(nn.Linear(D, 7), nn.ReLU(inplace=True), nn.Linear(7, pixels))
        self.shift = nn.Parameter(torch.zeros(pixels))
        self.unused = nn.Parameter(torch.zeros(2))
        self.frozen = nn.Parameter(torch.ones(()), requires_grad=False)

    def encode(self, x: Tensor) -> DiagonalNormal:
        loc, log_scale = self.body(x).chunk(2, -1)
        return DiagonalNormal(loc, log_scale.exp())

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        return standard_normal_log_prob(z / self.frozen) + bernoulli_log_prob(x, self.decoder(z) + self.shift)


def users(seed: int = 0) -> Users:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Users().double()
