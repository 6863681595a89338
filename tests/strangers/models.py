"""What people bring: an ordinary VAE on 16 pixels, and its many ways; and the plain loop that says what is right."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from snrkit import DiagonalNormal, LatentModel, bernoulli_log_prob, standard_normal_log_prob

PIXELS, HIDDEN, LATENT = 16, 12, 3


def made(kind: Callable[[], Any]) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind()


def data(points: int = 4) -> Tensor:
    return (torch.rand(points, PIXELS, generator=torch.Generator().manual_seed(1)) < 0.4).float()


class Vae(LatentModel):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 2 * LATENT))
        self.decoder = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, PIXELS))

    def proposed(self, h: Tensor) -> Any:
        mean, log_scale = h.chunk(2, -1)
        return DiagonalNormal(mean, (0.3 * log_scale).exp())

    def encode(self, x: Tensor) -> Any:
        return self.proposed(self.encoder(x))

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        return standard_normal_log_prob(z) + bernoulli_log_prob(x, self.decoder(z))


class AlwaysDropout(Vae):
    """Dropout that no mode turns off."""

    def encode(self, x: Tensor) -> Any:
        return self.proposed(self.encoder[2](dropout(self.encoder[1](self.encoder[0](x)), 0.3)))


class WithDropout(Vae):
    def __init__(self, batch_norm: bool = False) -> None:
        super().__init__()
        norm = [nn.BatchNorm1d(HIDDEN)] if batch_norm else []
        self.encoder = nn.Sequential(
            nn.Linear(PIXELS, HIDDEN), *norm, nn.ReLU(), nn.Dropout(0.3), nn.Linear(HIDDEN, 2 * LATENT)
        )
        self.decoder = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Dropout(0.3), nn.Linear(HIDDEN, PIXELS))


class Centred(Vae):
    """Data points that know of one another."""

    def encode(self, x: Tensor) -> Any:
        return self.proposed(self.encoder(x - x.mean(0)))


class Annealed(Vae):
    """A counter that every call of the decoder moves on."""

    calls = 0

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        self.calls += 1
        return min(1.0, self.calls / 1000) * standard_normal_log_prob(z) + bernoulli_log_prob(x, self.decoder(z))


class Average(Vae):
    """A running average, replaced rather than changed."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", torch.zeros(2 * LATENT))

    def encode(self, x: Tensor) -> Any:
        h = self.encoder(x)
        self.average = 0.9 * self.average + 0.1 * h.detach().mean(0)
        return self.proposed(h - self.average)


class Impossible(Vae):
    """log p(x, z) = -inf where a coordinate of z is too large."""

    def __init__(self, largest: float = 1.0) -> None:
        super().__init__()
        self.largest = largest

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        inside = z[..., 0] < self.largest
        return torch.where(inside, super().log_joint(x, z), -torch.inf)


class Threshold:
    """Bernoulli latents by thresholding: ``form`` says what graph z has."""

    def __init__(self, logits: Tensor, form: str) -> None:
        self.logits, self.form = logits, form
        self.noise_shape = (logits.shape[-1],)

    def sample(self, noise: Tensor) -> Tensor:
        p = self.logits[:, None, None].sigmoid()
        hard = (torch.special.ndtr(noise) < p).to(p)
        return hard + p - p.detach() if self.form == "straight-through" else hard

    def log_prob(self, z: Tensor) -> Tensor:
        logits = self.logits[:, None, None]
        return (z.detach() * logits - nn.functional.softplus(logits)).sum(-1)

    def detached(self) -> "Threshold":
        return Threshold(self.logits.detach(), self.form)


class Discrete(Vae):
    def __init__(self, form: str = "hard") -> None:
        super().__init__()
        self.form = form

    def encode(self, x: Tensor) -> Any:
        return Threshold(self.encoder(x)[:, :LATENT], self.form)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        return -LATENT * math.log(2) + bernoulli_log_prob(x, self.decoder(z))


