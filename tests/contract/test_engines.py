"""Every registered engine gives the loop's moments from the same noise, whatever the chunk."""

import functools

import pytest
import torch

import snrkit
from snrkit.core.streams import Streams
from snrkit.diagnostics.engines import ENGINES
from snrkit.diagnostics.engines.base import PassSize, pass_size
from snrkit.diagnostics.engines.factors import FactorEngine, Plans
from snrkit.diagnostics.engines.loop import LoopEngine
from snrkit.diagnostics.engines.probe import restricted
from snrkit.diagnostics.engines.ways import AT_ONCE
from snrkit.diagnostics.problem import Problem
from snrkit.estimators.base import build_estimator
from snrkit.models.sbn import Sbn
from snrkit.trial.needs import unmet
from snrkit.trial.opening import opened
from tests.awkward import (
    AWKWARD,
    PIXELS,
    Annealed,
    Branching,
    FlattenedRows,
    Gated,
    InPlace,
    Matmul,
    Narrow,
    Norms,
    Recurrent,
    Skip,
    Tied,
    TimeMajor,
    Twice,
    TwiceInEncoder,
    awkward,
)
from tests.support.estimators import EVERY, samples
from tests.zoo import conv, flow, hierarchical, images, mlp, toy, users

pytestmark = pytest.mark.slow

GPUS = FactorEngine(AT_ONCE)  # factors as a GPU sums them
ENGINE = [*(ENGINES.load(name)() for name in ENGINES.names), GPUS]


def label(engine):
    return "factors-at-once" if engine is GPUS else engine.name


def bits():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Sbn(9, (3, 1)).double()


MODELS = {
    "mlp": lambda: (mlp(), images()),
    "hierarchical": lambda: (hierarchical(), images()),
    "users": lambda: (users(), images()),
    "flow": lambda: (flow(), images()),
    "conv": lambda: (conv(), images()),
    "toy": toy,
    "sbn": lambda: (bits(), images()),
}
# Of KINDS those that a model lacks something for; to try the models while tests are collected took each process seconds.
UNFIT = {
    "mlp": {"gdreg"},
    "hierarchical": {"vae-analytic"},
    "users": {"wake-sleep", "gdreg", "vae-analytic"},
    "flow": {"gdreg", "vae-analytic"},
    "conv": {"gdreg"},
    "toy": set(),
    "sbn": {"vae", "iwae", "ciwae", "piwae", "dreg", "stl", "u-statistic", "gdreg", "vae-analytic"},
}
DRAWS, WHOLE = range(2, 13), PassSize(units=4, samples=10**6)
engines = pytest.mark.parametrize("engine", ENGINE, ids=label)
# The loop is what the others are held against.
others = pytest.mark.parametrize("engine", [e for e in ENGINE if e.name != LoopEngine.name], ids=label)
factors = pytest.mark.parametrize("engine", [e for e in ENGINE if e.name == FactorEngine.name], ids=label)
models = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
# One of each way to be made of log-weights and their parts; tests/contract/test_pairs.py has every one with every model.
KINDS = (
    "vae",
    "iwae",
    "ciwae",
    "piwae",
    "dreg",
    "stl",
    "rws",
    "wake-sleep",
    "ovis-mc",
    "u-statistic",
    "gdreg",
    "vae-analytic",
)
SOME = [estimator for estimator in EVERY if estimator.name in KINDS]
estimators = pytest.mark.parametrize("estimator", SOME, ids=lambda e: e.name)


def problem_of(make, direct, dtype=torch.float64, K=5, dreams=False):
    model, x = make()
    model, x = model.to(dtype), x.to(dtype)
    if direct:
        return Problem.direct(model, x, 2, K, Streams(3), dreams=dreams)
    return Problem.units(model, x, K, Streams(3), dreams=dreams)


def cases(makes):
    """Every model with the estimators that are right for it."""
    return [
        pytest.param(make, estimator, id=f"{name}-{estimator.name}")
        for name, make in makes.items()
        for estimator in SOME
        if estimator.name not in UNFIT[name]
    ]


def moments(engine, problem, estimator, size, groups=None):
    return engine.moments(problem, estimator, groups or range(problem.groups), DRAWS, size)


