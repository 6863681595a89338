"""The curve of SNR against beta: exact against direct draws, dips where the two parts oppose, and its remarks."""

import math

import numpy as np
import pytest
import torch

from snrkit.diagnostics import beta_curve as module
from snrkit.diagnostics.beta_curve import Parts, _curve, beta_curve
from snrkit.diagnostics.measure import measure
from snrkit.diagnostics.moments import BlockMoments, Moments
from snrkit.errors import NonFiniteError, SpecError
from snrkit.estimators.ciwae import Ciwae
from tests.strangers.models import Impossible, data, made
from tests.zoo import Users, images, mlp

G = 20


def moments(draws):
    """Moments of draws ``[R, P]``."""
    parts = np.array_split(draws, G)
    return Moments([BlockMoments(len(p), p.mean(0), p.var(0, ddof=1), np.zeros((1, 1, 3))) for p in parts])


def parts_of(loose, tight):
    """From draws ``[R, P]`` of the two parts on the same noise."""
    return Parts(moments(tight), moments((loose + tight) / 2), moments(loose))


def two_parts(loose_mean, tight_mean, correlation=0.6, draws=2000, coordinates=30, seed=0):
    dice = np.random.default_rng(seed)
    a, b = dice.standard_normal((2, draws, coordinates))
    return loose_mean + a, tight_mean + 2 * (correlation * a + math.sqrt(1 - correlation**2) * b)


def value(curve, metric):
    return curve.table[curve.table.metric == metric].set_index("beta").value


