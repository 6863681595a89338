"""Proposals, dreams and priors of a user's own with an error in them are refused with a sentence; right ones are not."""

import pytest
import torch
from torch import distributions, nn

import snrkit
from snrkit import DiagonalNormal
from snrkit.errors import SnrkitError
from snrkit.estimators.vae_annealed import VaeAnnealed
from snrkit.models.draw import Draw, Drawn
from tests.strangers.models import LATENT, PIXELS, Vae, data, made


class Normal(Drawn):
    """A diagonal normal that gives its own log_q_path."""

    def __init__(self, loc, scale):
        self.loc, self.scale, self.noise_shape = loc[:, None, None], scale[:, None, None], (loc.shape[-1],)

    def log_prob(self, z):
        return distributions.Normal(self.loc, self.scale).log_prob(z).sum(-1)

    def layer_means(self, noise):
        return (self.loc,)

    def draw(self, noise, path):
        z = self.loc + self.scale * noise
        held = distributions.Normal(self.loc.detach(), self.scale.detach()).log_prob(z).sum(-1)
        return self.changed(Draw(z, self.log_prob(z), held if path else None))

    def changed(self, draw):
        return draw


class Bits(Normal):
    reparameterised = False

    def log_prob(self, z):
        return distributions.Bernoulli(logits=self.loc, validate_args=False).log_prob(z).sum(-1)

    def draw(self, noise, path):
        z = (torch.special.ndtr(noise) < self.loc.sigmoid()).to(noise.dtype)
        log_q = self.log_prob(z)
        return self.changed(Draw(z, log_q, log_q.detach() if path else None))


def of(kind, **changed):
    proposals = type("Own", (kind,), changed)
    return made(type("Model", (Vae,), {"proposed": lambda _, h: proposals(*halves(h))}))


def halves(h):
    mean, raw = h.chunk(2, -1)
    return mean, (0.3 * raw).exp()


def measured(model, estimator):
    return snrkit.measure(model, data(), estimator, K=3, draws=8, blocks="inference")


@pytest.mark.parametrize("estimator", ["dreg", "vimco"])
def test_a_right_one_reads_as_ours(estimator):
    ours, own = (measured(model, estimator).value for model in (made(Vae), of(Normal)))
    assert own.to_list() == pytest.approx(ours.to_list(), rel=1e-2, abs=1e-3, nan_ok=True)
    measured(of(Bits), "vimco")


def inverted(_, draw):
    return Draw(1 - draw.z, draw.log_q, draw.log_q_path)


