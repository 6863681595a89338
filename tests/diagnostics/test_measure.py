import numpy as np
import pytest
import torch

import snrkit
from snrkit.core.streams import Streams
from snrkit.diagnostics.engines.base import PassSize, accumulate
from snrkit.diagnostics.engines.cost import Task
from snrkit.diagnostics.engines.factors import FactorEngine
from snrkit.diagnostics.engines.loop import LoopEngine
from snrkit.diagnostics.engines.vmap import VmapEngine
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.moments import PointMoments
from snrkit.diagnostics.plan import Plan
from snrkit.diagnostics.problem import Problem
from snrkit.errors import ModelError, NonFiniteError, SpecError
from snrkit.estimators.base import build_estimator
from snrkit.runs.kinds.snr import SNR
from snrkit.specs.measure import Execution
from tests.awkward import Aliased, Repeated, awkward
from tests.zoo import Users, images, mlp, numbers, toy, users

GRID = {"K": [3, 5], "M": [1, 2, 7]}


def select(table, **wanted):
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def test_toy_at_one_sample_equals_the_closed_form():
    """Every coordinate's mean and variance at K = 1, within 4.5 exact standard errors (there are 56 of them)."""
    model, x = toy(points=6)
    R = 4000
    problem = Problem.units(model, x, 1, Streams(1))
    found = PointMoments()
    for gradients in VmapEngine().gradients(
        problem, build_estimator("iwae", {}), range(6), range(R), PassSize(500, 10**6)
    ):
        found.add(gradients)
    exact = model.gradient_moments(x)
    for name, mean, m2 in zip(problem.layout.names, found.mean, found.m2, strict=True):
        true_mean, true_variance = exact[name]
        assert ((mean - true_mean).abs() <= 4.5 * (true_variance / R).sqrt()).all(), name
        assert ((m2 / (R - 1) / true_variance - 1).abs() <= 4.5 * (2 / (R - 1)) ** 0.5).all(), name


def test_toy_minibatch_readings_equal_the_closed_form():
    model, x = toy(points=6)
    table = snrkit.measure(model, x, ["iwae"], K=[1], M=[1, 3], draws=2000, seed=2)
    exact = model.gradient_moments(x)
    for block, names in (("inference", ("A", "b")), ("generative", ("mu",))):
        mean = torch.cat([exact[n][0].mean(0).flatten() for n in names])
        variance = torch.cat([exact[n][1].sum(0).flatten() for n in names]) / 36
        for M in (1, 3):
            rows = select(table, block=block, M=M).set_index("metric")
            truth = {
                "variance": variance.sum() / M,
                "snr_pooled_squared": M * mean.square().sum() / variance.sum(),
                "mean_norm": mean.norm(),
            }
            for metric, value in truth.items():
                row = rows.loc[metric]
                assert abs(row.value - float(value)) < 4 * row.stderr, (block, M, metric)


def test_identity_of_the_toys_gradients_draw_by_draw():
    """g_mu = (x - mu)/2 - g_b/2 for every draw, K and estimator that weighs log w."""
    model, x = toy()
    for K in (1, 3, 50):
        problem = Problem.units(model, x, K, Streams(3))
        for name in ("iwae", "vae", "ciwae"):
            draws = VmapEngine().gradients(problem, build_estimator(name, {}), range(3), range(4), PassSize(100, 10**6))
            by_name = dict(zip(problem.layout.names, next(iter(draws)), strict=True))
            expected = (x - model.mu) / 2 - by_name["b"] / 2
            torch.testing.assert_close(by_name["mu"], expected.detach())


@pytest.mark.slow
def test_algebra_agrees_with_direct_draws():
    model, x = toy(points=5)
    for name in ("iwae", "piwae", "vae", "ciwae"):
        units = snrkit.measure(model, x, [name], **GRID, draws=1500, seed=4)
        direct = snrkit.measure(model, x, [name], **GRID, draws=1500, seed=5, direct=True)
        keys = ["M", "K", "block", "metric"]
        both = units.merge(direct, on=keys, suffixes=("", "_direct"))
        assert len(both) > 0
        for metric in ("variance", "snr_pooled_squared"):
            rows = both[both.metric == metric]
            z = (rows.value - rows.value_direct) / np.hypot(rows.stderr, rows.stderr_direct)
            assert z.abs().max() < 4.5, (name, metric)


def test_algebra_does_not_draw_more_for_more_m():
    counts = []
    model, x = toy()
    for M in ([1], [1, 10, 100]):
        snrkit.measure(model, x, ["iwae"], K=[3], M=M, draws=40, progress=lambda d, t, n: counts.append(t))
    assert len(set(counts)) == 1


