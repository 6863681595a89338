"""Numbers of every type: what is zero but for rounding is told from what is small, and nothing under- or overflows."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import snrkit
from snrkit.core.streams import Streams
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.moments import PointMoments
from snrkit.diagnostics.plan import Plan
from snrkit.diagnostics.precision import computed_in, examine
from snrkit.diagnostics.problem import Layout, Problem
from snrkit.diagnostics.rounding import Compared, Sizes, Unchecked
from snrkit.estimators.base import build_estimator
from tests.diagnostics.synthetic import row

IWAE = build_estimator("iwae", {})
TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
types = pytest.mark.parametrize("dtype", TYPES, ids=str)
PIXELS, D, R = 9, 4, 60


class Classes(snrkit.LatentModel):
    """One of five classes of logits; gradients that are zero or constant in exact arithmetic, and one of 1e-12."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(PIXELS, 2 * D), nn.Linear(D, 5)
        self.shift = nn.Parameter(torch.zeros(()))  # one number added to all logits
        self.weights = nn.Parameter(torch.zeros(()))  # its gradient is the sum of the normalised weights, times 0.3
        self.tiny = nn.Parameter(torch.ones(3))

    def encode(self, x):
        loc, log_scale = self.encoder(x).chunk(2, -1)
        return snrkit.DiagonalNormal(loc, log_scale.exp())

    def log_joint(self, x, z):
        log_p = torch.log_softmax(self.decoder(z) + self.shift, -1)[..., 0]
        small = 1e-12 * (self.tiny * (2 + z[..., :1])).sum(-1)
        return snrkit.standard_normal_log_prob(z) + log_p + small + 0.3 * self.weights


class Images(snrkit.LatentModel):
    """The common model; log p(x, z) may be scaled."""

    def __init__(self, scale=1.0, hidden=20):
        super().__init__()
        self.scale = scale
        self.encoder = nn.Sequential(nn.Linear(PIXELS, hidden), nn.Tanh(), nn.Linear(hidden, 2 * D))
        self.decoder = nn.Sequential(nn.Linear(D, hidden), nn.Tanh(), nn.Linear(hidden, PIXELS))

    def encode(self, x):
        loc, log_scale = self.encoder(x).chunk(2, -1)
        return snrkit.DiagonalNormal(loc, log_scale.exp())

    def log_joint(self, x, z):
        return self.scale * (snrkit.standard_normal_log_prob(z) + snrkit.bernoulli_log_prob(x, self.decoder(z)))


