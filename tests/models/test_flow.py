"""Planar and radial layers, the density that they make, and the image model: against autograd, quadrature and ``mlp``."""

import dataclasses
import math

import pytest
import torch

from snrkit.core.logweights import Parts
from snrkit.core.streams import Streams
from snrkit.diagnostics.engines.base import PassSize
from snrkit.diagnostics.engines.factors import FactorEngine
from snrkit.diagnostics.engines.loop import LoopEngine
from snrkit.diagnostics.engines.vmap import VmapEngine
from snrkit.diagnostics.problem import Problem
from snrkit.errors import CapabilityError, SpecError
from snrkit.estimators.base import build_estimator
from snrkit.models.base import build_model
from snrkit.models.calling import parameters_of
from snrkit.models.flows import FlowNormal, Planar, Radial
from snrkit.models.summary import DataSummary
from snrkit.specs.run import ModelSpec
from tests.support.training import learns
from tests.zoo import B, K, M, flow, images, numbers

kinds = pytest.mark.parametrize("kind", [Planar, Radial], ids=lambda kind: kind.__name__)
LAYERS = 4


def proposal(kind, D=2, points=B, layers=LAYERS, strength=1.5, dtype=torch.float64):
    """One with strong layers, of leaves."""
    loc, scale = numbers(1, points, D, dtype=dtype), 0.5 + numbers(2, points, D, dtype=dtype).sigmoid()
    raw = strength * numbers(3, points, layers, kind.size(D), dtype=dtype)
    return FlowNormal(loc.requires_grad_(), scale.requires_grad_(), raw.requires_grad_(), kind)


def leaves(own):
    return own.loc, own.scale, own.raw


def gradients(value, own):
    return torch.autograd.grad(value, leaves(own), retain_graph=True)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"kind": "planar", "layers": 10, "hidden": (400, 400), "latent": 40}, (831_290, 491_184)),
        ({"kind": "planar", "layers": 80, "hidden": (400, 400), "latent": 40}, (3_104_960, 491_184)),
        ({"kind": "radial", "layers": 10, "hidden": (400, 400), "latent": 40}, (674_900, 491_184)),
        ({"kind": "radial", "layers": 80, "hidden": (400, 400), "latent": 40}, (1_853_840, 491_184)),
        ({"kind": "planar", "layers": 4, "hidden": (50,), "latent": 8}, (7_534, 3_714)),
        ({"kind": "radial", "layers": 4, "hidden": (50,), "latent": 8}, (6_106, 3_714)),
    ],
)
def test_parameter_counts(options, parts):
    pixels = 784 if options["latent"] == 40 else 64
    model = build_model(ModelSpec(name="flow", options=options), DataSummary(torch.zeros(pixels), real=False), 0)
    assert tuple(sum(p.numel() for p in network.parameters()) for network in (model.encoder, model.decoder)) == parts


def test_without_layers_it_is_mlp_bit_for_bit():
    summary = DataSummary(torch.zeros(9, dtype=torch.float64), real=False)
    options = {"hidden": [7, 6], "latent": 4}
    one = build_model(ModelSpec(name="mlp", options=options), summary, 3)
    other = build_model(ModelSpec(name="flow", options=options | {"layers": 0}), summary, 3)
    x, noise = images(dtype=torch.float32), numbers(4, B, M, K, 4, dtype=torch.float32)
    parts = Parts(path=True, kl=True)
    for own, twin in zip(
        one(x, noise, parts=parts).present().values(), other(x, noise, parts=parts).present().values(), strict=True
    ):
        assert torch.equal(own, twin)
    assert [*parameters_of(one)] == [*parameters_of(other)]


