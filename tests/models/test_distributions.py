"""Objects of torch.distributions as proposals: their densities, laws, gradients, and what is refused."""

import copy
import math
from collections import OrderedDict, namedtuple

import pytest
import torch
from scipy.stats import ks_2samp, kstest
from torch import distributions as td
from torch.distributions import transforms as tt
from torch.nn.functional import softplus

import snrkit
from snrkit import DiagonalNormal
from snrkit.errors import CapabilityError, NonFiniteError, SpecError
from snrkit.models.distributions import as_posterior
from tests.zoo import B, D, K, M, numbers


def positive(raw):
    return 0.2 + softplus(raw)


def matrix(raw):
    """[B, D] to lower triangular [B, D, D]."""
    full = raw[..., None] * numbers(9, D, D)
    return full.tril(-1) + torch.diag_embed(positive(raw))


def covariance(raw):
    tril = matrix(raw)
    return tril @ tril.mT


def mixture(a, b):
    means = torch.stack([a, a + 2 * b, a - 3], dim=-2)
    parts = td.Independent(td.Normal(means, positive(b)[:, None]), 1)
    return td.MixtureSameFamily(td.Categorical(logits=a[:, :3]), parts)


def mixture_of_each(a, b):
    return td.MixtureSameFamily(
        td.Categorical(logits=torch.stack([a, b], -1)), td.Laplace(torch.stack([a, 4 + b], -1), positive(b)[..., None])
    )


def logistic(a, b):
    uniform = td.Uniform(torch.zeros_like(a), torch.ones_like(a))
    return td.TransformedDistribution(uniform, [tt.SigmoidTransform().inv, tt.AffineTransform(a, positive(b))])


def squashed(a, b):
    return td.TransformedDistribution(td.Normal(a, positive(b)), [tt.TanhTransform(cache_size=1)])


def affine_of_squashed(a, b):
    inside = td.TransformedDistribution(td.Normal(a, positive(b)), [tt.SigmoidTransform()])
    return td.Independent(td.TransformedDistribution(inside, [tt.AffineTransform(b, positive(a))]), 1)


def copula(a, b):
    normal = td.MultivariateNormal(torch.zeros_like(a), scale_tril=matrix(b))
    zero = torch.zeros((), dtype=a.dtype)
    steps = [
        tt.CumulativeDistributionTransform(td.Normal(zero, zero + 3)),
        tt.CumulativeDistributionTransform(td.Laplace(a, positive(b))).inv,
    ]
    return td.TransformedDistribution(normal, steps)


def rotated(a, b):
    """Transforms of transforms, with parameters inside."""
    steps = tt.ComposeTransform([tt.AffineTransform(a, positive(b)), tt.ExpTransform()])
    halves = tt.CatTransform([steps.parts[1], tt.ComposeTransform([tt.TanhTransform()])], dim=-1, lengths=[1, D - 1])
    return td.TransformedDistribution(td.Normal(b, positive(a)), [steps.inv.inv.parts[0], halves])