# What is wrong, the kind of proposal, what it does with a draw, an estimator that is refused, and what is said.
WRONG = {
    "path is all of log_q": (Normal, lambda _, d: Draw(d.z, d.log_q, d.log_q), "vimco", "another derivative"),
    "path is a constant": (Normal, lambda _, d: Draw(d.z, d.log_q, d.log_q.detach()), "dreg", "another derivative"),
    "no path": (Normal, lambda _, d: Draw(d.z, d.log_q, None), "dreg", "draw() gives none"),
    "log_q off": (Normal, lambda _, d: Draw(d.z, d.log_q + 0.3, d.log_q_path), "iwae", "not what log_prob gives"),
    "log_q detached": (Normal, lambda _, d: Draw(d.z, d.log_q.detach(), d.log_q_path), "iwae", "another derivative"),
    "bits, path is log_q": (Bits, lambda _, d: Draw(d.z, d.log_q, d.log_q), "rws", "log_q.detach()"),
    "bits, no path": (Bits, lambda _, d: Draw(d.z, d.log_q, None), "rws", "correct its detached density"),
    "bits, log_q of others": (Bits, inverted, "rws", "not what log_prob gives"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_draw_with_an_error_is_refused(wrong):
    kind, changed, estimator, said = WRONG[wrong]
    with pytest.raises(SnrkitError, match=said.replace("(", r"\(").replace(")", r"\)")):
        measured(of(kind, changed=changed), estimator)


class Plainly:
    """A proposal by sample, log_prob and detached, whose density has the ``power`` of the scale that it samples with."""

    power = 1

    def __init__(self, loc, scale):
        self.loc, self.scale, self.noise_shape = loc, scale, (loc.shape[-1],)

    def sample(self, noise):
        return self.loc[:, None, None] + self.scale[:, None, None] * noise

    def log_prob(self, z):
        scale = self.scale**self.power
        return distributions.Normal(self.loc[:, None, None], scale[:, None, None]).log_prob(z).sum(-1)

    def detached(self):
        return type(self)(self.loc.detach(), self.scale.detach())


def test_samples_of_another_law_than_the_density_are_refused():
    measured(of(Plainly), "iwae")
    with pytest.raises(SnrkitError, match="not distributed as log_prob says"):
        measured(of(Plainly, power=2), "iwae")
    shifted = {"draw": lambda self, noise, path: Bits.draw(self, noise + 0.5, path)}
    with pytest.raises(SnrkitError, match="not distributed as log_prob says"):
        measured(of(Bits, **shifted), "vimco")


def test_a_density_without_a_graph_and_noise_of_no_shape_are_refused():
    with pytest.raises(SnrkitError, match="autograd sees no way"):
        measured(of(Plainly, log_prob=torch.no_grad()(Plainly.log_prob)), "vimco")
    with pytest.raises(SnrkitError, match="tuple of sizes"):
        measured(
            of(Plainly, __setattr__=lambda self, k, v: vars(self).update({k: v[0] if "shape" in k else v})), "iwae"
        )


class Dreaming(Vae):
    """A prior with a mean that is learnt, and dreams."""

    dream_size = PIXELS + LATENT

    def __init__(self):
        super().__init__()
        self.mu = nn.Parameter(0.5 * torch.ones(LATENT))

    def log_prior(self, z):
        return distributions.Normal(self.mu, 1.0).log_prob(z).sum(-1)

    def log_joint(self, x, z):
        return Dreaming.log_prior(self, z) + snrkit.bernoulli_log_prob(x, self.decoder(z))

    def dream(self, noise):
        z = self.mu + noise[..., PIXELS:]
        return (torch.special.ndtr(noise[..., :PIXELS]) < self.decoder(z).sigmoid()).to(noise.dtype), z

    def regenerate(self, z):
        return self.mu + (z - self.mu).detach()

    def kl_to_prior(self, posterior, z):
        q, p = distributions.Normal(posterior.loc, posterior.scale), distributions.Normal(self.mu, 1.0)
        return distributions.kl_divergence(q, p).sum(-1)[:, None, None]


def another_mean(self, noise):
    return Dreaming.dream(self, noise)[0], noise[..., PIXELS:]


def grey(self, noise):
    z = Dreaming.dream(self, noise)[1]
    return self.decoder(z).sigmoid(), z


OFFERS = {
    "another mean": ("wake-sleep", {"dream": another_mean}, "not distributed as log_joint says"),
    "grey": ("wake-sleep", {"dream": grey}, "not distributed as log_joint says"),
    "own generator": (
        "wake-sleep",
        {"dream": lambda s, n: Dreaming.dream(s, torch.randn_like(n))},
        "generators of its own",
    ),
    "one for all": (
        "wake-sleep",
        {"dream": lambda s, n: Dreaming.dream(s, n[:1, :1, :1].expand_as(n))},
        "noise of others",
    ),
    "no numbers": ("wake-sleep", {"dream": lambda s, n: Dreaming.dream(s, n * torch.nan)}, "NaN"),
    "size": ("wake-sleep", {"dream_size": PIXELS}, "the model's own fails .RuntimeError: "),
    "none": ("vae-annealed", {"log_prior": lambda *_: None}, "log_prior is None"),
    "kl": ("vae-analytic", {"kl_to_prior": lambda *a: 2 * Dreaming.kl_to_prior(*a)}, "not the mean of log q"),
    "another z": ("gdreg", {"regenerate": lambda s, z: z + s.mu}, "gives another z"),
    "no graph": ("gdreg", {"regenerate": lambda _, z: z}, "does not depend on 'mu'"),
}


@pytest.mark.parametrize("estimator", ["wake-sleep", "gdreg", "vae-analytic", "vae-annealed"])
def test_right_offers_are_taken(estimator):
    assert len(measured(made(Dreaming), estimator))


@pytest.mark.parametrize("wrong", OFFERS)
def test_an_offer_with_an_error_is_refused(wrong):
    estimator, changed, said = OFFERS[wrong]
    with pytest.raises(SnrkitError, match=said):
        measured(made(type("Model", (Dreaming,), changed)), estimator)


class Plain(nn.Module):
    """No ``LatentModel``, with a prior named."""

    prior = staticmethod(lambda: distributions.Normal(torch.zeros(LATENT), torch.ones(LATENT)))

    def __init__(self):
        super().__init__()
        self.inside = Vae()

    def encode(self, x):
        return self.inside.encode(x)

    def log_joint(self, x, z):
        return self.inside.log_joint(x, z)

    def prior_distribution(self):
        return self.prior()


def test_a_plain_module_may_name_its_prior_by_one_law_for_all_coordinates_too():
    class Single(Plain):
        prior = staticmethod(lambda: distributions.Normal(0.0, 1.0))

    for estimator in ("vae-analytic", VaeAnnealed(0.5)):
        one, other = (measured(made(kind), estimator) for kind in (Plain, Single))
        assert one.value.to_list() == pytest.approx(other.value.to_list(), rel=1e-3, abs=1e-4, nan_ok=True)
    with pytest.raises(SnrkitError, match="the prior of Plain"):
        measured(made(Plain), "gdreg")


def test_a_divergence_that_is_infinite_is_refused():
    class Bounded(Plain):
        prior = staticmethod(lambda: distributions.Beta(torch.ones(LATENT), torch.ones(LATENT)))

    with pytest.raises(SnrkitError, match="infinite"):
        measured(made(Bounded), "vae-analytic")


def test_ours_in_a_subclass_is_no_false_alarm():
    class Mine(DiagonalNormal):
        pass

    model = made(type("Model", (Vae,), {"proposed": lambda _, h: Mine(*halves(h))}))
    found, ours = measured(model, "dreg"), measured(made(Vae), "dreg")
    assert found.value.to_list() == pytest.approx(ours.value.to_list(), rel=1e-6, nan_ok=True)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "returned NoneType"),
        ({"absent": "inference"}, "no such parameter"),
        ({"encoder.0.weight": "encoder"}, "says 'encoder'"),
    ],
)
def test_networks_of_a_users_own_are_checked(returned, said):
    model = made(type("Model", (Vae,), {"networks": lambda *_: returned}))
    with pytest.raises(SnrkitError, match=said):
        measured(model, "iwae")
