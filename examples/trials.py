"""Gradients as people have them, each measured in a line or two, and held against a plain loop.

python examples/trials.py

Each function is one case: first what is the reader's own, then what is written to measure it. ``plain`` is what has been
written without: a loop of backward passes, from which the same number comes out.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Normal
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, dropout, softplus

import snrkit

DRAWS = 200


@dataclass(frozen=True)
class Case:
    """A table, and what a plain loop would draw.

    Attributes:
        table: what was measured.
        loss: gives the same gradient once, by ``backward``.
        parameters: of the block.
        block: whose reading is held against the loop.
    """

    table: pd.DataFrame
    loss: Callable[[], Tensor]
    parameters: Iterable[nn.Parameter]
    block: str = "all"


def normal(*shape: int) -> Tensor:
    """Data."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def network(*sizes: int) -> nn.Sequential:
    """Two layers."""
    torch.manual_seed(0)
    a, b, c = sizes
    return nn.Sequential(nn.Linear(a, b), nn.Tanh(), nn.Linear(b, c))


def diffusion() -> Case:
    """A denoising diffusion loss: random time, random noise."""
    model, x = network(9, 16, 8), normal(32, 8)

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        t, noise = torch.rand(len(x), 1), torch.randn_like(x)
        return (model(torch.cat([(1 - t) * x + t * noise, t], dim=1)) - noise).square().mean()

    table = snrkit.measure_loss(loss, model, x, draws=DRAWS)
    return Case(table, lambda: loss(model, x), model.parameters())


def policy_gradient() -> Case:
    """A policy gradient with discrete actions."""
    policy, states = network(4, 16, 2), normal(32, 4)

    def loss(policy: nn.Module, states: Tensor) -> Tensor:
        actions = Categorical(logits=policy(states))
        taken = actions.sample()
        reward = (taken == (states[:, 0] > 0).long()).float() - 0.5
        return -(actions.log_prob(taken) * reward).mean()

    table = snrkit.measure_loss(loss, policy, states, draws=DRAWS)
    return Case(table, lambda: loss(policy, states), policy.parameters())


def environment() -> Case:
    """The same in an environment with a generator of its own: measured, and marked as not reproducible."""
    policy, world = network(4, 16, 2), np.random.default_rng(0)

    def loss(policy: nn.Module) -> Tensor:
        states = torch.tensor(world.normal(size=(16, 4)), dtype=torch.float32)
        actions = Categorical(logits=policy(states))
        taken = actions.sample()
        return -(actions.log_prob(taken) * states.gather(1, taken[:, None])[:, 0]).mean()

    table = snrkit.measure_loss(loss, policy, draws=DRAWS)
    return Case(table, lambda: loss(policy), policy.parameters())


def actor_and_critic() -> Case:
    """An actor and a critic, each with its own loss."""
    networks, states = nn.ModuleDict({"actor": network(4, 16, 2), "critic": network(4, 16, 1)}), normal(32, 4)

    def losses(networks: nn.ModuleDict, states: Tensor) -> dict[str, Tensor]:
        actions = Categorical(logits=networks["actor"](states))
        taken = actions.sample()
        advantage = (taken == (states[:, 0] > 0).long()).float() - networks["critic"](states)[:, 0]
        actor = -(actions.log_prob(taken) * advantage.detach()).mean()
        return {"actor": actor, "critic": advantage.square().mean()}

    table = snrkit.measure_loss(losses, networks, states, draws=DRAWS)
    return Case(table, lambda: losses(networks, states)["actor"], networks["actor"].parameters(), "actor")


def particle_filter() -> Case:
    """FIVO: a particle filter with resampling."""
    torch.manual_seed(0)
    model, observed = nn.ModuleDict({"proposal": nn.Linear(2, 2), "transition": nn.Linear(1, 1)}), normal(6)

    def loss(model: nn.ModuleDict, observed: Tensor, particles: int = 8) -> Tensor:
        z, bound = torch.zeros(particles, 1), torch.zeros(())
        for y in observed:
            mean, width = model["proposal"](torch.cat([z, y.expand(particles, 1)], dim=1)).chunk(2, dim=1)
            q = Normal(mean, softplus(width) + 0.1)
            new = q.rsample()
            log_w = Normal(model["transition"](z), 1.0).log_prob(new) + Normal(new, 0.5).log_prob(y) - q.log_prob(new)
            bound = bound + torch.logsumexp(log_w[:, 0], 0) - math.log(particles)
            z = new[Categorical(logits=log_w[:, 0].detach()).sample((particles,))]
        return -bound

    table = snrkit.measure_loss(loss, model, observed, draws=DRAWS)
    return Case(table, lambda: loss(model, observed), model.parameters())