# Name to two raw parameters [B, D] to a distribution.
REPARAMETERISED = {
    "normal": lambda a, b: td.Normal(a, positive(b)),
    "independent": lambda a, b: td.Independent(td.Normal(a, positive(b)), 1),
    "images": lambda a, b: td.Independent(td.Normal(a.view(-1, 1, 2, 2), positive(b).view(-1, 1, 2, 2)), 3),
    "rows": lambda a, b: td.Independent(td.Laplace(a.view(-1, 2, 2), positive(b).view(-1, 2, 2)), 1),
    "tril": lambda a, b: td.MultivariateNormal(a, scale_tril=matrix(b)),
    "covariance": lambda a, b: td.MultivariateNormal(a, covariance_matrix=covariance(b)),
    "precision": lambda a, b: td.MultivariateNormal(a, precision_matrix=covariance(b)),
    "low-rank": lambda a, b: td.LowRankMultivariateNormal(a, (a * b)[..., None] * numbers(7, D, 2), positive(b)),
    "laplace": lambda a, b: td.Laplace(a, positive(b)),
    "cauchy": lambda a, b: td.Cauchy(a, positive(b)),
    "gumbel": lambda a, b: td.Gumbel(a, positive(b)),
    "log-normal": lambda a, b: td.LogNormal(a, positive(b)),
    "half-normal": lambda a, b: td.HalfNormal(positive(a * b)),
    "half-cauchy": lambda a, b: td.HalfCauchy(positive(a * b)),
    "logistic-normal": lambda a, b: td.LogisticNormal(a, positive(b)),
    "exponential": lambda a, b: td.Exponential(positive(a * b)),
    "uniform": lambda a, b: td.Uniform(a, a + positive(b)),
    "pareto": lambda a, b: td.Pareto(positive(a), positive(b)),
    "weibull": lambda a, b: td.Weibull(positive(a), positive(b)),
    "kumaraswamy": lambda a, b: td.Kumaraswamy(positive(a), positive(b)),
    "relaxed-bernoulli": lambda a, b: td.RelaxedBernoulli(positive(a.mean(-1, keepdim=True)), logits=a * b),
    "relaxed-one-hot": lambda a, b: td.RelaxedOneHotCategorical(torch.tensor(0.7), logits=a * b),
    "logistic": logistic,
    "squashed": squashed,
    "affine-of-squashed": affine_of_squashed,
    "copula": copula,
    "rotated": rotated,
}
CONSTANT = {
    "mixture": mixture,
    "mixture-of-each": mixture_of_each,
    "bernoulli": lambda a, b: td.Bernoulli(logits=a * b),
    "bernoulli-probs": lambda a, b: td.Independent(td.Bernoulli(torch.sigmoid(a * b)), 1),
    "categorical": lambda a, b: td.Categorical(logits=torch.stack([a, b, a * b], -1)),
    "one-hot": lambda a, b: td.OneHotCategorical(logits=a * b),
    "straight-through": lambda a, b: td.OneHotCategoricalStraightThrough(logits=a * b),
}
ALL = REPARAMETERISED | CONSTANT
DATA = torch.zeros(B, 9)
reparameterised = pytest.mark.parametrize("make", REPARAMETERISED.values(), ids=REPARAMETERISED)
every = pytest.mark.parametrize("make", ALL.values(), ids=ALL)


def parameters(dtype=torch.float64):
    return [0.7 * numbers(seed, B, D).to(dtype).requires_grad_() for seed in (1, 2)]


def posterior_of(value, x=DATA):
    posterior, remarks = as_posterior(value, x)
    assert not remarks
    return posterior


def drawn(posterior, dtype=torch.float64):
    return posterior.sample(numbers(3, B, M, K, *posterior.noise_shape).to(dtype))


def summed_log_prob(d, z):
    """log q of z [B, M, K, ...] by torch's own method, sample by sample."""
    each = [[d.log_prob(z[:, m, k]).reshape(B, -1).sum(-1) for k in range(K)] for m in range(M)]
    return torch.stack([torch.stack(row, -1) for row in each], -2)


@every
def test_density_is_torchs_own(make):
    d = make(*parameters())
    posterior = posterior_of(d)
    z = drawn(posterior)
    assert z.shape == (B, M, K, *d.batch_shape[1:], *d.event_shape)
    d._validate_args = False
    expected = summed_log_prob(d, z)
    torch.testing.assert_close(posterior.log_prob(z), expected)
    torch.testing.assert_close(posterior.log_prob(z.clone()), expected)
    torch.testing.assert_close(posterior.detached().log_prob(z), expected)


@every
def test_law_is_torchs_own(make):
    """Coordinates, and their products, against torch's draws: 3,000 each, Kolmogorov-Smirnov at p = 1e-4."""
    d = make(*parameters())
    posterior = posterior_of(d)
    count = 3000
    z = posterior.sample(numbers(4, B, 1, count, *posterior.noise_shape)).detach().view(B, count, -1).double()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = d.sample((count,)).movedim(0, 1).reshape(B, count, -1).double()
    for coordinate in (0, -1):
        for ours, other in zip(z[..., coordinate], theirs[..., coordinate], strict=True):
            assert ks_2samp(ours, other, method="asymp").pvalue > 1e-4
    ours, other = (part[0].prod(-1) + part[0, :, 0] for part in (z, theirs))
    assert ks_2samp(ours, other, method="asymp").pvalue > 1e-4


