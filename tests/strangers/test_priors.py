"""Priors that people name as objects of ``torch.distributions``, for ``vae-analytic``; and names that they have already."""

import pytest
import torch
from torch import distributions, nn

import snrkit
from snrkit import DiagonalNormal
from snrkit.core.logweights import Parts
from snrkit.core.streams import Streams
from snrkit.errors import CapabilityError
from tests.strangers.models import LATENT, Vae, data, made

B, M, K = 4, 2, 5


class WithPrior(Vae):
    """A standard normal prior, named."""

    def prior_distribution(self):
        return distributions.Normal(torch.zeros(LATENT), torch.ones(LATENT))

    def log_joint(self, x, z):
        return self.log_prior(z) + snrkit.bernoulli_log_prob(x, self.decoder(z))


class Returns(WithPrior):
    """``encode`` gives another object, ``prior_distribution`` too."""

    proposals = staticmethod(DiagonalNormal)
    priors = staticmethod(lambda learnt: distributions.Normal(learnt, torch.ones(LATENT)))

    def __init__(self):
        super().__init__()
        self.learnt = nn.Parameter(0.3 * torch.ones(LATENT))

    def proposed(self, h):
        mean, raw = h.chunk(2, -1)
        return self.proposals(mean, (0.3 * raw).exp())

    def prior_distribution(self):
        return self.priors(self.learnt)


def independent(mean, scale):
    return distributions.Independent(distributions.Normal(mean, scale), 1)


def full(mean, scale):
    return distributions.MultivariateNormal(mean, scale_tril=torch.diag_embed(scale) + 0.2 * torch.ones(3, 3).tril(-1))


def low_rank(mean, scale):
    factor = (0.3 + 0 * mean)[..., None]
    return distributions.LowRankMultivariateNormal(mean, factor, scale**2)


def laplace(mean, scale):
    return distributions.Laplace(mean, scale)


PAIRS = {
    "ours and a normal": (
        DiagonalNormal,
        lambda mu: distributions.Normal(mu, torch.ones(3)),
    ),
    "normals": (distributions.Normal, lambda mu: distributions.Normal(mu, 2.0)),
    "independent and normals": (independent, lambda mu: distributions.Normal(mu, torch.ones(3))),
    "normals and independent": (distributions.Normal, lambda mu: independent(mu, torch.ones(3))),
    "full and full": (full, lambda mu: full(mu, torch.ones(3))),
    "low rank and full": (low_rank, lambda mu: full(mu, torch.ones(3))),
    "full and low rank": (full, lambda mu: low_rank(mu, torch.ones(3))),
    "laplaces": (laplace, lambda mu: laplace(mu, torch.ones(3))),
}


def of(pair):
    proposals, priors = PAIRS[pair]
    return made(type("Own", (Returns,), {"proposals": staticmethod(proposals), "priors": staticmethod(priors)}))


@pytest.mark.parametrize("pair", PAIRS)
def test_the_closed_form_is_the_mean_of_what_samples_give(pair):
    """E_q[log q - log p(z)], in standard errors over 20,000 samples of each of 4 points."""
    model, x = of(pair).double(), data(B).double()
    noise = Streams(1).normal(
        "kl", (), (B, 1, 20_000, *model.noise_shape(x)), dtype=torch.float64, device=torch.device("cpu")
    )
    with torch.no_grad():
        weights = model(x, noise, parts=Parts(prior=True, kl=True))
    sampled = weights.log_q - weights.log_prior
    stderr = sampled.std(-1) / sampled.shape[-1] ** 0.5
    assert weights.kl.shape == weights.log_q.shape
    assert bool((weights.kl[..., 0] > 0.01).all())
    assert float(((sampled.mean(-1) - weights.kl[..., 0]) / stderr).abs().max()) < 4


@pytest.mark.rest_slow
@pytest.mark.parametrize("pair", ["independent and normals", "full and low rank", "laplaces"])
def test_measured_by_each_engine_alike(pair):
    tables = []
    for engine in ("loop", "vmap"):
        model, x = of(pair).double(), data(B).double()
        tables.append(snrkit.measure(model, x, "vae-analytic", 2, draws=20, seed=3, engine=engine))
    assert list(tables[0]["metric"]) == list(tables[1]["metric"])
    assert list(tables[0]["value"]) == pytest.approx(list(tables[1]["value"]), rel=1e-6, nan_ok=True)


class Discrete(WithPrior):
    """A Bernoulli pair, whose KL has a closed form and whose samples have no path."""

    def proposed(self, h):
        return distributions.Bernoulli(logits=h[..., :LATENT])

    def prior_distribution(self):
        return distributions.Bernoulli(torch.full((LATENT,), 0.3))


class Odd(WithPrior):
    """A pair without a closed form."""

    def prior_distribution(self):
        return distributions.StudentT(torch.full((LATENT,), 5.0))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Vae, "does not say what its prior is"),
        (Odd, "Independent from Independent has no closed form here"),
        (Discrete, "a reparameterised proposal"),
    ],
)
def test_refused_where_there_is_none(kind, words):
    with pytest.raises(CapabilityError, match=rf"vae-analytic: needs .*{words}"):
        snrkit.measure(made(kind), data(), "vae-analytic", 2, draws=20)


class Names(Vae):
    """Attributes of a user's own whose names mean something else here."""

    def __init__(self):
        super().__init__()
        self.kl_to_prior = 0.5
        self.log_prior = nn.Linear(LATENT, 1)

    def log_joint(self, x, z):
        return 1e-3 * self.log_prior(z)[..., 0] + super().log_joint(x, z)


class Methods(Vae):
    """Methods of a user's own with other arguments."""

    def kl_to_prior(self):
        return "a number"

    def log_prior(self, x, z, weight):
        return weight * snrkit.standard_normal_log_prob(z)

    def prior_distribution(self, kind):
        raise AssertionError(kind)

    def regenerate(self):
        return None

    def dream(self):
        return None

    prior_size = dream_size = None


@pytest.mark.parametrize("kind", [Names, Methods])
def test_names_that_are_taken_by_something_else_stand_in_nobodys_way(kind):
    own = snrkit.measure(made(kind), data(), ["iwae", "dreg"], 3, draws=20)
    assert set(own["estimator"]) == {"iwae", "dreg"}
    with pytest.raises(CapabilityError, match=r"vae-analytic: needs .*; choose .*iwae"):
        snrkit.measure(made(kind), data(), "vae-analytic", 2, draws=20)