def wake_sleep() -> Case:
    """Reweighted wake-sleep, which calls backward itself, once for each network."""
    torch.manual_seed(0)
    model, x = nn.ModuleDict({"encoder": nn.Linear(3, 4), "decoder": nn.Linear(2, 3)}), normal(12, 3)

    def step(model: nn.ModuleDict, x: Tensor, K: int = 5) -> None:
        mean, width = model["encoder"](x).chunk(2, dim=1)
        q = Normal(mean, softplus(width) + 0.1)
        z = q.sample((K,))
        log_p = Normal(0.0, 1.0).log_prob(z).sum(-1) + Normal(model["decoder"](z), 1.0).log_prob(x).sum(-1)
        log_q = q.log_prob(z).sum(-1)
        weights = torch.softmax((log_p - log_q).detach(), dim=0)
        (-(weights * log_q).sum(0).mean()).backward()
        (-(weights * log_p).sum(0).mean()).backward()

    table = snrkit.measure_loss(step, model, x, draws=DRAWS)

    def both() -> Tensor:
        step(model, x)
        return torch.zeros((), requires_grad=True)

    return Case(table, both, model.parameters())


def classifier() -> Case:
    """A classifier with dropout and batch normalisation, in training mode."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 3))
    x, labels = normal(30, 6), torch.arange(30) % 3

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return cross_entropy(model(batch[0]), batch[1])

    table = snrkit.measure_loss(loss, body, (x, labels), draws=DRAWS)
    return Case(table, lambda: loss(body, (x, labels)), body.parameters())


def drawn_anew() -> Case:
    """Another minibatch at every draw: what the data add to the noise."""
    policy, every = network(4, 16, 1), normal(200, 4)

    def loss(policy: nn.Module, x: Tensor) -> Tensor:
        return (policy(x + 0.5 * torch.randn_like(x))[:, 0] - x.sum(dim=1)).square().mean()

    def batch() -> Tensor:
        return every[torch.randint(len(every), (16,))]

    table = snrkit.measure_loss(loss, policy, batch, draws=2 * DRAWS)
    return Case(table, lambda: loss(policy, batch()), policy.parameters())


def weights_once() -> Case:
    """A Bayesian network with one draw of weights for the whole minibatch."""
    torch.manual_seed(0)
    mean, log_scale = nn.Parameter(torch.randn(4)), nn.Parameter(torch.full((4,), -1.0))
    x, y = normal(40, 4), normal(40, 1)[:, 0]

    def loss(parameters: dict[str, nn.Parameter], batch: tuple[Tensor, Tensor]) -> Tensor:
        q = Normal(parameters["mean"], parameters["log_scale"].exp())
        weights = q.rsample()
        fit = Normal(batch[0] @ weights, 1.0).log_prob(batch[1]).sum()
        return -(fit + (Normal(0.0, 1.0).log_prob(weights) - q.log_prob(weights)).sum()) / len(batch[1])

    parameters = {"mean": mean, "log_scale": log_scale}
    table = snrkit.measure_loss(loss, parameters, (x, y), draws=DRAWS)
    return Case(table, lambda: loss(parameters, (x, y)), parameters.values())


class VAE(nn.Module):
    """A VAE as most people have it, with its loss, and the two methods by which estimators are measured."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = network(16, 12, 6), network(3, 12, 16)

    def loss(self, x: Tensor) -> Tensor:
        """One sample, and the KL divergence in closed form."""
        mean, log_scale = self.encoder(x).chunk(2, -1)
        z = mean + log_scale.exp() * torch.randn_like(mean)
        fit = -binary_cross_entropy_with_logits(self.decoder(z), x, reduction="none").sum(-1)
        divergence = 0.5 * (mean.square() + (2 * log_scale).exp() - 1 - 2 * log_scale).sum(-1)
        return -(fit - divergence).mean()

    def encode(self, x: Tensor) -> Normal:
        """q(z|x)."""
        mean, log_scale = self.encoder(x).chunk(2, -1)
        return Normal(mean, log_scale.exp())

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """Log p(x, z)."""
        logits = self.decoder(z)
        fit = -binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
        return Normal(0.0, 1.0).log_prob(z).sum(-1) + fit


def images() -> Tensor:
    """A few."""
    return (normal(4, 16) > 0).float()


def iwae(model: VAE, x: Tensor, K: int) -> Tensor:
    """The bound of K samples, by hand."""
    q = model.encode(x)
    z = q.rsample((K,))
    log_p = model.log_joint(x[:, None, None], z.movedim(0, 1)[:, None])[:, 0]
    return -(torch.logsumexp(log_p.T - q.log_prob(z).sum(-1), 0) - math.log(K)).mean()


def analytic_kl() -> Case:
    """The VAE loss that most people train: one sample, KL in closed form."""
    model, x = VAE(), images()
    table = snrkit.measure_loss(lambda model, x: model.loss(x), model, x, draws=DRAWS)
    return Case(table, lambda: model.loss(x), model.encoder.parameters(), "encoder")


def bound_of_many() -> Case:
    """A VAE's IWAE bound."""
    model, x = VAE(), images()
    table = snrkit.measure(model, x, "iwae", K=8, draws=DRAWS)
    return Case(table, lambda: iwae(model, x, 8), model.encoder.parameters(), "inference")