@pytest.mark.rest_slow
@reparameterised
def test_gradients_of_samples_and_densities_against_differences(make):
    noise = numbers(5, B, 1, 2, *posterior_of(make(*parameters())).noise_shape)

    def both(a, b):
        posterior = posterior_of(make(a, b))
        z = posterior.sample(noise)
        return z, posterior.log_prob(z)

    assert torch.autograd.gradcheck(both, parameters(), eps=1e-6, atol=1e-6)


def gradients(value, leaves):
    return torch.autograd.grad(value.sum(), leaves, retain_graph=True, allow_unused=True)


@reparameterised
def test_path_derivative_is_that_through_z(make):
    leaves = parameters()
    posterior = posterior_of(make(*leaves))
    z = drawn(posterior)
    log_q_path = posterior.detached().log_prob(z)
    # The density of a uniform is the same everywhere.
    path = gradients(log_q_path, leaves) if log_q_path.requires_grad else (None, None)

    d = make(*[leaf.detach() for leaf in leaves])
    d._validate_args = False
    point = z.detach().requires_grad_()
    by_z = torch.autograd.grad(summed_log_prob(d, point).sum() + 0 * point.sum(), point)[0]
    expected = torch.autograd.grad(z, leaves, by_z, retain_graph=True, allow_unused=True)
    for found, right in zip(path, expected, strict=True):
        assert (found is None and (right is None or not right.any())) or torch.allclose(found, right, atol=1e-9)


@pytest.mark.parametrize("make", CONSTANT.values(), ids=CONSTANT)
def test_samples_without_a_derivative_are_constants(make):
    leaves = parameters()
    posterior = posterior_of(make(*leaves))
    z = drawn(posterior)
    assert not posterior.reparameterised
    assert not z.requires_grad
    assert posterior.log_prob(z).requires_grad
    assert not posterior.detached().log_prob(z).requires_grad


@pytest.mark.rest_slow
@every
def test_vmap_over_draws_is_a_loop(make):
    leaves = [leaf.detach() for leaf in parameters()]
    noise = numbers(6, 7, B, M, K, *posterior_of(make(*leaves)).noise_shape)

    def gradient(noise):
        def value(a, b):
            posterior = posterior_of(make(a, b))
            z = posterior.sample(noise)
            return (posterior.log_prob(z) + posterior.detached().log_prob(z) + z.flatten(3).sum(-1)).sum()

        return torch.func.grad(value, argnums=(0, 1))(*leaves)

    together = torch.func.vmap(gradient)(noise)
    for draw, one in enumerate(noise):
        for found, expected in zip(together, gradient(one), strict=True):
            torch.testing.assert_close(found[draw], expected)


@every
def test_exchanged_tensors_make_another_proposal(make):
    """As the factors engine does it: tensors of one point exchanged for those of several draws."""
    a, b = parameters()
    with torch.no_grad():
        one = posterior_of(make(a[:1], b[:1]), DATA[:1])
        other = posterior_of(make(a, b))
    changed = copy.copy(one)
    for name, tensor in vars(other).items():
        if isinstance(tensor, torch.Tensor):
            object.__setattr__(changed, name, tensor)
    noise = numbers(3, B, M, K, *other.noise_shape)
    z = other.sample(noise)
    torch.testing.assert_close(changed.sample(noise), z)
    torch.testing.assert_close(changed.log_prob(z.clone()), other.log_prob(z.clone()))


def test_normal_is_diagonal_normal():
    a, b = parameters()
    for d in (td.Normal(a, positive(b)), td.Independent(td.Normal(a, positive(b)), 1)):
        posterior = posterior_of(d)
        assert type(posterior) is DiagonalNormal
        assert posterior.loc is d.mean or torch.equal(posterior.loc, a)