@pytest.mark.parametrize("beta", [0.0, 0.15, 0.5, 0.77, 1.0])
def test_any_beta_follows_from_three(beta):
    loose, tight = two_parts(0.3, -0.1)
    found, direct = parts_of(loose, tight).at(beta), moments(beta * loose + (1 - beta) * tight)
    for one, other in zip(found.merged(), direct.merged(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)


@pytest.mark.slow
def test_the_curve_is_what_ciwae_drawn_at_each_beta_reads():
    model, x = mlp(), images()
    betas = (0.1, 0.6)
    curve = beta_curve(model, x, 5, betas, M=4, draws=60, seed=3)
    for beta in betas:
        direct = measure(model, x, [Ciwae(beta)], [5], [4], draws=60, seed=3, blocks=["inference"])
        direct = direct.set_index("metric")
        own = curve.table[curve.table.beta == beta].set_index("metric")
        for metric in ("snr_mean", "snr_median", "snr_pooled_squared", "mean_norm", "variance"):
            for column in ("value", "stderr", "floor"):
                assert own.loc[metric, column] == pytest.approx(direct.loc[metric, column], rel=1e-6, nan_ok=True), (
                    metric
                )


def test_where_the_parts_oppose_the_snr_vanishes_inside():
    curve = _curve(parts_of(*two_parts(0.6, -0.3)), module.GRID, 1, {})
    pooled = value(curve, "snr_pooled_squared")
    # m_w / (m_w - m_v) = -0.3 / -0.9
    assert abs(curve.vanishing.value - 1 / 3) < 4 * curve.vanishing.stderr < 0.1
    assert pooled.idxmin() == pytest.approx(1 / 3, abs=0.051)
    errors = curve.table[curve.table.metric == "snr_pooled_squared"].set_index("beta").stderr
    for beta in (0.0, 0.35, 1.0):
        variance = beta**2 + 4 * (1 - beta) ** 2 + 4 * 0.6 * beta * (1 - beta)
        assert abs(pooled[beta] - (0.9 * beta - 0.3) ** 2 / variance) < 4 * errors[beta]
    assert any("oppose" in remark for remark in curve.remarks)
    assert any("dips around beta = 0.3" in remark for remark in curve.remarks)
    assert any("elsewhere" in remark for remark in curve.remarks)
    assert curve.best == 1.0
    assert value(curve, "cosine")[1.0] == pytest.approx(-1, abs=0.05)


@pytest.mark.parametrize("cosine", [0.5, 0.0])
def test_parts_that_neither_agree_nor_oppose(cosine):
    """E[g] is shortest half-way, with independent noise of equal size: the SNR is highest there, or the same everywhere."""
    loose_mean, tight_mean = np.full(32, 0.3), np.full(32, 0.3)
    tight_mean[: round(16 * (1 - cosine))] *= -1
    a, b = np.random.default_rng(0).standard_normal((2, 2000, 32))
    curve = _curve(parts_of(loose_mean + a, tight_mean + b), module.GRID, 1, {})
    assert curve.vanishing.low > 0
    assert curve.vanishing.high < 1
    assert abs(curve.vanishing.value - 0.5) < 4 * curve.vanishing.stderr
    assert not any(word in remark for remark in curve.remarks for word in ("oppose", "dips"))
    if cosine:
        assert curve.told_apart[0] <= 0.5 <= curve.told_apart[1]
        assert curve.told_apart[0] > 0
        assert curve.told_apart[1] < 1
    else:
        assert curve.told_apart == (0.0, 1.0)


def test_a_dip_needs_no_opposing_parts():
    """Orthogonal means whose noise is much the same: the mean is shorter half-way, the noise is not."""
    loose_mean, tight_mean = np.full(32, 0.3), np.full(32, 0.3)
    tight_mean[:16] *= -1
    a, b = np.random.default_rng(0).standard_normal((2, 2000, 32))
    curve = _curve(parts_of(loose_mean + a, tight_mean + 0.9 * a + math.sqrt(1 - 0.9**2) * b), module.GRID, 1, {})
    assert any("dips" in remark for remark in curve.remarks)
    assert not any("oppose" in remark for remark in curve.remarks)


def test_where_they_agree_there_is_no_such_remark():
    curve = _curve(parts_of(*two_parts(0.6, 0.3)), module.GRID, 1, {})
    assert not any(word in remark for remark in curve.remarks for word in ("oppose", "dips", "elsewhere", "resolved"))
    assert curve.told_apart[0] <= curve.best <= curve.told_apart[1]


def test_where_the_tighter_bounds_gradient_is_lost_in_noise_it_is_said():
    curve = _curve(parts_of(*two_parts(0.6, 0.0)), module.GRID, 1, {})
    assert any("not resolved" in remark for remark in curve.remarks)


def test_the_best_may_lie_inside():
    """Parts of equal means whose noise cancels half-way: the SNR is highest in between."""
    loose, tight = two_parts(0.3, 0.3, correlation=0.0)
    curve = _curve(parts_of(loose, tight), module.GRID, 1, {})
    # Variance beta^2 + 4 (1 - beta)^2 is smallest at 4/5.
    assert 0.6 <= curve.best <= 1.0
    assert curve.told_apart[0] <= 0.8 <= curve.told_apart[1]
    pooled = value(curve, "snr_pooled_squared")
    assert pooled[0.8] > pooled[0.0]
    assert pooled[0.8] > pooled[1.0]


def test_noise_has_no_best_beta():
    curve = _curve(parts_of(*two_parts(0.0, 0.0, draws=400)), module.GRID, 1, {})
    assert math.isnan(curve.best)
    assert curve.told_apart == (0.0, 1.0)
    assert curve.remarks == ["no beta shows a signal above noise: more draws are needed before one can be chosen"]


@pytest.mark.parametrize(
    ("K", "betas", "words"),
    [
        (1, (0.5,), "at least 2"),
        (4, (), "must lie in"),
        (4, (0.5, 1.2), "must lie in"),
        (4, (math.nan,), "must lie in"),
    ],
)
def test_refused(K, betas, words):
    with pytest.raises(SpecError, match=words):
        beta_curve(mlp(), images(), K, betas, draws=8)


@pytest.mark.slow
def test_model_and_data_are_checked_as_for_any_measurement():
    class Coupled(Users):
        independent_points = False

    curve = beta_curve(Coupled().double(), images(), 3, M=2, draws=8)
    assert "drawn directly" in curve.remarks[0]
    assert set(curve.table.M) == {2}
    with pytest.raises(SpecError, match="finite"):
        beta_curve(mlp(), torch.full((3, 9), torch.nan), 3, draws=8)
    found, expected = (beta_curve(mlp(), x, 3, (0.5,), draws=8).table for x in (images(dtype=torch.float32), images()))
    assert found.equals(expected)


def test_a_block_that_is_not_there():
    with pytest.raises(SpecError, match="no block 'encoder'"):
        beta_curve(mlp(), images(), 4, draws=8, block="encoder")


def test_a_bound_of_minus_infinity_is_refused_as_by_measure():
    """The gradient of half of an ELBO that is minus infinity is finite, and means nothing."""
    with pytest.raises(NonFiniteError, match="bound is -inf"):
        beta_curve(made(Impossible), data(), K=8, draws=40)