class Dropped(VAE):
    """Dropout that no mode turns off."""

    def encode(self, x: Tensor) -> Normal:
        """q(z|x)."""
        return super().encode(dropout(x, 0.3))


def dropout_always() -> Case:
    """Dropout within the encoder that no mode turns off."""
    model, x = Dropped(), images()
    table = snrkit.measure(model, x, "iwae", K=8, draws=DRAWS)
    return Case(table, lambda: iwae(model, x, 8), model.encoder.parameters(), "inference")


def training_mode() -> Case:
    """A VAE with dropout layers, as an optimiser's step sees it."""
    model, x = VAE(), images()
    model.encoder.insert(1, nn.Dropout(0.3))
    table = snrkit.measure(model, x, "iwae", K=8, draws=DRAWS, mode="training")
    return Case(table, lambda: iwae(model, x, 8), model.encoder.parameters(), "inference")


class Centred(VAE):
    """Points that know of one another."""

    def encode(self, x: Tensor) -> Normal:
        """q(z|x)."""
        return super().encode(x - x.mean(0))


def coupled_points() -> Case:
    """An encoder that subtracts the minibatch's mean."""
    model, x = Centred(), images()
    table = snrkit.measure(model, x, "iwae", K=8, draws=DRAWS)
    return Case(table, lambda: iwae(model, x, 8), model.encoder.parameters(), "inference")


def score_function() -> Case:
    """Bits as latents, by the score function."""
    torch.manual_seed(0)
    model, x = nn.ModuleDict({"encoder": nn.Linear(16, 3), "decoder": nn.Linear(3, 16)}), images()

    def loss(model: nn.ModuleDict, x: Tensor) -> Tensor:
        q = Bernoulli(logits=model["encoder"](x))
        z = q.sample()
        log_q = q.log_prob(z).sum(-1)
        fit = -binary_cross_entropy_with_logits(model["decoder"](z), x, reduction="none").sum(-1)
        bound = fit - 3 * math.log(2) - log_q
        return -(bound + bound.detach() * log_q).mean()

    table = snrkit.measure_loss(loss, model, x, draws=DRAWS)
    return Case(table, lambda: loss(model, x), model["encoder"].parameters(), "encoder")


def along_training() -> Case:
    """A VAE along a training of one's own, every 20 steps."""
    model, x = VAE(), images()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    monitor = snrkit.Monitor("iwae", model, x, K=8, every=20, draws=DRAWS, budget=None)
    for step in range(1, 41):
        optimiser.zero_grad()
        iwae(model, x, 8).backward()
        optimiser.step()
        monitor(step)
    return Case(monitor.table.query("step == 40"), lambda: iwae(model, x, 8), model.encoder.parameters(), "inference")


CASES = (
    diffusion, policy_gradient, environment, actor_and_critic, particle_filter, wake_sleep, classifier, drawn_anew,
    weights_once, analytic_kl, bound_of_many, dropout_always, training_mode, coupled_points, score_function, along_training,
)  # fmt: skip


def plain(case: Case, draws: int = 2 * DRAWS) -> dict[str, tuple[float, float]]:
    """Signed snr_pooled^2 and variance of a plain loop, with standard errors by a jackknife over 20 parts."""
    parameters, rows = list(case.parameters), []
    torch.manual_seed(3)
    for _ in range(draws):
        for parameter in parameters:
            parameter.grad = None
        case.loss().backward()
        rows.append(torch.cat([parameter.grad.flatten().double() for parameter in parameters]))
    found = torch.stack(rows)
    parts = found.tensor_split(20)
    left = torch.stack([_readings(torch.cat([*parts[:i], *parts[i + 1 :]])) for i in range(20)])
    errors = (19 * left.var(dim=0, correction=0)).sqrt()
    pairs = zip(_readings(found).tolist(), errors.tolist(), strict=True)
    return dict(zip(("snr_pooled_squared", "variance"), pairs, strict=True))


def _readings(rows: Tensor) -> Tensor:
    variance = rows.var(dim=0)
    squared = (rows.mean(dim=0).square() - variance / len(rows)).sum() / variance.sum()
    return torch.stack([squared, variance.sum()])


def held_against(case: Case) -> dict[str, tuple[float, float, float]]:
    """Metric to its reading, what the plain loop says, and by how many standard errors they differ."""
    own = case.table[(case.table["block"] == case.block) & (case.table["scope"] == "minibatch")].set_index("metric")
    found = {}
    for metric, (value, error) in plain(case).items():
        reading, stderr = own.loc[metric, ["value", "stderr"]]
        found[metric] = (reading, value, abs(reading - value) / math.hypot(stderr, error))
    return found


def main() -> None:
    """Measure all, and print."""
    for measured in CASES:
        for metric, (reading, value, errors) in held_against(measured()).items():
            told = f"{reading:9.4f}, plain loop {value:9.4f}: {errors:.1f} standard errors apart"
            print(f"{measured.__name__:16} {metric:18} {told}")


if __name__ == "__main__":
    main()