@kinds
@pytest.mark.parametrize("strength", [0.2, 1.5, 6.0])
def test_a_layer_against_its_jacobian(kind, strength):
    """log det, J^-1 v and the inverse, at ordinary, strong and all but folding parameters."""
    for seed in range(5):
        layer = kind.of(strength * numbers(seed, kind.size(3)), 3)
        z, v = 2 * numbers(seed + 10, 3), numbers(seed + 20, 3)
        jacobian = torch.autograd.functional.jacobian(layer.at, z)[0]
        sign, log_det = torch.linalg.slogdet(jacobian)
        assert sign == 1
        torch.testing.assert_close(layer.at(z)[1], log_det, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(layer.solve(z, v), torch.linalg.solve(jacobian, v), rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(layer.inverse(layer.at(z)[0]), z, rtol=1e-7, atol=1e-7)


def test_planar_holds_its_bound_where_rounding_would_break_it():
    """w.u' = -40: 1 + w.u is exp(-40), which 1 + the product of the rounded vectors cannot be."""
    w = torch.tensor([2.0, -1.0, 0.5])
    layer = Planar.of(torch.cat([-40 * w / w.square().sum(), w, torch.zeros(1)]), 3)
    assert float(layer.gain) == pytest.approx(math.exp(-40), rel=1e-3)
    assert float(layer.at(torch.zeros(3))[1]) == pytest.approx(-40, rel=1e-3)
    assert 1 + float(layer.u @ layer.w) != pytest.approx(math.exp(-40), rel=0.5)


def test_planar_of_a_vanishing_direction_is_a_translation():
    u, b, z = numbers(1, 3), numbers(2, 1), numbers(3, 5, 3)
    raw = torch.cat([u, torch.zeros(3, dtype=u.dtype), b]).requires_grad_()
    layer = Planar.of(raw, 3)
    torch.testing.assert_close(layer.at(z)[0], z + u * torch.tanh(b))
    assert (layer.at(z)[1] == 0).all()
    (gradient,) = torch.autograd.grad(layer.at(z)[0].sum() + layer.at(z)[1].sum(), raw)
    assert torch.isfinite(gradient).all()


def test_radial_at_its_centre_and_of_equal_radii():
    raw = numbers(1, 5).requires_grad_()
    layer = Radial.of(raw, 3)
    (gradient,) = torch.autograd.grad(layer.at(layer.z0.detach())[1] + layer.at(layer.z0.detach())[0].sum(), raw)
    assert torch.isfinite(gradient).all()
    even, z = Radial.of(torch.cat([numbers(2, 3), torch.ones(2, dtype=torch.float64)]), 3), numbers(3, 7, 3)
    torch.testing.assert_close(even.at(z)[0], z)
    torch.testing.assert_close(even.at(z)[1], torch.zeros(7, dtype=z.dtype))


class Folding(Planar):
    """A planar layer whose u is taken as it comes, so that the plane may be folded."""

    @classmethod
    def of(cls, raw, latent):
        u, w, b = raw[..., :latent], raw[..., latent : 2 * latent], raw[..., 2 * latent]
        return cls(u, w, b, (1 + (u * w).sum(-1)).abs())


def integral(own):
    axis = torch.linspace(-12, 12, 241, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)[None, None]
    with torch.no_grad():
        return float(own.log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2)


@kinds
def test_the_density_integrates_to_one(kind):
    assert integral(proposal(kind, points=1)) == pytest.approx(1, abs=2e-3)


def test_a_flow_that_folds_is_no_density():
    own = dataclasses.replace(proposal(Planar, points=1, layers=1), kind=Folding)
    raw = torch.tensor([[[-1.5, 0.5, 1.5, 0.5, 0.1]]], dtype=torch.float64)
    assert abs(integral(dataclasses.replace(own, raw=raw)) - 1) > 0.05
    assert integral(dataclasses.replace(own, raw=raw, kind=Planar)) == pytest.approx(1, abs=4e-3)


@kinds
def test_samples_have_the_density_of_the_inverse_and_its_derivatives(kind):
    """Total = path + score, where the score is that of log_prob at constant z, held against finite differences."""
    own, noise, cotangents = proposal(kind), numbers(4, B, M, K, 2), numbers(5, B, M, K)
    drawn = own.draw(noise, path=True)
    inverted = own.log_prob(drawn.z.detach())
    torch.testing.assert_close(inverted, drawn.log_q, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(drawn.log_q_path, drawn.log_q, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(own.detached().log_prob(drawn.z), drawn.log_q, rtol=1e-9, atol=1e-9)
    assert own.draw(noise, path=False).log_q_path is None
    values = drawn.log_q, drawn.log_q_path, inverted, own.detached().log_prob(drawn.z)
    total, path, score, through = (gradients((cotangents * value).sum(), own) for value in values)
    for whole, left, right, twin in zip(total, path, score, through, strict=True):
        torch.testing.assert_close(left + right, whole, rtol=1e-7, atol=1e-8)
        torch.testing.assert_close(left, twin, rtol=1e-7, atol=1e-8)
        assert min(left.abs().max(), right.abs().max()) > 0

    def log_prob(*tensors):
        return FlowNormal(*tensors[:3], kind).log_prob(tensors[3])

    few = [part.detach()[:1].requires_grad_() for part in leaves(own)]
    assert torch.autograd.gradcheck(log_prob, (*few, drawn.z.detach()[:1, :1, :2].requires_grad_()))


@kinds
def test_the_score_has_mean_zero(kind):
    """Over 400 groups of 50 samples, in standard errors; that of samples moved aside has not."""
    groups, one = 400, proposal(kind, points=1)
    # A copy of the parameters for each group, whose gradients one backward pass then gives.
    copies = [part.detach().repeat(groups, *[1] * (part.ndim - 1)).requires_grad_() for part in leaves(one)]
    own = FlowNormal(*copies, kind)
    drawn = own.draw(numbers(6, groups, 1, 50, 2), path=True)

    def farthest(value):
        found = torch.cat([part.flatten(1) for part in gradients(value.sum(), own)], dim=1)
        return float((found.mean(0) / found.std(0) * groups**0.5).abs().max())

    assert farthest(drawn.log_q - drawn.log_q_path) < 4.5
    assert farthest(own.log_prob(drawn.z.detach() + 0.3)) > 10


@kinds
def test_digits_lost_by_inversion_in_float32(kind):
    """80 layers in 50 dimensions: draws lose nothing, and log_prob at their z less than is said."""
    own = proposal(kind, 50, 1, 80, strength=0.3, dtype=torch.float32)
    noise = numbers(7, 1, 1, 200, 50)
    with torch.no_grad():
        exact = dataclasses.replace(own, **{n: getattr(own, n).double() for n in ("loc", "scale", "raw")}).draw(
            noise, False
        )
        single = own.draw(noise.float(), path=True)
        assert (single.log_q - exact.log_q).abs().max() < 2e-4
        assert (single.log_q - single.log_q_path).abs().max() < 2e-4
        assert (own.log_prob(single.z) - single.log_q).abs().max() < {Planar: 5e-3, Radial: 5e-4}[kind]


@kinds
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_in_half_precision_only_the_result_is_rounded(kind, dtype):
    """log q of 8 layers in 50 dimensions, some tens of nats, to the last digit that the type has."""
    own, noise = proposal(kind, 50, B, 8, strength=0.3, dtype=dtype), numbers(8, B, M, K, 50).to(dtype)
    with torch.no_grad():
        exact = dataclasses.replace(own, **{n: getattr(own, n).double() for n in ("loc", "scale", "raw")})
        drawn, expected = own.draw(noise, path=True), exact.draw(noise.double(), path=True)
        assert drawn.z.dtype == drawn.log_q.dtype == drawn.log_q_path.dtype == own.log_prob(drawn.z).dtype == dtype
        for one, other in ((drawn.log_q, expected.log_q), (drawn.log_q_path, expected.log_q_path)):
            torch.testing.assert_close(one.double(), other, rtol=2 * torch.finfo(dtype).eps, atol=1e-2)


@pytest.mark.slow
@kinds
def test_engines_agree(kind):
    model, x = flow(kind=kind), images()
    problem = Problem.units(model, x, K, Streams(3))
    for name in ("iwae", "dreg"):
        estimator, size = build_estimator(name, {}), PassSize(4, 10**6)
        expected = LoopEngine().moments(problem, estimator, range(B), range(12), size)
        for engine in (VmapEngine(), FactorEngine()):
            found = engine.moments(problem, estimator, range(B), range(12), size)
            for one, other in zip([*found.mean, *found.m2], [*expected.mean, *expected.m2], strict=True):
                assert (one - other).norm() <= 1e-10 * other.norm()


@pytest.mark.rest_slow
@kinds
def test_dreg_and_iwae_have_the_same_mean(kind):
    """In standard errors of paired draws, over every coordinate of the encoder; stl has another."""
    problem = Problem.units(flow(kind=kind), images()[:1], K, Streams(3))
    inside = problem.layout.blocks["inference"]

    def drawn(name):
        parts = VmapEngine().gradients(problem, build_estimator(name, {}), range(1), range(4000), PassSize(1000, 10**6))
        return torch.cat([torch.cat([tensor[:, 0].flatten(1) for tensor in part], 1)[:, inside] for part in parts])

    draws = {name: drawn(name) for name in ("iwae", "dreg", "stl")}

    def chi_square(one, other):
        gap = draws[one] - draws[other]
        moving = gap.std(0) > 1e-12
        return float((gap.mean(0) / gap.std(0) * len(gap) ** 0.5)[moving].square().mean())

    assert chi_square("dreg", "iwae") < 2
    assert chi_square("stl", "iwae") > 20


def test_its_divergence_from_the_prior_has_no_closed_form():
    model, x = flow(), images()
    noise = numbers(8, B, M, K, 4)
    with pytest.raises(CapabilityError, match="FlowNormal has no closed form here; choose vae, which estimates it"):
        model(x, noise, parts=Parts(kl=True))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"kind": "sylvester"}, "'planar' or 'radial'"), ({"layers": -1}, "greater than or equal to 0")],
)
def test_options_out_of_range(options, said):
    with pytest.raises(SpecError, match=said):
        build_model(ModelSpec(name="flow", options=options), DataSummary(torch.zeros(9), real=False), 0)


def test_real_valued_data_are_refused():
    with pytest.raises(SpecError, match="flow models pixels"):
        build_model(ModelSpec(name="flow"), DataSummary(torch.zeros(9), real=True), 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["planar", "radial"])
def test_it_learns_and_resumes(kind, tmp_path):
    learns({"name": "flow", "options": {"kind": kind, "layers": 3, "hidden": [32], "latent": 4}}, 6, 12, tmp_path)