def test_a_posterior_passes_unchanged():
    own = DiagonalNormal(*[leaf.exp() for leaf in parameters()])
    assert as_posterior(own, DATA) == (own, [])


def test_saturated_transforms_keep_their_density():
    """tanh(9) is 1 in float32, where the inverse is infinite; float64 has the digits."""
    loc = torch.full((B, D), 9.0, dtype=torch.float64)
    values, paths = [], []
    for dtype in (torch.float32, torch.float64):
        leaf = loc.to(dtype).requires_grad_()
        posterior = posterior_of(td.TransformedDistribution(td.Normal(leaf, 1.0), [tt.TanhTransform()]))
        z = drawn(posterior, dtype)
        values.append(posterior.log_prob(z))
        paths.append(torch.autograd.grad(posterior.detached().log_prob(z).sum(), leaf)[0])
    torch.testing.assert_close(values[0], values[1], rtol=1e-5, atol=1e-4, check_dtype=False)
    torch.testing.assert_close(paths[0], paths[1], rtol=1e-5, atol=1e-4, check_dtype=False)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["laplace", "gumbel", "cauchy", "exponential", "uniform", "bernoulli", "logistic"])
def test_half_precision_is_float64_rounded(name, dtype):
    eps = torch.finfo(dtype).eps
    a, b = parameters(dtype)
    exact = posterior_of(ALL[name](a.double(), b.double()))
    rounded = posterior_of(ALL[name](a, b))
    noise = numbers(8, B, M, K, *exact.noise_shape).to(dtype)
    z = rounded.sample(noise)
    assert z.dtype == dtype
    torch.testing.assert_close(z.double(), exact.sample(noise.double()), rtol=20 * eps, atol=20 * eps)
    assert rounded.log_prob(z).isfinite().all()


@pytest.mark.parametrize("name", ["laplace", "gumbel", "exponential", "logistic", "weibull", "relaxed-bernoulli"])
def test_tails_hold_in_float32(name):
    """Noise of 7 standard deviations, where Phi is 1 in float32."""
    a, b = parameters()
    found = []
    for dtype in (torch.float32, torch.float64):
        posterior = posterior_of(ALL[name](a.to(dtype), b.to(dtype)))
        noise = torch.tensor([-7.0, 7.0], dtype=dtype).view(1, 1, 2, 1).expand(B, M, 2, *posterior.noise_shape)
        z = posterior.sample(noise)
        found.append((z.double(), posterior.log_prob(z).double()))
    if name == "logistic":  # made of a Uniform, which has no value above 1 - eps
        assert all(part.isfinite().all() for part in found[0])
    else:
        torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)


def test_uniform_at_its_upper_end_is_inside():
    low = torch.full((B, D), 1000.0)
    posterior = posterior_of(td.Uniform(low, low + 1))
    z = posterior.sample(torch.full((B, M, K, D), 9.0))
    torch.testing.assert_close(posterior.log_prob(z), torch.zeros(B, M, K))


def test_layer_means():
    a, b = parameters()
    noise = numbers(3, B, M, K, D)
    for name in ("normal", "tril", "laplace", "gumbel", "log-normal", "bernoulli", "kumaraswamy", "images"):
        d = ALL[name](a, b)
        (means,) = posterior_of(d).layer_means(noise)
        assert means.shape == (B, 1, 1, D)
        torch.testing.assert_close(means, d.mean.reshape(B, 1, 1, -1))
    squashed_ = posterior_of(squashed(a, b))
    torch.testing.assert_close(squashed_.layer_means(noise)[0], squashed_.sample(noise))
    for name in ("cauchy", "categorical"):
        posterior = posterior_of(ALL[name](a, b))
        with pytest.raises(CapabilityError, match="has no mean"):
            posterior.layer_means(numbers(3, B, M, K, *posterior.noise_shape))