@functools.cache
def of_loop(make, estimator, direct=False, K=5):
    """What the loop makes of a case, all of a draw at once."""
    return moments(LoopEngine(), problem_of(make, direct, K=K, dreams=estimator.needs.sleep), estimator, WHOLE)


@functools.cache
def awkward_loop(kind, K, estimator):
    problem = Problem.units(awkward(kind), images(), K, Streams(4))
    return moments(LoopEngine(), problem, build_estimator(estimator, {}), WHOLE)


def able(problem, estimator):
    """What computes each parameter where factors serve all that they reach, whether it pays or not."""
    plans = Plans()
    reached = plans.reached(problem, estimator)
    rest = [name for name in problem.layout.names if name not in reached]
    other = plans.other(restricted(problem, rest), estimator) if rest else ""
    return {name: "factors" if name in reached else other for name in problem.layout.names}


def assert_same(found, expected, tolerance):
    assert found.draws == expected.draws == len(DRAWS)
    for kind in ("mean", "m2"):
        for one, other, mean in zip(getattr(found, kind), getattr(expected, kind), expected.mean, strict=True):
            assert one.shape == other.shape
            # Of what does not vary at all the squares of deviations are those of rounding.
            rounding = 1e-6 * mean.square().norm() if kind == "m2" else 0
            assert (one - other).norm() <= tolerance * (other.norm() + rounding), kind


def compared():
    """Engines, cases, and whether groups are drawn whole; of what makes no difference to an engine one estimator."""
    for engine in (e for e in ENGINE if e.name != LoopEngine.name):
        for case in cases(MODELS):
            for way, direct in (("units", False), ("direct", True)):
                # Of whole groups factors know nothing, and how they are summed is one thing for all estimators.
                alike = engine.name == FactorEngine.name and (direct or engine is GPUS)
                if not alike or case.values[1].name in ("iwae", "rws"):
                    yield pytest.param(engine, *case.values, direct, id=f"{way}-{case.id}-{label(engine)}")


@pytest.mark.parametrize("name", MODELS)
def test_models_lack_something_for_these_estimators_and_no_others(name):
    with opened(*MODELS[name](), "evaluation") as subject:
        assert {own.name for own in SOME if unmet(own.needs, subject.findings)} == UNFIT[name]


@pytest.mark.parametrize(("engine", "make", "estimator", "direct"), list(compared()))
def test_moments_equal_the_loops(engine, make, estimator, direct):
    K = samples(estimator)
    problem = problem_of(make, direct, K=K, dreams=estimator.needs.sleep)
    assert_same(moments(engine, problem, estimator, WHOLE), of_loop(make, estimator, direct, K), 1e-10)


@engines
@models
def test_moments_do_not_depend_on_the_chunk(engine, make):
    """Neither on the draws nor on the samples of one pass, down to a draw at a time."""
    estimator = build_estimator("rws" if make is MODELS["sbn"] else "piwae", {})
    for K in (1, 5):
        problem, expected = problem_of(make, direct=False, K=K), of_loop(make, estimator, K=K)
        for units, most in ((1, 10**6), (3, K), (7, 3 * K), (100, 7 * K)):
            assert_same(moments(engine, problem, estimator, PassSize(units, most)), expected, 1e-10)


def offering(estimator):
    """A model that offers what an estimator needs."""
    return MODELS["hierarchical" if estimator.name in UNFIT["mlp"] else "mlp"]


@pytest.mark.parametrize(
    ("engine", "estimator"),
    [(e, own) for e in ENGINE for own in SOME if e is not GPUS or own.name in ("iwae", "rws")],
    ids=lambda part: part.name,
)
@pytest.mark.parametrize("portion", [1, 4, 7])
def test_a_draw_in_parts_equals_the_whole(engine, estimator, portion):
    make, K = offering(estimator), samples(estimator)
    for direct in (False, True):
        problem = problem_of(make, direct, K=K, dreams=estimator.needs.sleep)
        expected = of_loop(make, estimator, direct, K)
        assert_same(moments(engine, problem, estimator, PassSize(3, portion)), expected, 1e-10)


