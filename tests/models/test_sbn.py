"""The sigmoid belief network against torch.distributions and against sums over all of its states."""

from dataclasses import dataclass

import pytest
import torch
from torch import distributions

from snrkit.core import bounds
from snrkit.core.logweights import Parts, normalised
from snrkit.core.objective import Needs, apart
from snrkit.core.streams import Streams
from snrkit.diagnostics.engines import ENGINES
from snrkit.diagnostics.engines.base import PassSize
from snrkit.diagnostics.engines.factors import Plans
from snrkit.diagnostics.measure import measure
from snrkit.diagnostics.problem import Problem
from snrkit.errors import CapabilityError, SpecError
from snrkit.estimators.base import Estimator, Theory
from snrkit.models.base import build_model
from snrkit.models.calling import parameters_of
from snrkit.models.sbn import Sbn
from snrkit.models.summary import DataSummary
from snrkit.specs.run import ModelSpec
from tests.support.enumeration import Enumerated, every, network
from tests.support.training import learns
from tests.zoo import B, K, M, images, numbers, sbn

PIXELS, WIDTHS = 9, (4, 3, 2)


@dataclass(frozen=True)
class Wake(Estimator):
    """Score-function gradients with constant weights, the least that this model works with."""

    name = "wake"
    needs = Needs(reparameterised=False)

    def terms(self):
        return apart(
            inference=lambda w: (normalised(w.log_w.detach()) * w.log_q).sum(-1).mean(-1), generative=self.own_bound
        )

    def bound(self, log_w):
        return bounds.iwae(log_w)

    @property
    def theory(self):
        return Theory((0.5, 0.5), (0.5, 0.5), "", "")


@dataclass(frozen=True)
class Asleep(Wake):
    """The same, asleep."""

    name = "asleep"
    needs = Needs(reparameterised=False, sleep=True)

    def terms(self):
        return apart(inference=lambda w: w.log_q_sleep.mean((-2, -1)), generative=self.own_bound)


