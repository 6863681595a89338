"""What models offer besides densities: priors, KL divergences, dreams, samples made anew."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from snrkit import DiagonalNormal, LatentModel, bernoulli_log_prob, standard_normal_log_prob
from snrkit.core.logweights import LogWeights, Parts
from snrkit.errors import CapabilityError
from snrkit.models.random_weights import RandomWeights
from tests.zoo import B, D, K, M, Users, hierarchical, images, mlp, numbers, toy

PIXELS = 9


def random_weights():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RandomWeights(PIXELS, 6, 3, "both", 0.3).double()


def own(name):
    """A model of ours, and data for it."""
    if name == "gaussian":
        return toy()
    return {"mlp": mlp, "hierarchical": hierarchical, "random-weights": random_weights}[name](), images()


OURS = pytest.mark.parametrize("name", ["gaussian", "mlp", "hierarchical", "random-weights"])


def noise_of(model, x, seed, *lead, dreams=False):
    size = model.noise_shape(x)[0] + (model.dream_size if dreams else 0)
    return numbers(seed, *lead, size)


@OURS
def test_the_prior_is_the_part_of_log_p_that_z_has_by_itself(name):
    """log p(x, z) - log p(z) is a likelihood: for binary pixels its exponential sums to 1 over all images."""
    model, x = own(name)
    z = model.from_prior(numbers(1, 2, 1, K, model.prior_size))
    if name == "gaussian":
        likelihood = model.log_joint(x[:2, None, None], z) - model.log_prior(z)
        torch.testing.assert_close(likelihood, standard_normal_log_prob(x[:2, None, None] - z))
        return
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * PIXELS)
    likelihood = model.log_joint(every[:, None, None], z[:1]) - model.log_prior(z[:1])
    torch.testing.assert_close(likelihood.logsumexp(0), torch.zeros_like(likelihood[0]))


@OURS
def test_dreams_are_samples_of_the_model(name):
    """E[x] and E[x f(z)] over dreams are those of means given z, in standard errors; and z is the prior's."""
    model, _ = own(name)
    x, z = model.dream(numbers(2, 20_000, model.dream_size))
    assert x.shape[0] == z.shape[0]
    assert not x.requires_grad or name == "gaussian"
    mean = z if name == "gaussian" else model.pixel_means(z)
    for weight in (torch.ones(len(z)).double(), torch.tanh(z[:, 0])):
        gap = ((x - mean) * weight[:, None]).detach()
        assert (gap.mean(0).abs() < 4.5 * gap.std(0) / math.sqrt(len(gap))).all()


@OURS
def test_log_q_at_dreams_is_that_of_the_proposal_for_them(name):
    model, x = own(name)
    noise = noise_of(model, x, 3, B, M, K, dreams=True)
    weights = model(x, noise, parts=Parts(sleep=True))
    dreamt, z = model.dream(noise[..., model.noise_shape(x)[0] :])
    for index in ((0, 0, 0), (2, 1, 4), (1, 0, 3)):
        expected = model.encode(dreamt[index][None]).log_prob(z[index][None, None, None])
        torch.testing.assert_close(weights.log_q_sleep[index], expected[0, 0, 0])
    plain = model(x, noise[..., : model.noise_shape(x)[0]])
    assert torch.equal(plain.log_w, weights.log_w)
    assert weights.log_q_sleep.requires_grad


def test_the_sleep_phase_has_no_gradient_in_the_generative_network():
    model, x = mlp(), images()
    weights = model(x, noise_of(model, x, 3, B, M, K, dreams=True), parts=Parts(sleep=True))
    found = torch.autograd.grad(weights.log_q_sleep.sum(), [*model.parameters()], allow_unused=True)
    reached = {name for (name, _), g in zip(model.named_parameters(), found, strict=True) if g is not None}
    assert reached == {name for name, _ in model.named_parameters() if name.startswith("encoder")}


@pytest.mark.parametrize("name", ["gaussian", "mlp", "random-weights"])
def test_the_closed_kl_is_the_mean_of_log_q_less_log_p(name):
    model, x = own(name)
    draws = 20_000
    weights = model(x, noise_of(model, x, 4, B, 1, draws), parts=Parts(prior=True, kl=True))
    # Of random weights the divergence too depends on the sample; the weights' noise is in both.
    gap = (weights.log_q - weights.log_prior - weights.kl).detach()[:, 0]
    assert (gap.mean(1).abs() < 4.5 * gap.std(1) / math.sqrt(draws)).all()
    assert (gap.std(1) > 0.1).all()