@estimators
@pytest.mark.parametrize("network", ["encoder", "decoder"])
def test_a_frozen_network_in_parts(estimator, network):
    model, x = offering(estimator)()
    getattr(model, network).requires_grad_(False)
    problem = Problem.units(model, x, samples(estimator), Streams(3), dreams=estimator.needs.sleep)
    expected = moments(LoopEngine(), problem, estimator, WHOLE)
    assert_same(moments(LoopEngine(), problem, estimator, PassSize(3, 4)), expected, 1e-10)


@others
@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch's vmap, of weight_norm
@pytest.mark.parametrize("kind", AWKWARD, ids=lambda k: k.__name__)
@pytest.mark.parametrize("K", [1, 5])
def test_awkward_models(engine, kind, K):
    """Refuse nothing: what an engine cannot do itself it hands on, and the moments are the loop's."""
    model = awkward(kind)
    problem = Problem.units(model, images(), K, Streams(4))
    if engine.name == "vmap" and kind is Recurrent:
        pytest.skip("torch's vmap has no rule for GRUCell; the factors engine falls back to the loop for it")
    for name in ("iwae", "dreg"):
        found = moments(engine, problem, build_estimator(name, {}), WHOLE)
        assert_same(found, awkward_loop(kind, K, name), 1e-8)


def test_factors_serve_what_they_can():
    estimator = build_estimator("iwae", {})

    def served(kind):
        return able(Problem.units(awkward(kind), images(), 5, Streams(4)), estimator)

    for kind in (FlattenedRows, InPlace, Twice):
        assert set(served(kind).values()) == {"factors"}, kind
    assert served(Tied)["mix.weight"] == "vmap"
    assert served(Tied)["out.weight"] == "factors"
    assert served(Norms)["scale"] == served(Norms)["net.1.weight"] == "vmap"
    assert served(Norms)["net.2.weight"] == "factors"
    assert served(Matmul)["weight"] == served(TimeMajor)["step.weight"] == "vmap"
    assert served(Recurrent)["cell.weight_ih"] == "loop"
    assert served(TwiceInEncoder)["encoder.weight"] == "vmap"
    assert served(TwiceInEncoder)["head.weight"] == "factors"


def test_what_was_found_of_one_model_is_not_used_for_another():
    """Models made and dropped in turn often live at one address."""
    engine, estimator = ENGINES.load("factors")(), build_estimator("iwae", {})
    for kind, by in ((Twice, "factors"), (Tied, "vmap")) * 5:
        problem = Problem.units(awkward(kind), images(), 5, Streams(4))
        assert engine.serving(problem, estimator)["mix.weight"] == by
        del problem


def test_what_was_found_holds_while_the_parameters_do():
    engine, estimator, model = ENGINES.load("factors")(), build_estimator("iwae", {}), awkward(Annealed)
    for gate, by in ((0.0, "factors"), (1.0, "vmap"), (0.0, "factors")):
        with torch.no_grad():
            model.gate.fill_(gate)
        assert engine.serving(Problem.units(model, images(), 5, Streams(4)), estimator)["mix.weight"] == by


def test_a_gradient_that_vanishes_is_no_evidence():
    """One weight used twice, behind a layer begun at zero: factors and truth are both zero, and differ later."""
    model, estimator = awkward(Tied), build_estimator("iwae", {})
    torch.nn.init.zeros_(model.out.weight)
    engine = ENGINES.load("factors")()
    assert engine.serving(Problem.units(model, images(), 5, Streams(4)), estimator)["mix.weight"] == "vmap"


@pytest.mark.parametrize("on", range(3))
def test_every_data_point_has_its_say(on):
    """One weight used twice, but only where the first pixel is on; wherever that point stands, factors are seen to fail."""
    x, estimator = images(), build_estimator("iwae", {})
    x[:, 0] = torch.eye(3)[on]
    problem = Problem.units(awkward(Branching), x, 5, Streams(4))
    served = able(problem, estimator)
    assert served["mix.weight"] == "vmap"
    assert served["out.weight"] == "factors"