def build(kind, dtype=torch.float32, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(**options).to(dtype)


def data(dtype=torch.float32, points=1):
    return (torch.rand(points, PIXELS, generator=torch.Generator().manual_seed(1)) < 0.4).to(dtype)


def plain_draws(model, x, K, network, draws=R):
    """Gradients of log (1/K) sum w, one backward pass each, as float64 ``[draws, P]``, and of which parameters."""
    problem = Problem.units(model, x, K, Streams(0))
    names = [name for name, own in zip(problem.layout.names, problem.layout.networks, strict=True) if own == network]
    parameters = [problem.parameters[name] for name in names]
    found = []
    for draw in range(draws):
        weights = model(x, problem.noise.draw(0, range(draw, draw + 1))[0])
        bound = (torch.logsumexp(weights.log_w, -1) - math.log(K)).mean()
        found.append(torch.cat([g.flatten().double() for g in torch.autograd.grad(bound, parameters)]))
    return torch.stack(found).numpy()


def snr_of(draws):
    moving = draws.std(0) > 0
    return (np.abs(draws.mean(0))[moving] / draws.std(0, ddof=1)[moving]).mean()


@pytest.mark.rest_slow
@types
@pytest.mark.parametrize("K", [1, 8])
def test_zero_but_for_rounding_is_told_from_small(dtype, K):
    """In float16 what is genuine, of 1e-12, underflows."""
    found = diagnose(build(Classes, dtype), data(dtype, 3), Plan(estimators=IWAE, K=K, draws=R))
    shift, weights, tiny = (row(found.table, "snr_mean", name) for name in ("shift", "weights", "tiny"))
    assert (shift.n_coordinates, shift.n_dropped) == (0, 1)
    assert "1 zero but for rounding" in shift.definition
    assert row(found.table, "mean_norm", "shift").value == 0
    assert (weights.n_coordinates, weights.n_dropped) == (0, 1)
    assert row(found.table, "mean_norm", "weights").value == pytest.approx(0.3, rel=1e-2)
    assert any("zero but for rounding" in remark and "shift" in remark for remark in found.remarks)
    small = [remark for remark in found.remarks if "too small for float16" in remark and "tiny" in remark]
    assert (len(small), tiny.n_dropped) == ((1, 3) if dtype == torch.float16 else (0, 0))
    assert "not checked" not in shift.definition


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_small_gradient_reads_its_own_snr(dtype):
    """E[2 + z] / sd[z], whatever the factor before it: in another model the same number without the factor."""
    table = snrkit.measure(build(Classes, dtype), data(dtype), ["vae"], K=[1], draws=400)
    model = build(Classes, torch.float64)
    posterior = model.encode(data(torch.float64))
    truth = float(((2 + posterior.loc[0, 0]).abs() / posterior.scale[0, 0]).detach())
    found = row(table, "snr_mean", "tiny")
    assert abs(found.value - truth) < 4 * found.stderr


@pytest.mark.rest_slow
@pytest.mark.parametrize("K", [1, 16])
def test_half_precision_reads_what_a_plain_loop_reads(K):
    """SNRs above 1/(64 eps) of float16 are no rounding."""
    dtype = torch.float16
    model, x = build(Images, dtype), data(dtype)
    own = plain_draws(model, x, K, "generative")
    for engine in ("loop", "vmap", "factors"):
        found = row(snrkit.measure(model, x, ["iwae"], K=[K], draws=R, engine=engine), "snr_mean", "generative")
        assert found.n_dropped == (own.std(0) == 0).sum()
        assert found.value == pytest.approx(snr_of(own), rel=2e-2), engine


@pytest.mark.rest_slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("engine", ["loop", "vmap", "factors"])
def test_small_gradients_in_half_precision(dtype, engine):
    model, x = build(Images, dtype, scale=1e-3), data(dtype)
    own = plain_draws(model, x, 4, "generative")
    found = row(snrkit.measure(model, x, ["iwae"], K=[4], draws=R, engine=engine), "snr_mean", "generative")
    assert found.value == pytest.approx(snr_of(own), rel=2e-2)


@pytest.mark.rest_slow
@pytest.mark.parametrize("engine", ["vmap", "factors"])
@pytest.mark.parametrize(("scale", "K"), [(1e-21, 1), (1e-21, 4), (1e21, 4)])
def test_extreme_gradients_in_float32(engine, scale, K):
    """Squares of 1e-21 and of 1e21 are no float32; where only a part is scaled, the rest is as it was."""
    blocks = ["generative", "decoder.0.weight", "decoder.0.bias", "decoder.2.weight", "decoder.2.bias"]

    def read(scale):
        model = build(Images, scale=1.0)
        forward = model.decoder[2].forward
        # Gradients are scaled on their way into the decoder, and nothing else is.
        model.decoder[2].forward = lambda h: _Scaled.apply(forward(h), scale)
        return snrkit.measure(model, data(points=2), ["vae"], K=[K], draws=R, engine=engine, blocks=blocks)

    expected, found = read(1.0), read(scale)
    for block in blocks:
        for metric in ("snr_mean", "snr_pooled"):
            one, other = (row(table, metric, block) for table in (expected, found))
            assert other.value == pytest.approx(one.value, rel=1e-4), (block, metric)
            assert other.n_dropped == one.n_dropped


class _Scaled(torch.autograd.Function):
    """The same values; gradients times a factor."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, factor):
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.factor = inputs[1]

    @staticmethod
    def backward(ctx, cotangent):
        return cotangent * ctx.factor, None


@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        (torch.float16, 1e-6),
        (torch.float16, 3e4),
        (torch.bfloat16, 1e-25),
        (torch.bfloat16, 1e25),
        (torch.float32, 1e-30),
        (torch.float32, 1e25),
        (torch.float32, 1.0),
    ],
    ids=str,
)
def test_squares_stay_in_range(dtype, size):
    values = (size * torch.randn(7, 2, 5, generator=torch.Generator().manual_seed(0))).clamp(-6e4, 6e4).to(dtype)
    values[:, :, 0] = size  # never changes
    values[:, :, 1] = values[:, :, 1] / size if dtype != torch.float16 else values[:, :, 1]  # one of ordinary size
    found = PointMoments()
    found.add([values[:3]])
    found.add([values[3:]])
    exact = values.double()
    torch.testing.assert_close(found.mean[0], exact.mean(0), rtol=1e-6, atol=1e-7 * float(exact.abs().mean()))
    torch.testing.assert_close(found.m2[0], 6 * exact.var(0), rtol=1e-5, atol=0)
    assert (found.m2[0][:, 0] == 0).all()


def sizes(eps, rms, sd):
    return Sizes(eps, np.array(rms, dtype=float), np.array(sd, dtype=float))


def test_the_rule():
    """A zero, a constant, one of 1e-12, one nearly constant, and one that moves in rare draws only; largest first."""
    single, double = 2.0**-23, 2.0**-52
    own = sizes(single, [1, 3e-8, 0.5, 1e-12, 0.5, 0.5], [1, 3e-8, 4e-8, 1e-13, 2e-7, 4e-8])
    other = sizes(double, [1, 5e-17, 0.5, 1e-12, 0.5, 0.5], [1, 5e-17, 7e-17, 1e-13, 1.9e-7, 7e-17])
    compared = Compared(own, other, (own, other), "float32", 1e-38)
    mean = np.array([1, 1e-9, 0.5, 1e-12, 0.5, 0.6])
    verdict = compared.judge(mean, np.array([1, 4e-8, 5e-8, 1e-13, 2e-7, 0.1]) ** 2)
    assert verdict.zero.tolist() == [False, True, False, False, False, False]
    assert verdict.constant.tolist() == [False, False, True, False, False, False]
    swapped = Compared(other, own, (other, own), "float64", 1e-308).judge(
        mean, np.array([1, 6e-17, 8e-17, 1e-13, 2e-7, 0.1]) ** 2
    )
    assert (swapped.zero == verdict.zero).all()
    assert (swapped.constant == verdict.constant).all()


def test_without_another_precision_a_few_roundings_of_the_mean_are_none():
    eps = 2.0**-10
    verdict = Unchecked(eps, "float16", "why").judge(np.full(4, 0.5), np.array([0, 1.5 * eps, 2.5 * eps, 0.1]) ** 2)
    assert verdict.constant.tolist() == [False, True, False, False]
    assert not verdict.zero.any()


class Fixed(Classes):
    """Computes in float32, whatever its parameters are."""

    def log_joint(self, x, z):
        decoder = {name: parameter.float() for name, parameter in self.decoder.named_parameters()}
        logits = torch.func.functional_call(self.decoder, decoder, (z.float(),)) + self.shift.float()
        return snrkit.standard_normal_log_prob(z) + torch.log_softmax(logits, -1)[..., 0]


def test_a_model_with_a_type_of_its_own_is_not_checked_and_says_so():
    found = diagnose(build(Fixed), data(), Plan(estimators=IWAE, K=4, draws=R))
    assert "rounding not checked" in row(found.table, "snr_mean", "decoder.weight").definition
    assert "not checked" not in row(found.table, "variance", "decoder.weight").definition
    assert any("cannot be told" in remark for remark in found.remarks)


class Later(Classes):
    """``shift`` matters at data points whose last pixel is on, and is zero but for rounding elsewhere."""

    def log_joint(self, x, z):
        return super().log_joint(x, z) + 1e-6 * x[..., -1] * self.shift * z[..., 0]


@pytest.mark.parametrize("on", [1, 7])
def test_a_gradient_that_only_other_data_points_have_is_kept(on):
    """Beside the rounding of eleven points, one gradient of 1e-6, wherever it stands."""
    x = data(points=1).repeat(12, 1)
    x[:, -1] = torch.eye(12)[on]
    # The other points' gradient of this parameter is rounding.
    found = row(snrkit.measure(build(Later), x, ["vae"], K=[1], draws=40, blocks=["shift"]), "snr_mean", "shift")
    assert found.n_dropped == 0


def test_examining_changes_nothing():
    class Counting(Classes):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def encode(self, x):
            self.calls += 1
            return super().encode(x)

    model = build(Counting)
    problem = Problem.units(model, data(points=3), 4, Streams(0))
    before = {
        name: (id(tensor), tensor.clone()) for name, tensor in [*model.named_parameters(), *model.named_buffers()]
    }
    examine(problem, IWAE, 1000)
    after = dict([*model.named_parameters(), *model.named_buffers()])
    # Only the look at the precision calls the model itself: once for the noise, once for the weights.
    assert all(id(after[name]) == key for name, (key, _) in before.items())
    assert all(torch.equal(after[name], value) for name, (_, value) in before.items() if name != "calls")


@pytest.mark.parametrize("cast", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_is_measured_and_named(cast):
    model, x = build(Images), data()
    with torch.autocast("cpu", cast):
        with torch.no_grad():
            model(x, torch.zeros(1, 1, 3, D))  # leaves weights without gradients in autocast's cache
        found = row(snrkit.measure(model, x, ["iwae"], K=[8], draws=R), "snr_mean", "generative")
        assert torch.is_autocast_enabled("cpu")
        assert torch.is_autocast_cache_enabled()
    with torch.autocast("cpu", cast):
        own = plain_draws(model, x, 8, "generative")
    assert found["dtype"] == f"float32 (autocast {str(cast).removeprefix('torch.')})"
    assert found.value == pytest.approx(snr_of(own), rel=2e-2)
    assert row(snrkit.measure(model, x, ["iwae"], K=[8], draws=R), "snr_mean", "generative")["dtype"] == "float32"


def test_autocast_leaves_float64_alone():
    with torch.autocast("cpu", torch.bfloat16):
        assert computed_in(build(Images, torch.float64), data(torch.float64)) == "float64"


def test_autocast_of_the_models_own_is_named():
    class Casting(Images):
        def log_joint(self, x, z):
            with torch.autocast("cpu", torch.bfloat16):
                return super().log_joint(x, z).float()

    table = snrkit.measure(build(Casting), data(), ["vae"], K=[2], draws=8)
    assert set(table.dtype) == {"float32 (partly bfloat16)"}


def test_scalars_in_a_second_pass():
    plan = Plan(estimators=IWAE, K=3, draws=40, dsnr=True, keep=("shift[0]",))
    found = diagnose(build(Classes), data(points=2), plan)
    assert len(found.kept) == 40
    layout = Layout.of(build(Classes), data())
    assert layout.blocks["shift"].stop - layout.blocks["shift"].start == 1