def test_floor_grows_with_m_by_algebra_only():
    model, x = toy()
    units = select(snrkit.measure(model, x, ["iwae"], K=[3], M=[1, 4], draws=100), metric="snr_mean", block="inference")
    direct = snrkit.measure(model, x, ["iwae"], K=[3], M=[4], draws=100, direct=True)
    by_m = units.set_index("M").floor
    assert by_m[4] == pytest.approx(2 * by_m[1])
    assert select(direct, metric="snr_mean", block="inference").floor.iloc[0] == pytest.approx(by_m[1])


def test_piwae_blocks_rest_on_their_own_units():
    """phi at (M, L) is that of miwae(M, L); theta that of iwae with M L samples."""
    model, x = toy()
    piwae = snrkit.measure(model, x, ["piwae"], K=[3], M=[4], draws=100)
    miwae = snrkit.measure(model, x, ["miwae"], K=[3], M=[4], draws=100)
    iwae = snrkit.measure(model, x, ["iwae"], K=[12], M=[1], draws=100)
    for block, other in (("inference", miwae), ("generative", iwae)):
        left, right = (select(t, block=block).set_index("metric")[["value", "stderr", "floor"]] for t in (piwae, other))
        np.testing.assert_allclose(left, right)
    assert set(piwae.block) == {"inference", "generative", "A", "b", "mu"}


def test_table_is_the_schema_and_labels_everything(monkeypatch):
    monkeypatch.setattr(Task, "factors", lambda *_: 0.0)  # a model this small is otherwise left to vmap
    table = snrkit.measure(users(), images(), ["iwae", "ciwae"], K=[3], draws=40, seed=7)
    assert list(table.columns) == list(SNR.columns)
    assert set(table.options) == {"", "beta=0.5"}
    by_block = table.drop_duplicates("block").set_index("block").engine
    assert by_block["body.0.weight"] == by_block["decoder.0.weight"] == "factors"
    assert by_block["shift"] == "vmap"
    assert by_block["generative"] == "factors+vmap"
    assert set(table.dtype) == {"float64"}
    assert (table.seed == 7).all()
    assert not {"unused", "frozen"} & set(table.block)


@pytest.mark.slow
def test_estimators_see_the_same_noise():
    table = snrkit.measure(mlp(), images(), ["iwae", "vae", "piwae"], K=[1], draws=40)
    values = [select(table, estimator=name).set_index(["block", "metric"]).value for name in ("iwae", "vae", "piwae")]
    np.testing.assert_allclose(values[0], values[1])
    np.testing.assert_allclose(values[0], values[2])


@pytest.fixture(scope="module")
def as_it_comes():
    """Readings with the engine and the chunk that are taken by default."""
    return snrkit.measure(users(), images(), ["piwae"], K=[3], M=[2], draws=41).value


@pytest.mark.rest_slow
@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("engine", ["factors", "vmap", "loop"])
def test_chunk_and_engine_change_nothing(chunk, engine, as_it_comes):
    found = snrkit.measure(users(), images(), ["piwae"], K=[3], M=[2], draws=41, chunk=chunk, engine=engine)
    np.testing.assert_allclose(found.value, as_it_comes, rtol=1e-8)


def test_one_configuration_is_bit_identical():
    model, x = users(), images()
    one, two = (snrkit.measure(model, x, ["iwae"], K=[3], draws=40) for _ in range(2))
    assert one.drop(columns="seconds").equals(two.drop(columns="seconds"))


@pytest.mark.rest_slow
@pytest.mark.parametrize("kind", [Aliased, Repeated])
def test_parameters_stay_the_models_own(kind):
    """A layer with several names: it still is what an optimiser trains, and what other K are measured with."""
    model, x = awkward(kind), images()
    before = [(name, id(p)) for name, p in model.named_parameters(remove_duplicate=False)]
    found = snrkit.measure(model, x, ["iwae"], K=[3, 5], draws=20, blocks=["all"])
    assert [(name, id(p)) for name, p in model.named_parameters(remove_duplicate=False)] == before
    expected = snrkit.measure(model, x, ["iwae"], K=[3, 5], draws=20, blocks=["all"], engine="loop")
    np.testing.assert_allclose(found.value, expected.value, rtol=1e-8)