@pytest.fixture(params=[(), (6, 5)], ids=["linear", "tanh"])
def three(request):
    """Three stochastic layers."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = Sbn(PIXELS, WIDTHS, request.param).double()
    with torch.no_grad():
        model.top.copy_(numbers(0, WIDTHS[-1]))
    return model


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def bits(seed, *shape):
    return (numbers(seed, *shape) > 0).double()


@pytest.mark.parametrize(
    ("pixels", "widths", "inference", "generative"),
    [(784, (200, 200, 200), 237_400, 238_184), (784, (200,), 157_000, 157_784), (64, (20, 10), 1_510, 1_574)],
)
def test_parameter_counts(pixels, widths, inference, generative):
    model = Sbn(pixels, widths)
    assert (count(model.recognition), count(model.generative) + model.top.numel()) == (inference, generative)


def test_what_is_built_by_default_and_of_options():
    summary = DataSummary(torch.rand(784, dtype=torch.float64), real=False)
    plain = build_model(ModelSpec(name="sbn"), summary, 0)
    assert (count(plain), plain.widths, plain.mean) == (475_584, (200, 200, 200), None)
    options = {"widths": [5, 3], "nonlinear": [7, 6], "centre": True}
    model = build_model(ModelSpec(name="sbn", options=options), summary, 0)
    shapes = [
        [tuple(layer.weight.shape) for layer in network[::2]] for network in (*model.recognition, *model.generative)
    ]
    assert shapes == [
        [(7, 784), (6, 7), (5, 6)], [(7, 5), (6, 7), (3, 6)], [(6, 5), (7, 6), (784, 7)], [(6, 3), (7, 6), (5, 7)],
    ]  # fmt: skip
    x = images(pixels=784, dtype=torch.float32)
    torch.testing.assert_close(model.encode(x).logits, model.recognition[0](x - summary.mean.float()))
    with pytest.raises(SpecError, match="real-valued"):
        build_model(ModelSpec(name="sbn"), DataSummary(torch.zeros(4), real=True), 0)
    with pytest.raises(SpecError, match=r"sbn\.widths"):
        build_model(ModelSpec(name="sbn", options={"widths": []}), summary, 0)


def test_densities_against_torch(three):
    def of(logits, value):
        return distributions.Bernoulli(logits=logits).log_prob(value).sum(-1)

    x, z = images(pixels=PIXELS), bits(1, B, M, K, sum(WIDTHS))
    h1, h2, h3 = z.split(WIDTHS, dim=-1)
    up, down = three.recognition, three.generative
    log_q = of(up[0](x)[:, None, None], h1) + of(up[1](h1), h2) + of(up[2](h2), h3)
    torch.testing.assert_close(three.encode(x).log_prob(z), log_q)
    log_prior = of(three.top, h3) + of(down[2](h3), h2) + of(down[1](h2), h1)
    torch.testing.assert_close(three.log_prior(z), log_prior)
    pixels = distributions.Bernoulli(logits=down[0](h1))
    torch.testing.assert_close(
        three.log_joint(x[:, None, None], z), log_prior + pixels.log_prob(x[:, None, None]).sum(-1)
    )
    torch.testing.assert_close(three.pixel_means(z), pixels.mean)


def test_a_draw_is_bits_with_their_density(three):
    x, noise = images(pixels=PIXELS), numbers(2, B, M, K, sum(WIDTHS))
    posterior = three.encode(x)
    draw = posterior.draw(noise, path=True)
    assert ((draw.z == 0) | (draw.z == 1)).all()
    assert 0.1 < draw.z.mean() < 0.9
    torch.testing.assert_close(draw.log_q, posterior.log_prob(draw.z))
    torch.testing.assert_close(draw.log_q_path, draw.log_q)
    assert (draw.z.requires_grad, draw.log_q.requires_grad, draw.log_q_path.requires_grad) == (False, True, False)
    uniform = distributions.Normal(0.0, 1.0).cdf(noise)
    h1, h2, h3 = draw.z.split(WIDTHS, dim=-1)
    for part, below, means in zip((h1, h2, h3), (x[:, None, None], h1, h2), posterior.layer_means(noise), strict=True):
        assert part.shape[:3] == below.expand(B, M, K, -1).shape[:3]
        own = uniform[..., : part.shape[-1]]
        assert torch.equal(part, (own < means).double())
        uniform = uniform[..., part.shape[-1] :]


def joint(model):
    """(log p(x, z), log q(z|x)) of all images and latents, each ``[2^P, 2^D]``."""
    x, z = every(model.pixels), every(model.latent)
    states = z.expand(len(x), 1, *z.shape)
    return model.log_joint(x[:, None, None], states)[:, 0], model.encode(x).log_prob(states)[:, 0]


def test_all_sums_are_one_and_bounds_rise_to_the_likelihood():
    model, x = network()
    log_p, log_q = joint(model)
    torch.testing.assert_close(log_p.exp().sum(), torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(log_q.exp().sum(-1), torch.ones(8, dtype=torch.float64))
    torch.testing.assert_close(log_p.exp().sum(0), model.log_prior(every(model.latent)).exp())
    elbo, two = (Enumerated(model, x, K).mean(lambda w: bounds.iwae(w.log_w)[:, 0]).item() for K in (1, 2))
    exact = torch.logsumexp(Enumerated(model, x, 1).densities()[0], -1).item()
    assert elbo < two - 0.1 < exact - 0.2


def test_dreams_are_as_likely_as_the_model_says():
    """Of 20,000 dreams, the share of each (x, z) in standard errors of its exact probability."""
    (model, _), dreams = network(), 20_000
    x, z = model.dream(numbers(4, dreams, model.dream_size))
    assert x.shape == (dreams, 3)
    place = (torch.cat([x, z], -1) @ 2.0 ** torch.arange(7, -1, -1, dtype=torch.float64)).long()
    share = torch.bincount(place, minlength=256) / dreams
    p = joint(model)[0].exp().flatten().detach()
    often = p * dreams > 20
    stderr = (p * (1 - p) / dreams).sqrt()
    assert ((share - p) / stderr)[often].abs().max() < 4.5
    assert often.sum() > 20
    assert ((share[torch.arange(256) ^ 1] - p) / stderr)[often].abs().max() > 20  # neighbours are told apart


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [Wake(), Asleep()], ids=lambda e: e.name)
def test_engines_agree_draw_by_draw(estimator):
    problem = Problem.units(sbn(), images(), K, Streams(3), dreams=estimator.needs.sleep)
    size = PassSize(units=4, samples=10**6)
    loop, *others = (
        ENGINES.load(name)().moments(problem, estimator, range(B), range(2, 15), size)
        for name in ("loop", "vmap", "factors")
    )
    for found in others:
        for kind in ("mean", "m2"):
            for one, other in zip(getattr(found, kind), getattr(loop, kind), strict=True):
                assert (one - other).norm() <= 1e-10 * other.norm()
                assert other.norm() > 0


def test_factors_serve_all_but_further_recognition_layers_and_the_top():
    problem = Problem.units(sbn(), images(), K, Streams(3))
    reached = Plans().reached(problem, Wake())
    left = {name for name in parameters_of(sbn()) if name.startswith("recognition.1") or name == "top"}
    assert reached == set(problem.layout.names) - left


def test_what_needs_a_path_is_refused_with_what_works():
    with pytest.raises(CapabilityError, match=r"needs a reparameterised proposal, and that of sbn is discrete; \w+"):
        measure(sbn(), images(), ["dreg"], K=[2], draws=4)
    with pytest.raises(CapabilityError, match="layers of bits has no closed form"):
        sbn()(images(), numbers(1, B, M, K, 4), parts=Parts(kl=True))
    with pytest.raises(CapabilityError, match="no parameters"):
        sbn()(images(), numbers(1, B, M, K, 4), parts=Parts(regenerated=True))


def test_bits_of_half_precision_are_those_of_float32():
    """Phi and the log-odds are taken in float32; noise near a bit's edge may turn it, as it may between engines."""
    model, noise = sbn().float(), numbers(5, B, M, K, 4).half()
    expected = model.encode(images(dtype=torch.float32)).draw(noise.float(), path=False).z
    found = model.half().encode(images(dtype=torch.float16)).draw(noise, path=False)
    assert (found.z.dtype, found.log_q.dtype) == (torch.float16, torch.float16)
    assert (found.z.float() == expected).float().mean() > 0.95


@pytest.mark.rest_slow
@pytest.mark.parametrize("estimator", ["vimco", "wake-sleep"])
def test_it_learns_digits_and_resumes_to_the_bit(tmp_path, estimator):
    learns({"name": "sbn", "options": {"widths": [20, 10], "centre": True}}, 6, 10, tmp_path, estimator)
