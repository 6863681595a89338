"""Models whose encode returns an object of torch.distributions, drawn, measured and trained as any other."""

import math

import pytest
import torch
from torch import distributions as td
from torch import nn
from torch.distributions import transforms as tt
from torch.nn.functional import softplus

import snrkit
from snrkit import LatentModel, bernoulli_log_prob
from snrkit.core import bounds
from snrkit.core.streams import Streams
from snrkit.diagnostics.engines import ENGINES
from snrkit.diagnostics.engines.base import PassSize
from snrkit.diagnostics.engines.loop import LoopEngine
from snrkit.diagnostics.problem import Problem
from snrkit.errors import CapabilityError, SpecError
from snrkit.estimators.base import build_estimator
from tests.zoo import B, D, images, numbers

PIXELS = 9


def tril(a, b):
    return td.MultivariateNormal(a, scale_tril=torch.diag_embed(b) + (a[..., None] * b[..., None, :]).tril(-1))


def low_rank(a, b):
    return td.LowRankMultivariateNormal(a, (a * b)[..., None], b)


def squashed(a, b):
    return td.Independent(td.TransformedDistribution(td.Normal(a, b), [tt.TanhTransform()]), 1)


KINDS = {
    "normal": td.Normal,
    "pair": lambda a, b: (a, b),
    "tril": tril,
    "low-rank": low_rank,
    "laplace": td.Laplace,
    "squashed": squashed,
    "log-normal": lambda a, b: td.Independent(td.LogNormal(a, b), 1),
    "logistic-normal": td.LogisticNormal,
}


class Returning(LatentModel):
    """An encoder to two tensors, and what a user makes of them."""

    def __init__(self, make, width=D):
        super().__init__()
        self.make = make
        self.encoder = nn.Sequential(nn.Linear(PIXELS, 6), nn.Tanh(), nn.Linear(6, 2 * D))
        self.decoder = nn.Sequential(nn.Linear(width, 5), nn.Tanh(), nn.Linear(5, PIXELS))

    def encode(self, x):
        a, raw = self.encoder(x).chunk(2, -1)
        return self.make(a, 0.2 + softplus(raw))

    def log_joint(self, x, z):
        prior = td.Laplace(torch.zeros((), dtype=x.dtype), 1.0).log_prob(z).sum(-1)
        return prior + bernoulli_log_prob(x, self.decoder(z))


def returning(name, width=None):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Returning(KINDS[name], width or D + (name == "logistic-normal")).double()
    with torch.no_grad():  # far enough from the start that the encoder matters
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


def grey():
    """Data without pixels that are zero at every point, where gradients would be nothing."""
    return torch.sigmoid(numbers(0, B, PIXELS))


def draws_of(model, x, estimator, K, count, engine="vmap"):
    """Gradients [count, P] of the mean over data points, and their names' order."""
    problem = Problem.direct(model, x, 1, K, Streams(5))
    portions = ENGINES.load(engine)().gradients(
        problem, build_estimator(estimator, {}), range(1), range(count), PassSize(500, 10**6)
    )
    flat = [torch.cat([part.flatten(2) for part in portion], -1)[:, 0] for portion in portions]
    return torch.cat(flat), problem.layout.names


@pytest.mark.rest_slow
@pytest.mark.parametrize("name", ["normal", "tril", "low-rank", "squashed", "logistic-normal"])
def test_engines_give_the_loops_moments(name):
    model, x = returning(name), images()
    problem = Problem.units(model, x, 3, Streams(3))
    for estimator in (build_estimator("iwae", {}), build_estimator("dreg", {})):
        expected = LoopEngine().moments(problem, estimator, range(B), range(7), PassSize(4, 10**6))
        for engine in ("vmap", "factors"):
            found = ENGINES.load(engine)().moments(problem, estimator, range(B), range(7), PassSize(4, 10**6))
            for ours, right in zip([*found.mean, *found.m2], [*expected.mean, *expected.m2], strict=True):
                torch.testing.assert_close(ours, right, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["normal", "tril", "laplace", "squashed", "log-normal"])
def test_encoders_layers_are_served_by_factors(name):
    problem = Problem.units(returning(name), images(), 3, Streams(3))
    assert set(ENGINES.load("factors")().serving(problem, build_estimator("iwae", {})).values()) == {"factors"}