def test_measuring_leaves_no_trace():
    model, x = users(), images()
    model.train()
    model.body[0].eval()
    model.shift.grad = torch.ones_like(model.shift)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    parameters = [id(parameter) for parameter in model.parameters()]
    states = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    snrkit.measure(model, x, ["iwae"], K=[3], draws=20)
    assert model.training
    assert model.decoder.training
    assert not model.body[0].training
    assert torch.equal(model.shift.grad, torch.ones_like(model.shift))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [id(parameter) for parameter in model.parameters()] == parameters
    assert torch.equal(states[0], torch.random.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()


def test_data_may_come_in_another_precision():
    table = snrkit.measure(mlp(), images(dtype=torch.float32), ["iwae"], K=[3], draws=20)
    assert set(table.dtype) == {"float64"}


def test_a_wholly_frozen_model_says_so():
    with pytest.raises(SpecError, match="set requires_grad"):
        snrkit.measure(users().requires_grad_(False), images(), ["iwae"], K=[3], draws=20)


def test_dependent_points_are_measured_directly():
    class Coupled(Users):
        independent_points = False

    model = Coupled().double()
    found = snrkit.measure(model, images(), ["iwae"], K=[3], draws=20)
    expected = snrkit.measure(model, images(), ["iwae"], K=[3], draws=20, direct=True)
    assert found.drop(columns="seconds").equals(expected.drop(columns="seconds"))
    assert set(found.method) == {"direct"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"K": [0]}, "K"),
        ({"K": []}, "K"),
        ({"K": [True]}, "K"),
        ({"M": [2.5]}, "M"),
        ({"draws": 3}, "draws"),
        ({"draws": 100.5}, "draws"),
        ({"draws": "many"}, "draws"),
        ({"chunk": 0}, "chunk"),
        ({"chunk": 2.5}, "chunk"),
        ({"seed": -1}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"seed": None}, "seed"),
        ({"model": users().requires_grad_(False)}, "no trainable parameter"),
        ({"estimators": []}, "estimators"),
        ({"estimators": ["iwaee"]}, "did you mean 'iwae'"),
        ({"engine": "vmpa"}, "did you mean 'vmap'"),
        ({"blocks": ["encoder"]}, "choose from inference, generative, all"),
        ({"x": torch.full((3, 9), torch.nan)}, "finite"),
        ({"x": torch.zeros(0, 9)}, "at least one data point"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"model": users(), "x": images(), "estimators": ["iwae"], "K": [3], "draws": 20} | change
    with pytest.raises(SpecError, match=message):
        snrkit.measure(**arguments)


def test_data_of_another_shape_are_the_models_own_error():
    with pytest.raises(ModelError, match=r"encode fails on x float64\[2, 8\]"):
        snrkit.measure(users(), torch.zeros(3, 8), ["iwae"], K=[3], draws=20)


@pytest.mark.slow
def test_whole_numbers_may_be_floats():
    found, expected = (
        snrkit.measure(mlp(), images(), ["iwae"], K=K, draws=draws, seed=seed, chunk=chunk)
        for K, draws, seed, chunk in (([3.0], 2e1, 1.0, 2.0), ([3], 20, 1, 2))
    )
    assert found.drop(columns="seconds").equals(expected.drop(columns="seconds"))