def test_support_that_depends_on_parameters():
    a, b = parameters()
    moving = {"uniform", "pareto", "affine-of-squashed"}
    found = {name for name, make in ALL.items() if not getattr(posterior_of(make(a, b)), "fixed_support", True)}
    assert found == moving
    one, zero = torch.ones_like(a), torch.zeros_like(a)
    affine = tt.AffineTransform(a, positive(b))
    cases = [
        (td.Uniform(zero - 1, one), [], True),
        (td.Uniform(zero, one), [affine], False),
        (td.Uniform(zero, one), [affine.inv], False),
        (td.Exponential(one), [tt.AffineTransform(0.0, positive(b))], True),
        (td.Exponential(one), [affine], False),
        (td.Normal(a, one), [tt.ExpTransform(), tt.AffineTransform(1.0, 2.0), tt.ExpTransform()], True),
        (td.Normal(a, one), [tt.ExpTransform(), tt.AffineTransform(1.0, 2.0), affine], False),
        (td.Normal(a, one), [affine, tt.SigmoidTransform(), tt.SigmoidTransform().inv, affine], True),
        (td.Normal(a, one), [tt.SigmoidTransform(), tt.IndependentTransform(affine, 1)], False),
    ]
    for base, steps, fixed in cases:
        value = td.TransformedDistribution(base, steps)
        assert posterior_of(value).__dict__ is not None
        assert getattr(posterior_of(value), "fixed_support", True) is fixed
    with torch.no_grad():  # nobody knows
        assert not posterior_of(td.Uniform(zero, one + b.exp())).fixed_support


class Reversing(td.Normal):
    """Draws otherwise than its base class."""

    def rsample(self, sample_shape=()):
        return -super().rsample(sample_shape)


class Quiet(td.Normal):
    """A user's name for a Normal."""


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (lambda one: td.Gamma(one, one), "a Gamma"),
        (td.Chi2, "a Chi2"),
        (lambda one: td.Beta(one, one), "a Beta"),
        (td.Dirichlet, "a Dirichlet"),
        (td.StudentT, "a StudentT"),
        (lambda one: td.VonMises(one, one), "a VonMises"),
        (lambda one: td.InverseGamma(one, one), "a InverseGamma, made of a Gamma"),
        (lambda one: td.FisherSnedecor(one, one), "a FisherSnedecor"),
        (td.Poisson, "a Poisson"),
        (lambda one: td.Geometric(one / 2), "a Geometric"),
        (lambda one: td.Binomial(3, one / 2), "a Binomial"),
        (lambda one: td.NegativeBinomial(3, one / 2), "a NegativeBinomial"),
        (lambda one: td.ContinuousBernoulli(one / 2), "a ContinuousBernoulli"),
        (lambda one: td.Independent(td.Gamma(one, one), 1), "a Independent, made of a Gamma"),
        (
            lambda one: td.MixtureSameFamily(td.Categorical(one), td.StudentT(one)),
            "a MixtureSameFamily, made of a StudentT",
        ),
        (lambda one: Reversing(one, one), "a Reversing"),
        (lambda one: td.TransformedDistribution(td.Beta(one, one), [tt.ExpTransform()]), "made of a Beta"),
    ],
)
def test_what_is_no_known_function_of_noise_is_refused_by_name(value, name):
    with pytest.raises(CapabilityError, match=name) as caught:
        as_posterior(value(torch.ones(B, D)), DATA)
    assert "MultivariateNormal" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_subclasses_that_draw_as_their_base():
    assert drawn(posterior_of(Quiet(*[leaf.exp() for leaf in parameters()]))).shape == (B, M, K, D)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (td.TransformedDistribution(td.Normal(torch.zeros(B, D), 1.0), [tt.AbsTransform()]), "AbsTransform"),
        (td.TransformedDistribution(td.Normal(torch.zeros(B, D), 1.0), [tt.SoftmaxTransform()]), "SoftmaxTransform"),
        (
            td.TransformedDistribution(
                td.Normal(torch.zeros(B, D), 1.0),
                [tt.ComposeTransform([tt.CatTransform([tt.ExpTransform(), tt.TanhTransform()], 1, [1, D - 1])])],
            ),
            "negative dim",
        ),
        (td.TransformedDistribution(td.Bernoulli(torch.full((B, D), 0.5)), [tt.AffineTransform(1.0, 2.0)]), "discrete"),
    ],
)
def test_transforms_without_a_density(value, problem):
    with pytest.raises(CapabilityError, match=problem):
        as_posterior(value, DATA)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (td.Normal(torch.zeros(D), 1.0), r"batch shape \(4,\) and event shape \(\) for 3 data points"),
        (td.Normal(torch.zeros(1, D), 1.0), r"batch shape \(1, 4\)"),
        (td.Normal(0.0, 1.0), r"batch shape \(\)"),
        (td.Independent(td.Normal(torch.zeros(B, D), 1.0), 2), r"batch shape \(\) and event shape \(3, 4\)"),
        (td.MultivariateNormal(torch.zeros(D), torch.eye(D)), r"event shape \(4,\)"),
        (td.Normal(torch.zeros(2, B, D), 1.0), r"batch shape \(2, 3, 4\)"),
        (None, "None"),
        (torch.zeros(B, D), r"a tensor float32\[3, 4\]"),
        ((torch.zeros(B, D), torch.ones(B, D), torch.ones(B, D)), "a tuple of 3: float32"),
        ((td.Normal(torch.zeros(B, D), 1.0), 3), "a tuple of 2: Normal, int"),
        ({"mean": 1, "logvar": 2}, "a dict with the keys mean, logvar"),
        (OrderedDict(embedding=1), "OrderedDict with the keys embedding"),
        (3.0, "a float"),
        ((torch.zeros(B, D), torch.ones(B, 1)), r"the pair \(float32\[3, 4\], float32\[3, 1\]\)"),
        ((torch.zeros(D), torch.ones(D)), r"batch shape \(4,\)"),
        ((torch.zeros(B, D), torch.full((B, D), -0.1)), r"\(mean, logvar\) is ambiguous.*0.5 \* logvar"),
        ((torch.zeros(B, D), torch.zeros(B, D)), "ambiguous"),
        (namedtuple("Out", "mu log_var")(torch.zeros(B, D), torch.ones(B, D)), "named 'log_var'"),
    ],
)  # fmt: skip
def test_other_things_are_refused(value, problem):
    with pytest.raises(SpecError, match=problem) as caught:
        as_posterior(value, DATA)
    assert "\n" not in str(caught.value)


