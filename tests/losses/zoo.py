"""Losses as people have them, of any randomness, and plain loops to hold them against."""

from itertools import pairwise

import torch
from torch import nn
from torch.distributions import Categorical, Normal
from torch.nn import functional


def loop(loss, parameters, draws, *given, seed=7):
    """Gradients of a loss by a plain loop, ``[draws, P]``; its randomness goes on from one seed."""
    parameters = list(parameters)
    rows = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for _ in range(draws):
            found = torch.autograd.grad(loss(*given), parameters, allow_unused=True)
            rows.append(
                torch.cat(
                    [
                        (torch.zeros_like(p) if g is None else g.to_dense()).flatten()
                        for g, p in zip(found, parameters, strict=True)
                    ]
                )
            )
    return torch.stack(rows).double()


def made(build, seed=0):
    """A module with parameters that depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def data(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def mlp(*sizes):
    layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*layers[:-1])


def diffusion(model, x):
    """Denoising at a random step of a cosine schedule."""
    t = torch.rand(len(x), 1)
    signal, noise = torch.cos(t * torch.pi / 2), torch.randn_like(x)
    guess = model(torch.cat([signal * x + torch.sin(t * torch.pi / 2) * noise, t], dim=1))
    return functional.mse_loss(guess, noise)


def reinforce(policy, states):
    """A policy gradient with discrete actions."""
    actions = Categorical(logits=policy(states))
    taken = actions.sample()
    reward = (taken == (states[:, 0] > 0).long()).float() - 0.5
    return -(actions.log_prob(taken) * reward).mean()


class Filter(nn.Module):
    """A linear state-space model with a learnt proposal, as FIVO filters it."""

    def __init__(self):
        super().__init__()
        self.transition = nn.Parameter(torch.tensor(0.8))
        self.proposal = nn.Linear(2, 2)

    def forward(self, observed, particles=4):
        z, total = torch.zeros(particles, 1), torch.zeros(())
        for y in observed:
            mean, width = self.proposal(torch.cat([z, y.expand(particles, 1)], dim=1)).chunk(2, dim=1)
            proposal = Normal(mean, functional.softplus(width) + 0.1)
            new = proposal.rsample()
            log_w = (
                Normal(self.transition * z, 1.0).log_prob(new) + Normal(new, 0.5).log_prob(y) - proposal.log_prob(new)
            )
            total = total + torch.logsumexp(log_w[:, 0], 0) - torch.log(torch.tensor(float(particles)))
            chosen = Categorical(logits=log_w[:, 0].detach()).sample((particles,))
            z = new[chosen]
        return -total


def fivo(model, observed):
    return model(observed)


class Dropped(nn.Module):
    """A classifier with batch normalisation and dropout."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.body(x))


def classify(model, batch):
    x, labels = batch
    return functional.cross_entropy(model(x), labels)


class ActorCritic(nn.Module):
    """Two networks, each with a loss of its own."""

    def __init__(self):
        super().__init__()
        self.actor, self.critic = mlp(4, 8, 2), mlp(4, 8, 1)


def actor_critic(model, states):
    actions = Categorical(logits=model.actor(states))
    taken = actions.sample()
    reward = (taken == (states[:, 0] > 0).long()).float() + 0.3 * torch.randn(len(states))
    advantage = reward - model.critic(states)[:, 0]
    return {"actor": -(actions.log_prob(taken) * advantage.detach()).mean(), "critic": advantage.square().mean()}


class TwoNetworks(nn.Module):
    """A Gaussian model and its proposal."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(3, 4), nn.Linear(2, 3)

    def weights(self, x, K):
        mean, width = self.encoder(x).chunk(2, dim=1)
        q = Normal(mean, functional.softplus(width) + 0.1)
        z = q.sample((K,))
        log_p = Normal(0.0, 1.0).log_prob(z).sum(-1) + Normal(self.decoder(z), 1.0).log_prob(x).sum(-1)
        return log_p, q.log_prob(z).sum(-1)


def rws(model, x):
    """Reweighted wake-sleep: no loss has these gradients, so it calls ``backward`` itself, once per network."""
    log_p, log_q = model.weights(x, 5)
    normalised = torch.softmax((log_p - log_q).detach(), dim=0)
    (-(normalised * log_q).sum(0).mean()).backward()
    (-(normalised * log_p).sum(0).mean()).backward()


def rws_parts(model, x):
    """The same as a loss that can be differentiated, for the plain loop."""
    log_p, log_q = model.weights(x, 5)
    normalised = torch.softmax((log_p - log_q).detach(), dim=0)
    return -(normalised * (log_q + log_p)).sum(0).mean()


def gan(networks, real):
    """Generator against discriminator, each with its own loss."""
    fake = networks["generator"](torch.randn(len(real), 2))
    judged_real, judged_fake = networks["discriminator"](real), networks["discriminator"](fake.detach())
    return {
        "generator": functional.softplus(-networks["discriminator"](fake)).mean(),
        "discriminator": (functional.softplus(-judged_real) + functional.softplus(judged_fake)).mean(),
    }