def test_layers_have_no_closed_kl():
    model, x = own("hierarchical")
    with pytest.raises(CapabilityError, match="no closed form; choose vae"):
        model(x, noise_of(model, x, 4, B, M, K), parts=Parts(kl=True))


@pytest.mark.parametrize("name", ["gaussian", "hierarchical"])
def test_samples_made_anew_are_the_same_with_a_derivative_in_the_prior_alone(name):
    model, x = own(name)
    z = model.proposal(x).sample(noise_of(model, x, 5, B, M, K)).detach()
    anew = model.regenerate(z)
    torch.testing.assert_close(anew, z)
    direction = numbers(6, *z.shape)
    found = torch.autograd.grad((anew * direction).sum(), [*model.parameters()], allow_unused=True)
    reached = {name for (name, _), g in zip(model.named_parameters(), found, strict=True) if g is not None}
    prior = {"mu"} if name == "gaussian" else {n for n, _ in model.named_parameters() if n.startswith("prior")}
    assert reached == prior


def test_the_parts_made_anew_have_the_values_of_the_others():
    model, x = own("hierarchical")
    weights = model(x, noise_of(model, x, 5, B, M, K), path=True, parts=Parts(regenerated=True, prior=True))
    torch.testing.assert_close(weights.log_w_again, weights.log_w)
    torch.testing.assert_close(weights.log_lik_again, weights.log_p - weights.log_prior)


class Named(LatentModel):
    """A user's model that says what its prior is."""

    def __init__(self, prior):
        super().__init__()
        self.body, self.decoder = torch.nn.Linear(PIXELS, 2 * D).double(), torch.nn.Linear(D, PIXELS).double()
        self.p = prior

    def encode(self, x):
        loc, log_scale = self.body(x).chunk(2, -1)
        return Normal(loc, log_scale.exp())

    def log_joint(self, x, z):
        return self.log_prior(z) + bernoulli_log_prob(x, self.decoder(z))

    def prior_distribution(self):
        return self.p


def components():
    return MixtureSameFamily(
        Categorical(torch.tensor([0.3, 0.7]).double()), Independent(Normal(numbers(1, 2, D), numbers(2, 2, D).exp()), 1)
    )


@pytest.mark.parametrize(
    "prior",
    [
        Normal(numbers(1, D), numbers(2, D).exp()),
        Independent(Normal(numbers(1, D), numbers(2, D).exp()), 1),
        MultivariateNormal(numbers(1, D), torch.eye(D).double() + 0.2),
    ],
    ids=["normal", "independent", "multivariate"],
)
def test_all_follows_from_a_prior_that_is_named(prior):
    model, x = Named(prior), images()
    weights = model(x, numbers(3, B, 1, 20_000, D), parts=Parts(prior=True, kl=True))
    gap = (weights.log_q - weights.log_prior - weights.kl).detach()[:, 0]
    assert weights.kl.shape == weights.log_p.shape
    assert (gap.mean(1).abs() < 4.5 * gap.std(1) / math.sqrt(20_000)).all()
    z = model.from_prior(numbers(4, 2, 5, model.prior_size))
    assert z.shape == (2, 5, D)
    expected = prior.log_prob(z)
    torch.testing.assert_close(model.log_prior(z), expected.sum(-1) if expected.ndim > 2 else expected)


def test_a_prior_without_a_closed_form_is_told():
    model, x = Named(components()), images()
    with pytest.raises(CapabilityError, match="no closed form here; choose vae"):
        model(x, numbers(3, B, M, K, D), parts=Parts(kl=True))
    assert model(x, numbers(3, B, M, K, D), parts=Parts(prior=True)).log_prior.shape == (B, M, K)


@pytest.mark.parametrize("parts", [Parts(prior=True), Parts(kl=True), Parts(sleep=True), Parts(regenerated=True)])
def test_a_model_that_says_nothing_of_it_is_told_what_to_write(parts):
    model, x = Users().double(), images()
    with pytest.raises(CapabilityError, match=r"give it|choose dreg"):
        model(x, numbers(3, B, M, K, D), parts=parts)


def test_a_models_own_things_of_these_names_harm_nobody_who_does_not_ask():
    """Attributes and methods that mean something else."""

    class Other(Users):
        kl_to_prior = 3
        dream_size = "large"

        def log_prior(self, a, b, c):
            raise AssertionError

    model, x = Other().double(), images()
    assert isinstance(model(x, numbers(3, B, M, K, D), path=True), LogWeights)
    assert isinstance(model.encode(x), DiagonalNormal)