def test_one_point_with_a_gradient_is_evidence_enough():
    """Where the gate is shut the gradient is exactly zero, and says nothing against a layer."""
    x = images()
    x[:, 0] = torch.tensor([0.0, 0.0, 1.0])
    problem = Problem.units(awkward(Gated), x, 5, Streams(4))
    assert ENGINES.load("factors")().serving(problem, build_estimator("iwae", {}))["extra.weight"] == "factors"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_left_to_others(dtype):
    problem = Problem.units(mlp(dtype=dtype), images(dtype=dtype), 5, Streams(4))
    served = ENGINES.load("factors")().serving(problem, build_estimator("iwae", {}))
    assert "factors" not in served.values()


def test_factors_serve_all_of_a_hierarchical_model_but_the_noise_dependent_encoder():
    served = able(Problem.units(hierarchical(), images(), 5, Streams(4)), build_estimator("dreg", {}))
    assert {name for name, by in served.items() if by != "factors"} == {n for n in served if n.startswith("encoder.1.")}
    assert set(served.values()) == {"factors", "vmap"}


@engines
def test_float32_agrees_in_norm(engine):
    problem, estimator = problem_of(MODELS["mlp"], False, torch.float32), build_estimator("iwae", {})
    expected = moments(LoopEngine(), problem, estimator, WHOLE)
    tolerance = 1e-4 if engine.name == "factors" else 1e-5  # squares of sums of float32 products
    assert_same(moments(engine, problem, estimator, WHOLE), expected, tolerance)


@engines
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("K", [1, 3])
def test_what_varies_by_rounding_alone_is_dropped(engine, dtype, K):
    """Pixels beside the hidden units, into a layer begun at zero: their weights' gradients are the same in every draw."""
    model, x = awkward(Skip).to(dtype), images()[:1].to(dtype)
    x += 0.3  # 1.3 has no finite binary expansion
    table = snrkit.measure(model, x, ["iwae"], K=[K], draws=40, engine=engine.name, blocks=["out.weight"])
    row = table.set_index("metric").loc["snr_mean"]
    assert (row.n_coordinates, row.n_dropped) == (6 * PIXELS, PIXELS * PIXELS)
    assert row.value < 10


@factors
def test_a_small_variance_beside_a_large_mean_is_kept(engine):
    """One sample per draw and a narrow proposal: the squares of what the factors give would cancel in float32."""
    model = awkward(Narrow).float()
    problem, estimator = Problem.units(model, images().float(), 1, Streams(4)), build_estimator("iwae", {})
    assert engine.serving(problem, estimator)["out.weight"] == "factors"
    found, expected = (moments(e, problem, estimator, WHOLE) for e in (engine, LoopEngine()))
    assert_same(found, expected, 1e-3)


@engines
def test_groups_can_be_taken_apart(engine):
    problem, estimator = problem_of(MODELS["mlp"], direct=False), build_estimator("iwae", {})
    whole = moments(engine, problem, estimator, WHOLE)
    one = moments(engine, problem, estimator, WHOLE, groups=range(1, 2))
    torch.testing.assert_close(one.mean, [mean[1:2] for mean in whole.mean])


@engines
def test_parameters_are_left_without_gradients(engine):
    problem = problem_of(MODELS["users"], direct=False)
    moments(engine, problem, build_estimator("piwae", {}), WHOLE)
    assert all(parameter.grad is None for parameter in problem.model.parameters())


def test_noise_does_not_depend_on_how_it_is_asked_for():
    problem = problem_of(MODELS["mlp"], direct=False)
    rows = problem.noise._rows
    whole = problem.noise.draw(1, range(2 * rows + 3))
    assert torch.equal(problem.noise.draw(1, range(rows - 2, rows + 5)), whole[rows - 2 : rows + 5])
    assert torch.equal(problem.noise.draw(1, range(2 * rows, 2 * rows + 1)), whole[2 * rows : 2 * rows + 1])
    assert not torch.equal(problem.noise.draw(0, range(3)), whole[:3])


def test_pass_size_is_a_function_of_shapes():
    small, large = (Problem.units(*MODELS["mlp"](), K, Streams(0)) for K in (5, 500_000))
    estimator = build_estimator("iwae", {})
    assert pass_size(small, estimator, None) == pass_size(small, estimator, None)
    assert pass_size(small, estimator, 9).units == 9
    assert pass_size(large, estimator, None).units == 1