class WithSparse(Users):
    """With a buffer that is not dense."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.eye(9).to_sparse())


@pytest.mark.rest_slow
@pytest.mark.parametrize("engine", ["factors", "vmap", "loop"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_what_the_caller_does_with_gradients_changes_nothing(engine, mode):
    x = images().requires_grad_()
    with mode():
        assert len(snrkit.measure(users(), x, ["iwae", "dreg"], K=[3], draws=8, engine=engine))
        assert torch.is_grad_enabled() == (mode is torch.enable_grad)
    assert x.grad is None


def test_inference_mode_is_refused():
    with torch.inference_mode(), pytest.raises(SpecError, match="inference_mode"):
        snrkit.measure(users(), images(), ["iwae"], K=[3], draws=8)


def test_buffers_may_be_sparse():
    assert len(snrkit.measure(WithSparse().double(), images(), ["iwae"], K=[3], draws=8))


def test_a_broken_model_is_reported_not_averaged():
    model = users()
    with torch.no_grad():
        model.decoder[0].weight[0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="log_joint: is NaN or infinite at data point 0"):
        snrkit.measure(model, images(), ["iwae"], K=[3], draws=20)


@pytest.mark.slow
def test_published_behaviour_on_the_toy():
    """Near the optimum inference SNR falls with K and generative SNR ends up rising (facts of Rainforth et al. 2018)."""
    x = 1.4 * numbers(1, 64, 20)
    model, _ = toy()
    near = type(model).optimum(x.mean(0))
    with torch.no_grad():
        for i, parameter in enumerate(near.parameters()):
            parameter.add_(0.03 * numbers(20 + i, *parameter.shape))
    table = snrkit.measure(near, x, ["iwae"], K=[1, 10, 100], draws=300, blocks=["b", "mu"])
    b, mu = (select(table, metric="snr_pooled", block=block).set_index("K") for block in ("b", "mu"))
    assert b.ci_high[10] < b.ci_low[1]
    assert mu.ci_low[100] > mu.ci_high[10]


class _Small:
    """An engine with memory for at most 20 samples in one pass."""

    name = "small"

    def __init__(self):
        self.engine, self.passes = LoopEngine(), []

    def moments(self, problem, estimator, groups, draws, size):
        self.passes.append(size.samples)
        if size.samples > 20:
            raise torch.OutOfMemoryError
        return self.engine.moments(problem, estimator, groups, draws, size)

    def gradients(self, problem, estimator, groups, draws, size):
        self.passes.append(size.samples)
        if size.samples > 20:
            raise torch.OutOfMemoryError
        assert len(groups) * len(draws) <= max(1, size.units)
        return self.engine.gradients(problem, estimator, groups, draws, size)

    def serving(self, problem, estimator):
        return self.engine.serving(problem, estimator)


@pytest.mark.slow
def test_passes_are_halved_until_they_fit_and_stay_so(monkeypatch):
    small = _Small()
    expected = snrkit.measure(mlp(), images(), ["iwae"], K=[3, 50], draws=20, engine="loop")
    monkeypatch.setattr("snrkit.diagnostics.worker.ENGINES.load", lambda _: lambda: small)
    found = snrkit.measure(mlp(), images(), ["iwae"], K=[3, 50], draws=20)
    np.testing.assert_allclose(found.value, expected.value, rtol=1e-6)
    fitting = [n for n in small.passes if n <= 20]
    assert set(fitting) == {fitting[0]}
    assert len(small.passes) - len(fitting) < 25


def test_after_halving_the_engine_is_the_one_that_drew(monkeypatch):
    class SmallFactors(FactorEngine):
        def moments(self, problem, estimator, groups, draws, size):
            if size.samples > 20:
                raise torch.OutOfMemoryError
            return super().moments(problem, estimator, groups, draws, size)

    monkeypatch.setattr("snrkit.diagnostics.worker.ENGINES.load", lambda _: SmallFactors)
    table = snrkit.measure(mlp(), images(), ["iwae"], K=[50], draws=8)
    assert set(table.engine) == {"loop"}  # 50 samples only go through it, in parts


SECOND = Plan(
    estimators="iwae",
    K=(3, 50),
    draws=20,
    dsnr=True,
    keep=("largest",),
    how=Execution(engine="loop"),
)


def readings_and_draws(plan):
    found = diagnose(mlp(), images(), plan)
    return [*found.table.value, *found.table.stderr, *found.kept.value]


@pytest.fixture(scope="module")
def both_passes():
    return readings_and_draws(SECOND)


@pytest.mark.slow
def test_the_second_pass_too_fits_in_memory(both_passes, monkeypatch):
    small = _Small()
    monkeypatch.setattr("snrkit.diagnostics.worker.ENGINES.load", lambda _: lambda: small)
    small.moments = LoopEngine().moments  # nothing is learnt in the first pass
    np.testing.assert_allclose(readings_and_draws(SECOND), both_passes, rtol=1e-6)
    assert min(small.passes) <= 20 < max(small.passes)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_the_second_pass_keeps_to_its_size(chunk, both_passes, monkeypatch):
    seen, gradients = [], LoopEngine.gradients

    def spy(self, problem, estimator, groups, draws, size):
        seen.append(len(groups) * len(draws))
        return gradients(self, problem, estimator, groups, draws, size)

    monkeypatch.setattr(LoopEngine, "gradients", spy)
    monkeypatch.setattr(LoopEngine, "moments", lambda self, *a: accumulate(gradients(self, *a)))
    np.testing.assert_allclose(
        readings_and_draws(SECOND.replaced(how=Execution(engine="loop", chunk=chunk))), both_passes, rtol=1e-6
    )
    assert max(seen) <= chunk


def test_the_process_keeps_its_own_choice_of_tf32():
    torch.backends.cudnn.allow_tf32 = True
    snrkit.measure(mlp(), images(), ["vae"], K=[1], draws=8)
    assert torch.backends.cudnn.allow_tf32
