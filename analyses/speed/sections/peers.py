"""The obvious ways, written by hand in plain PyTorch: what a researcher would have without snrkit."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from snrkit.models.mlp import Mlp


def bound(parameters: dict[str, Tensor], x: Tensor, noise: Tensor) -> Tensor:
    """The K-sample bound of one image ``[1, 784]`` with noise ``[K, 50]``, in nats."""
    mean, raw = _network(parameters, "encoder", x).chunk(2, dim=-1)
    scale = functional.softplus(raw)
    z = mean + scale * noise
    logits = _network(parameters, "decoder", z)
    log_x = -functional.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(dim=-1)
    log_w = log_x + (0.5 * noise.square() - 0.5 * z.square()).sum(dim=-1) + scale.log().sum()
    return torch.logsumexp(log_w, dim=0)


def bounds(parameters: dict[str, Tensor], x: Tensor, noise: Tensor) -> Tensor:
    """The same of several images ``[N, 784]`` with noise ``[N, K, 50]``, ``[N]``."""
    mean, raw = _network(parameters, "encoder", x).chunk(2, dim=-1)
    scale = functional.softplus(raw)
    z = mean[:, None] + scale[:, None] * noise
    logits = _network(parameters, "decoder", z)
    target = x[:, None].expand_as(logits)
    log_x = -functional.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(dim=-1)
    log_w = log_x + (0.5 * noise.square() - 0.5 * z.square()).sum(dim=-1) + scale.log().sum(dim=-1)[:, None]
    return torch.logsumexp(log_w, dim=-1)


def _network(parameters: dict[str, Tensor], name: str, value: Tensor) -> Tensor:
    layers = [layer for layer in parameters if layer.startswith(name) and layer.endswith("weight")]
    for layer in layers:
        value = functional.linear(value, parameters[layer], parameters[layer.replace("weight", "bias")])
        value = value if layer == layers[-1] else torch.tanh(value)
    return value


def loop(model: Mlp, x: Tensor, K: int, draws: int) -> list[Tensor]:
    """Sum and sum of squares per parameter, one backward pass per draw."""
    parameters = dict(model.named_parameters())
    totals, squares = ([torch.zeros_like(p) for p in parameters.values()] for _ in range(2))
    for _ in range(draws):
        value = bound(parameters, x, torch.randn(K, 50, device=x.device))
        for i, g in enumerate(torch.autograd.grad(value, list(parameters.values()))):
            totals[i] += g
            squares[i].addcmul_(g, g)
    return totals + squares


def vmap(model: Mlp, x: Tensor, K: int, draws: int, chunk: int) -> list[Tensor]:
    """The same by torch.func, ``chunk`` draws at once."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    totals, squares = ([torch.zeros_like(p) for p in parameters.values()] for _ in range(2))
    gradients = torch.func.vmap(torch.func.grad(bound), (None, None, 0))
    for start in range(0, draws, chunk):
        noise = torch.randn(min(chunk, draws - start), K, 50, device=x.device)
        for i, g in enumerate(gradients(parameters, x, noise).values()):
            totals[i] += g.sum(dim=0)
            squares[i] += g.square_().sum(dim=0)
    return totals + squares


def training_step(model: Mlp, images: Tensor, M: int, K: int) -> Callable[[], None]:
    """A minimal training step on 20 random images of ``[N, 784]`` greys: M outer and K importance samples, Adam."""
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step() -> None:
        x = torch.bernoulli(images[torch.randint(len(images), (20,), device=images.device)])
        optimiser.zero_grad()
        mean, raw = model.encoder(x).chunk(2, dim=-1)
        scale = functional.softplus(raw)
        noise = torch.randn(len(x), M, K, 50, device=x.device)
        z = mean[:, None, None] + scale[:, None, None] * noise
        logits = model.decoder(z)
        target = x[:, None, None].expand_as(logits)
        log_x = -functional.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(dim=-1)
        log_w = log_x + (0.5 * noise.square() - 0.5 * z.square()).sum(dim=-1) + scale.log().sum(dim=-1)[:, None, None]
        (-torch.logsumexp(log_w, dim=-1).mean()).backward()
        optimiser.step()

    return step