@pytest.mark.rest_slow
@pytest.mark.parametrize("name", ["tril", "laplace", "squashed"])
def test_mean_gradients_are_those_of_a_plain_loop(name):
    """The user's own loop: rsample, log_prob, backward. Two independent means, in standard errors."""
    model, x, K, count = returning(name), grey(), 3, 900
    ours, names = draws_of(model, x, "iwae", K, count)
    parameters = [dict(model.named_parameters())[n] for n in names]
    theirs = []
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for _ in range(count // 3):
            d = model.encode(x)
            z = d.rsample((K,))
            log_q = d.log_prob(z).reshape(K, B, -1).sum(-1)
            log_w = model.log_joint(x[:, None, None], z.movedim(0, 1)[:, None])[:, 0] - log_q.T
            loss = (torch.logsumexp(log_w, -1)).mean()
            theirs.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
    theirs = torch.stack(theirs)
    error = (ours.var(0) / len(ours) + theirs.var(0) / len(theirs)).sqrt()
    z = (ours.mean(0) - theirs.mean(0)) / error
    assert z.abs().max() < 5
    assert z.square().mean() < 2
    # And they are not both nothing: many coordinates are known to be other than zero.
    assert ((ours.mean(0) / ours.std(0) * len(ours) ** 0.5).abs() > 5).double().mean() > 0.3


@pytest.mark.parametrize("name", ["tril", "low-rank", "laplace", "squashed"])
def test_dreg_has_the_mean_of_iwae(name):
    model, x = returning(name), grey()
    iwae, names = draws_of(model, x, "iwae", 3, 900)
    dreg, _ = draws_of(model, x, "dreg", 3, 900)
    off = iwae - dreg
    inference = sum(p.numel() for n, p in model.named_parameters() if n in names and n.startswith("encoder"))
    z = (off.mean(0) / off.std(0) * len(off) ** 0.5)[:inference]
    assert z.abs().max() < 5
    assert z.square().mean() < 2
    torch.testing.assert_close(iwae[:, inference:], dreg[:, inference:])


def test_draws_are_the_same_of_a_normal_however_it_is_given():
    model, expected = returning("normal"), None
    for make in (snrkit.DiagonalNormal, td.Normal, KINDS["pair"], lambda a, b: td.Independent(td.Normal(a, b), 1)):
        model.make = make
        draws, _ = draws_of(model, images(), "dreg", 4, 3, "loop")
        expected = draws if expected is None else expected
        assert torch.equal(draws, expected)


class Shear(nn.Module, tt.Transform):
    """One layer of a flow with parameters of its own, as users write them: the second half moves by the first."""

    domain = codomain = td.constraints.real_vector
    bijective = True

    def __init__(self):
        nn.Module.__init__(self)
        tt.Transform.__init__(self)
        self.shift = nn.Linear(D // 2, D // 2).double()

    __hash__ = nn.Module.__hash__

    def __call__(self, x):
        return self._call(x)

    def _call(self, x):
        first, second = x.chunk(2, -1)
        return torch.cat([first, 2 * second + torch.tanh(self.shift(first))], -1)

    def _inverse(self, y):
        first, second = y.chunk(2, -1)
        return torch.cat([first, (second - torch.tanh(self.shift(first))) / 2], -1)

    def log_abs_det_jacobian(self, x, y):
        return torch.full_like(x[..., 0], D // 2 * math.log(2))


def test_flow_whose_layers_belong_to_the_model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = Shear()
    model = returning("normal")
    model.flow = flow
    model.make = lambda a, b: td.TransformedDistribution(td.Normal(a, b), [model.flow])
    x = grey()
    assert {n for n, owner in model.networks(x).items() if owner == "inference"} >= {"flow.shift.weight"}
    dreg, names = draws_of(model, x, "dreg", 3, 900)
    iwae, _ = draws_of(model, x, "iwae", 3, 900)
    one_by_one, _ = draws_of(model, x, "dreg", 3, 4, "loop")
    torch.testing.assert_close(dreg[:4], one_by_one)
    z = (iwae - dreg).mean(0) / (iwae - dreg).std(0) * len(dreg) ** 0.5
    sizes = [dict(model.named_parameters())[n].numel() for n in names]
    inference = sum(s for s, n in zip(sizes, names, strict=True) if not n.startswith("decoder"))
    assert z[:inference].abs().max() < 5
    assert not any(module._forward_hooks for module in model.modules())


def test_refused_before_the_first_draw():
    model = returning("normal")
    model.make = lambda a, b: td.Gamma(b, b)
    with pytest.raises(CapabilityError, match=r"Gamma.*Laplace"):
        snrkit.measure(model, images(), estimators=["iwae"], K=[2], draws=4, seed=0)
    model.make = lambda a, b: (a, -b)
    with pytest.raises(SpecError, match="logvar"):
        snrkit.measure(model, images(), estimators=["iwae"], K=[2], draws=4, seed=0)


def test_grey_pixels_and_float32():
    model = returning("squashed").float()
    x = torch.rand(B, PIXELS, generator=torch.Generator().manual_seed(0))
    table = snrkit.measure(model, x, estimators=["iwae"], K=[4], draws=30, seed=0)
    assert table["value"].notna().all()


def test_images_of_latents():
    class Conv(LatentModel):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Conv2d(1, 4, 3, padding=1)
            self.decoder = nn.ConvTranspose2d(2, 1, 3, padding=1)

        def encode(self, x):
            a, b = self.encoder(x).chunk(2, 1)
            return td.Independent(td.Normal(a, b.exp()), 3)

        def log_joint(self, x, z):
            logits = self.decoder(z.flatten(0, 2)).view(*z.shape[:3], *x.shape[3:])
            prior = td.Normal(0.0, 1.0).log_prob(z).flatten(3).sum(-1)
            return prior + bernoulli_log_prob(x.flatten(3), logits.flatten(3))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Conv()
    x = (numbers(1, B, 1, 3, 3) > 0).float()
    weights = model(x, numbers(2, B, 2, 5, 18).float(), path=True)
    z = model.proposal(x).sample(numbers(2, B, 2, 5, 18).float())
    assert z.shape == (B, 2, 5, 2, 3, 3)
    assert model.noise_shape(x) == (18,)
    torch.testing.assert_close(weights.log_q, weights.log_q_path)
    expected = torch.stack([model.encode(x).log_prob(z[:, m, k]) for m in range(2) for k in range(5)], -1)
    torch.testing.assert_close(weights.log_q.flatten(1), expected)
    assert bounds.iwae(weights.log_w).shape == (B,)