def test_pair_is_mean_and_scale():
    loc, scale = (leaf.exp() for leaf in parameters())
    for pair in ((loc, scale), [loc, scale]):
        posterior, remarks = as_posterior(pair, DATA)
        z = drawn(posterior)
        torch.testing.assert_close(posterior.log_prob(z), DiagonalNormal(loc, scale).log_prob(z))
        assert remarks == ["encode returned a pair: its second tensor is taken as the standard deviation"]


@pytest.mark.parametrize("nan", [False, True])
@pytest.mark.parametrize("name", ["normal", "tril", "gumbel", "log-normal", "relaxed-bernoulli", "mixture-of-each"])
def test_invalid_parameters_are_found_where_torch_did_not_look(name, nan):
    a, b = parameters()
    kinds = {
        "normal": lambda v: td.Normal(a, v, validate_args=False),
        "tril": lambda v: td.MultivariateNormal(a, scale_tril=torch.diag_embed(v), validate_args=False),
        "gumbel": lambda v: td.Gumbel(a, v, validate_args=False),
        "log-normal": lambda v: td.Independent(td.LogNormal(a, v, validate_args=False), 1, validate_args=False),
        "relaxed-bernoulli": lambda v: td.Bernoulli(probs=v, validate_args=False),
        "mixture-of-each": lambda v: td.MixtureSameFamily(
            td.Categorical(logits=torch.stack([a, b], -1)), td.Laplace(torch.stack([a, a], -1), v[..., None], False)
        ),
    }
    bad = positive(b).detach().clone()
    bad[1, 2] = math.nan if nan else -0.5
    with pytest.raises(NonFiniteError if nan else SpecError, match="NaN" if nan else "invalid parameters") as caught:
        as_posterior(kinds[name](bad), DATA)
    assert "\n" not in str(caught.value)