class Vamp(Vae):
    """The prior is a mixture of the proposals at two learnt inputs, so the encoder is in both networks."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.Parameter(torch.rand(2, PIXELS))

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        proposals = self.encode(self.inputs)
        each = [
            DiagonalNormal(proposals.loc[i : i + 1], proposals.scale[i : i + 1]).log_prob(z.flatten(0, 2)[None, None])[
                0, 0
            ]
            for i in range(2)
        ]
        prior = torch.logsumexp(torch.stack(each), 0).view(z.shape[:-1]) - math.log(2)
        return prior + bernoulli_log_prob(x, self.decoder(z))

    def networks(self, x: Any) -> Any:
        names = dict(self.named_parameters())
        return {name: "generative" if name.startswith(("decoder", "inputs")) else "inference" for name in names}


def own_draws(
    model: Any, x: Any, K: int, draws: int, M: int = 1, estimator: str = "iwae", seed: int = 5
) -> dict[str, Tensor]:
    """A plain loop: gradients of the minibatch bound in the mode that the model is in, ``[draws, P]`` per network."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _own_draws(model, x, K, draws, M, estimator)


def _own_draws(model: Any, x: Any, K: int, draws: int, M: int, estimator: str) -> dict[str, Tensor]:
    named = dict(model.named_parameters())
    first = next(iter(named.values()))
    rows: dict[str, list[Tensor]] = {"inference": [], "generative": []}
    for _ in range(draws):
        posterior = model.encode(x)
        rows_of_x = next(iter(x.values())) if isinstance(x, dict) else x[0] if isinstance(x, tuple) else x
        noise = torch.randn(len(rows_of_x), M, K, *posterior.noise_shape).to(first)
        z = posterior.sample(noise)
        wide = (
            {k: v[:, None, None] for k, v in x.items()} if isinstance(x, dict)
            else tuple(v[:, None, None] for v in x) if isinstance(x, tuple) else x[:, None, None]
        )  # fmt: skip
        log_w = model.log_joint(wide, z) - posterior.log_prob(z)
        bound = log_w.mean() if estimator == "vae" else (torch.logsumexp(log_w, -1) - math.log(K)).mean()
        found = torch.autograd.grad(bound, list(named.values()), allow_unused=True)
        for network, found_rows in rows.items():
            parts = [
                (torch.zeros_like(p) if g is None else g).flatten().double()
                for (name, p), g in zip(named.items(), found, strict=True)
                if name.startswith("decoder") == (network == "generative")
            ]
            found_rows.append(torch.cat(parts))
    return {network: torch.stack(each) for network, each in rows.items()}


def pooled(draws: Tensor, blocks: int = 20) -> tuple[float, float]:
    """Signed snr_pooled^2 and its standard error, by a jackknife over blocks."""

    def value(rows: Tensor) -> float:
        variance, mean = rows.var(0), rows.mean(0)
        return float((mean.square() - variance / len(rows)).sum() / variance.sum())

    parts = draws.tensor_split(blocks)
    left = [value(torch.cat([p for j, p in enumerate(parts) if j != i])) for i in range(blocks)]
    spread = torch.tensor(left, dtype=torch.float64)
    return value(draws), float(((blocks - 1) * spread.var(correction=0)).sqrt())


def same_readings(table: Any, other: Any) -> None:
    """Two tables of the same draws, made by different engines in float32, are equal but for rounding."""
    for column in ("metric", "block"):
        assert list(table[column]) == list(other[column])
    values = [torch.tensor(each.value.to_numpy()) for each in (table, other)]
    torch.testing.assert_close(*values, rtol=1e-3, atol=1e-5, equal_nan=True)


def agrees(table: Any, draws: dict[str, Tensor], **where: Any) -> None:
    """Both networks' snr_pooled_squared in a table are those of a plain loop's draws, within 4 standard errors."""
    for network, rows in draws.items():
        found = table[(table.metric == "snr_pooled_squared") & (table.block == network)]
        for column, wanted in where.items():
            found = found[found[column] == wanted]
        (row,) = found.itertuples()
        value, error = pooled(rows)
        assert error > 0
        assert abs(row.value - value) < 4 * math.hypot(error, row.stderr), (
            network,
            row.value,
            value,
            error,
            row.stderr,
        )