def test_one_latent_per_point_gets_an_axis():
    loc = numbers(1, B)
    posterior = posterior_of(td.Laplace(loc, 1.0))
    z = drawn(posterior)
    assert z.shape == (B, M, K, 1)
    torch.testing.assert_close(posterior.log_prob(z), td.Laplace(loc[:, None, None], 1.0).log_prob(z[..., 0]))
    torch.testing.assert_close(posterior.log_prob(z.clone()), posterior.log_prob(z))


def test_users_transforms_are_left_alone():
    step = tt.ComposeTransform([tt.TanhTransform(cache_size=1), tt.AffineTransform(0.0, 2.0, cache_size=1)])
    before = [dict(vars(part)) for part in (step, *step.parts)]
    a, b = parameters()
    posterior = posterior_of(td.TransformedDistribution(td.Normal(a, positive(b)), [step], validate_args=False))
    own = [dict(vars(part)) for part in (step, *step.parts)]
    z = drawn(posterior)
    posterior.log_prob(z), posterior.log_prob(z.clone()), posterior.detached().log_prob(z), posterior.fixed_support
    assert [dict(vars(part)) for part in (step, *step.parts)] == own == before


class Bend(tt.Transform):
    """A user's transform, whose parameter is out of sight where ``hidden``."""

    domain = codomain = td.constraints.real
    bijective = True
    sign = 1

    def __init__(self, weight, hidden):
        super().__init__()
        self.weight = (lambda: weight) if hidden else weight

    @property
    def factor(self):
        return positive(self.weight() if callable(self.weight) else self.weight)

    def _call(self, x):
        return x * self.factor

    def _inverse(self, y):
        return y / self.factor

    def log_abs_det_jacobian(self, x, y):
        return self.factor.log().expand(x.shape)


@pytest.mark.parametrize("hidden", [False, True])
def test_parameters_out_of_sight(hidden):
    a, b = parameters()
    posterior = posterior_of(td.TransformedDistribution(td.Normal(a, 1.0), [Bend(b, hidden)]))
    z = drawn(posterior)
    if hidden:
        with pytest.raises(CapabilityError, match="cannot be held constant"):
            posterior.detached()
    else:
        assert not posterior.detached().log_prob(z.detach()).requires_grad


def test_temperature_as_a_number():
    _a, b = parameters()
    noise = numbers(3, B, M, K, D)
    for kind in (td.RelaxedBernoulli, td.RelaxedOneHotCategorical):
        found, expected = (posterior_of(kind(t, logits=b)) for t in (0.7, torch.tensor(0.7, dtype=torch.float64)))
        z = found.sample(noise)
        torch.testing.assert_close(z, expected.sample(noise))
        torch.testing.assert_close(found.log_prob(z), expected.log_prob(z))


def test_bernoulli_frequencies_in_standard_errors():
    logits = torch.tensor([[-4.0, 0.3, 5.0]], dtype=torch.float64)
    z = posterior_of(td.Bernoulli(logits=logits), DATA[:1]).sample(numbers(2, 1, 1, 20000, 3))[0, 0]
    p = torch.sigmoid(logits[0])
    assert ((z.mean(0) - p).abs() < 4 * (p * (1 - p) / 20000).sqrt()).all()


@pytest.mark.parametrize("name", ["laplace", "gumbel", "exponential", "cauchy"])
def test_samples_rise_with_the_noise_as_quantiles(name):
    a, b = parameters()
    d = REPARAMETERISED[name](a, b)
    noise = torch.linspace(-3, 3, 9, dtype=torch.float64)
    z = posterior_of(d).sample(noise.view(1, 1, 9, 1).expand(B, 1, 9, D))
    for index, e in enumerate(noise):
        torch.testing.assert_close(z[:, 0, index], d.icdf(torch.special.ndtr(e)))


def test_uniforms_are_phi_of_noise():
    d = posterior_of(td.Uniform(torch.zeros(1, 1).double(), 1.0), DATA[:1])
    assert kstest(d.sample(numbers(1, 1, 1, 5000, 1)).flatten(), "uniform").pvalue > 1e-4
    assert snrkit.DiagonalNormal is DiagonalNormal
