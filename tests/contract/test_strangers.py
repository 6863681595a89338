"""Engines on what strangers bring: the loop written here says what is right."""

import gc
import random
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import snrkit
from snrkit import DiagonalNormal, bernoulli_log_prob, standard_normal_log_prob
from snrkit.core.streams import Streams
from snrkit.diagnostics import noise as noises
from snrkit.diagnostics import weights as tallying
from snrkit.diagnostics.draws import Drawer
from snrkit.diagnostics.engines import ENGINES
from snrkit.diagnostics.engines.base import PassSize, pass_size
from snrkit.diagnostics.engines.cost import Task, Work
from snrkit.diagnostics.engines.factors import FactorEngine, Plans
from snrkit.diagnostics.engines.loop import LoopEngine
from snrkit.diagnostics.metrics import weights as weighing
from snrkit.diagnostics.plan import Plan
from snrkit.diagnostics.problem import Problem
from snrkit.diagnostics.seeding import Seeding
from snrkit.diagnostics.store import Store, fingerprint
from snrkit.diagnostics.worker import Worker
from snrkit.errors import CapabilityError, ResourceError
from snrkit.estimators.base import build_estimator
from snrkit.models.state import Snapshot, unchanged, uncompiled
from snrkit.trial.statement import said_of
from tests.awkward import PIXELS, Awkward, Conv, InPlace, Norms, Recurrent, Tied, awkward
from tests.zoo import B, D, images, mlp

IWAE, DREG = build_estimator("iwae", {}), build_estimator("dreg", {})
DRAWS, WHOLE = range(7), PassSize(units=4, samples=10**6)
NAMES = ("factors", "vmap", "loop")


def by_hand(problem, estimator, bound=None):
    """Mean and sum of squared deviations, from backward passes of the bound itself."""
    gradients = []
    for draw in DRAWS:
        each = []
        for group in range(problem.groups):
            noise = problem.noise.draw(group, range(draw, draw + 1))[0]
            problem.model.zero_grad()
            weights = problem.model(problem.group(group), noise, path=False)
            estimator.bound(weights.log_w).mean().backward()
            each.append([p.grad.to_dense().double().clone() for p in problem.parameters.values()])
        problem.model.zero_grad()
        gradients.append([torch.stack(parts) for parts in zip(*each, strict=True)])
    stacked = [torch.stack(parts) for parts in zip(*gradients, strict=True)]
    return [g.mean(0) for g in stacked], [(g - g.mean(0)).square().sum(0) for g in stacked]


def assert_right(found, expected, tolerance=1e-9):
    for own, other in zip((found.mean, found.m2), expected, strict=True):
        for one, truth in zip(own, other, strict=True):
            assert one.shape == truth.shape
            assert (one - truth).norm() <= tolerance * truth.norm() + 1e-300


def moments(engine, problem, estimator=IWAE, size=WHOLE):
    return engine.moments(problem, estimator, range(problem.groups), DRAWS, size)


def reached(problem, estimator=IWAE):
    return Plans().reached(problem, estimator)


def forced(monkeypatch, problem, estimator=IWAE):
    """The factors engine, made to serve whatever it can."""
    served = {name: "factors" if name in reached(problem, estimator) else "loop" for name in problem.layout.names}
    engine = FactorEngine()
    monkeypatch.setattr(engine, "serving", lambda *_: served)
    return engine


class Labelled(Awkward):
    """Images with a label (embedded) and weights of the pixels."""

    def __init__(self, sparse=False):
        super().__init__()
        self.table = nn.Embedding(3, 6, sparse=sparse)
        self.out = nn.Linear(D + 6, PIXELS)

    def encode(self, x):
        hidden = torch.tanh(self.encoder[0](x["image"]))
        loc, log_scale = self.encoder[2](hidden).chunk(2, -1)
        return DiagonalNormal(loc, log_scale.exp())

    def log_joint(self, x, z):
        assert x["label"].dtype == torch.int64
        label = self.table(x["label"]).expand(*z.shape[:-1], 6)
        return standard_normal_log_prob(z) + bernoulli_log_prob(x["image"], self.out(torch.cat([z, label], -1)))


def labelled():
    return {"image": images(), "label": torch.tensor([2, 0, 1])}


@pytest.mark.rest_slow
@pytest.mark.parametrize("name", NAMES)
def test_a_dict_with_integers(name, monkeypatch):
    problem = Problem.units(awkward(Labelled), labelled(), 5, Streams(4))
    expected = by_hand(problem, IWAE)
    assert_right(moments(ENGINES.load(name)(), problem), expected)
    assert_right(moments(ENGINES.load(name)(), problem, size=PassSize(3, 2)), expected)
    assert {"out.weight", "encoder.0.weight"} <= reached(problem)
    assert_right(moments(forced(monkeypatch, problem), problem), expected)


def test_a_tuple_in_one_draw_of_all_points():
    class Paired(Labelled):
        def encode(self, x):
            return super().encode({"image": x[0], "label": x[1]})

        def log_joint(self, x, z):
            return super().log_joint({"image": x[0], "label": x[1]}, z)

    x = tuple(labelled().values())
    problem = Problem.direct(awkward(Paired), x, 2, 5, Streams(4))
    for name in NAMES:
        assert_right(moments(ENGINES.load(name)(), problem, build_estimator("iwae", {})), by_hand(problem, IWAE))


def test_a_structure_has_a_fingerprint_and_a_statement():
    model, x = awkward(Labelled), labelled()
    other = x | {"label": torch.tensor([2, 0, 0])}
    assert fingerprint([], x) == fingerprint([], dict(x)) != fingerprint([], other)
    assert str(said_of(model, x)) == str(said_of(model, x)) != str(said_of(model, other))


def test_sparse_gradients():
    problem = Problem.units(Labelled(sparse=True).double(), labelled(), 5, Streams(4))
    expected = by_hand(problem, IWAE)
    for name in ("factors", "loop"):
        for size in (WHOLE, PassSize(3, 2)):
            assert_right(moments(ENGINES.load(name)(), problem, size=size), expected)


class Threshold(Awkward):
    """Binary latents: z has no graph. (An engine may be asked; which estimators are right is said elsewhere.)"""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(D, 5), nn.Tanh(), nn.Linear(5, PIXELS))

    def encode(self, x):
        posterior = super().encode(x)

        class Bits(type(posterior)):
            def sample(self, noise):
                return (super().sample(noise) > 0).to(noise.dtype).detach()

        return Bits(posterior.loc, posterior.scale)

    def logits(self, z):
        return self.net(z)


def test_factors_reach_layers_behind_samples_without_a_graph(monkeypatch):
    problem = Problem.units(awkward(Threshold), images(), 5, Streams(4))
    assert {"net.0.weight", "net.2.weight", "net.2.bias"} <= reached(problem)
    assert_right(moments(forced(monkeypatch, problem), problem), by_hand(problem, IWAE))


def test_a_frozen_encoder_leaves_the_decoder_to_factors(monkeypatch):
    model = mlp()
    model.encoder.requires_grad_(False)
    problem = Problem.units(model, images(), 5, Streams(4))
    assert reached(problem) == set(problem.layout.names)
    assert_right(moments(forced(monkeypatch, problem), problem), by_hand(problem, IWAE))


class Dropping(Awkward):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(D, PIXELS)

    def logits(self, z):
        return self.out(functional.dropout(z, 0.5))


class Checkpointed(Awkward):
    def __init__(self, reentrant=True):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(D, 5), nn.Tanh(), nn.Linear(5, PIXELS))
        self.reentrant = reentrant

    def logits(self, z):
        return checkpoint(self.net, z, use_reentrant=self.reentrant)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("kind", [Dropping, Recurrent, Checkpointed])
def test_vmap_by_name_says_what_it_cannot_do(kind):
    problem = Problem.units(awkward(kind), images(), 5, Streams(4))
    with pytest.raises(
        CapabilityError, match=r"^engine: vmap cannot draw .*choose engine 'factors'.*'loop'$"
    ) as raised:
        moments(ENGINES.load("vmap")(), problem)
    assert "\n" not in str(raised.value)


@pytest.mark.rest_slow
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("name", ["factors", "loop"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints(name, reentrant):
    """Also dreg, whose theta asks for hidden parameters alone, and draws in parts; gradients stay as they were."""
    model = awkward(lambda: Checkpointed(reentrant))
    problem = Problem.units(model, images(), 5, Streams(4))
    assert set(problem.layout.networks) == {"inference", "generative"}
    plain = awkward(InPlace)
    plain.net = nn.Sequential(*model.net)
    plain.load_state_dict(model.state_dict())
    same = Problem.units(plain, images(), 5, Streams(4))
    truth, expected = by_hand(same, IWAE), moments(LoopEngine(), same, DREG)
    kept = torch.ones(5, D, dtype=torch.float64)
    model.net[0].weight.grad = kept
    for size in (WHOLE, PassSize(3, 2)):
        assert_right(moments(ENGINES.load(name)(), problem, size=size), truth)
        assert_right(moments(ENGINES.load(name)(), problem, DREG, size), (expected.mean, expected.m2))
    assert model.net[0].weight.grad is kept
    assert model.net[2].weight.grad is None


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_a_hook_that_a_checkpoint_would_call_is_refused():
    model = awkward(Checkpointed)
    model.out_hook = model.net[2].weight.register_post_accumulate_grad_hook(lambda _: None)
    with pytest.raises(CapabilityError, match="use_reentrant=False"):
        moments(LoopEngine(), Problem.units(model, images(), 5, Streams(4)))


def test_a_hook_on_a_gradient_counts_in_every_engine():
    """vmap does not call it, and is found out."""
    model = awkward(Norms)
    model.scale.register_hook(lambda gradient: 2 * gradient)
    problem = Problem.units(model, images(), 5, Streams(4))
    expected = by_hand(problem, IWAE)
    assert_right(moments(ENGINES.load("factors")(), problem), expected)
    with pytest.raises(CapabilityError, match="gradient of scale"):
        moments(ENGINES.load("vmap")(), problem)


def test_compiled_layers_with_two_surrogates():
    model = awkward(InPlace)
    expected = moments(LoopEngine(), Problem.units(model, images(), 5, Streams(4)), DREG)
    model.net.compile(backend="aot_eager")
    with uncompiled():
        problem = Problem.units(model, images(), 5, Streams(4))
        for name in NAMES:
            assert_right(moments(ENGINES.load(name)(), problem, DREG), (expected.mean, expected.m2))


class Odd(Awkward):
    """A scalar, an empty parameter, and one in another precision."""

    def __init__(self):
        super().__init__()
        self.scalar, self.empty = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(0))
        self.single = nn.Linear(D, PIXELS)

    def logits(self, z):
        return self.single(z.float()).to(z.dtype) * self.scalar + self.empty.sum()


@pytest.mark.parametrize("name", NAMES)
def test_odd_parameters(name):
    model = awkward(Odd)
    model.single.float()
    problem = Problem.units(model, images(), 5, Streams(4))
    assert_right(moments(ENGINES.load(name)(), problem), by_hand(problem, IWAE), 1e-5)


@pytest.mark.rest_slow
@pytest.mark.parametrize("estimator", [IWAE, DREG], ids=lambda e: e.name)
def test_a_large_latent_has_its_cotangents_pulled_back(monkeypatch, estimator):
    class Wide(Awkward):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(PIXELS, 6), nn.Tanh(), nn.Linear(6, 300))
            self.out = nn.Linear(150, PIXELS)

        def logits(self, z):
            return self.out(z)

    problem = Problem.units(awkward(Wide), images(), 5, Streams(4))
    assert reached(problem) == set(problem.layout.names)
    expected = moments(LoopEngine(), problem, estimator)
    found = moments(forced(monkeypatch, problem, estimator), problem, estimator, PassSize(4, 15))
    assert_right(found, (expected.mean, expected.m2))


class SharedScale(InPlace):
    """A scale for all points, which is not per data point and of which factors know nothing."""

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(D))

    def encode(self, x):
        return DiagonalNormal(super().encode(x).loc, self.log_scale.exp())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [InPlace, Tied, SharedScale])
@pytest.mark.parametrize("samples", [15, 10**6])
def test_many_points_share_passes(kind, samples, monkeypatch):
    model = awkward(kind)
    problem = Problem.units(model, images(points=67), 5, Streams(4))
    names = reached(problem)
    assert (names == set(problem.layout.names)) == (kind is InPlace)
    assert kind is SharedScale or "encoder.0.weight" in names
    for estimator in (IWAE, DREG):
        expected = moments(LoopEngine(), problem, estimator)
        engine = forced(monkeypatch, problem, estimator)
        assert_right(moments(engine, problem, estimator, PassSize(4, samples)), (expected.mean, expected.m2))


def measured_and_deleted():
    """Weak references to parts of models that were measured and then deleted."""
    left = []
    for kind in (InPlace, Norms, Conv):
        model = awkward(kind)
        problem = Problem.units(model, images(), 5, Streams(4))
        moments(ENGINES.load("factors")(), problem, size=pass_size(problem, IWAE, None))
        left.append(weakref.ref(model.out if hasattr(model, "out") else next(model.parameters())))
        del model, problem
    return left


def test_models_that_were_measured_are_freed():
    """Without the garbage collector, since nothing may hold itself; but of what loads torch's compiler in the process."""
    first = measured_and_deleted()
    gc.collect()
    assert [one() for one in first] == [None] * 3
    gc.disable()
    try:
        assert [one() for one in measured_and_deleted()] == [None] * 3
    finally:
        gc.enable()


@pytest.mark.parametrize("points", [1, 3])
def test_noise_in_portions_is_the_same_noise(monkeypatch, points):
    shape = points, 2, 11, 4
    make = lambda: noises.Noise(Streams(5), shape, torch.float32, torch.device("cpu"))  # noqa: E731
    whole = [make().draw(1, range(d, d + 1))[0] for d in (0, 3)]
    monkeypatch.setattr(noises, "_HELD", 50)
    monkeypatch.setattr(noises, "_PAGE_ELEMENTS", 50)
    small = noises.Noise(Streams(5), shape, torch.float32, torch.device("cpu"))
    assert not small.held
    alone = [small.draw(1, range(d, d + 1))[0] for d in (0, 3)]
    for width in (1, 4, 22, 100):
        for draw, numbers in zip((0, 3), alone, strict=True):
            parts = list(small.portions(1, draw, width))
            assert all(part.shape[2] <= width for part in parts)
            assert torch.equal(torch.cat(parts, 2), numbers.reshape(points, 1, 22, 4))
    assert len(whole) == 2


def test_nested_noise_in_portions(monkeypatch):
    nested = noises.NestedNoise(noises.Noise(Streams(5), (1, 1, 12, 4), torch.float32, torch.device("cpu")), 3)
    monkeypatch.setattr(noises, "_PAGE_ELEMENTS", 10)
    for held in (10**6, 10):
        monkeypatch.setattr(noises, "_HELD", held)
        nested = noises.NestedNoise(noises.Noise(Streams(5), (1, 1, 12, 4), torch.float32, torch.device("cpu")), 3)
        for draw in range(7):
            parts = torch.cat(list(nested.portions(1, draw, 3)), 2)
            assert torch.equal(parts, nested.draw(1, range(draw, draw + 1))[0])


def drawer_of(model, x, engine="factors", **options):
    worker = Worker(model, x, Streams(0), engine=engine, **options)
    return Drawer(worker, Store(None, ""), None, lambda: False)


def weights_of(drawer, job):
    ((_, statistics),) = drawer.worker.weights(job, 6, [weighing.FAMILY]).statistics()
    return statistics


def job_of(K=5, draws=40, direct=False):
    plan = Plan(estimators=IWAE, K=K, draws=draws, seed=0, direct=direct)
    return plan.job(IWAE, 1, K)


@pytest.mark.slow
@pytest.mark.parametrize("direct", [False, True])
def test_draws_whose_noise_is_not_held(monkeypatch, direct):
    """The same numbers, and the same statistics of weights."""
    model, job = mlp(), job_of(direct=direct)
    expected = drawer_of(model, images(), "loop")
    truth = expected.moments(job)
    monkeypatch.setattr(noises, "_PAGE_ELEMENTS", 8)  # one draw to a page, as is so for large ones
    held = drawer_of(model, images(), "loop")
    alone, weights = held.moments(job), weights_of(held, job)
    for module, name in ((noises, "_HELD"), (weighing, "AT_ONCE"), (tallying, "AT_ONCE")):
        monkeypatch.setattr(module, name, 2)
    drawer = drawer_of(model, images(), "loop")
    drawer.worker._largest = 4
    found = drawer.moments(job)
    np.testing.assert_allclose(found.merged()[1], alone.merged()[1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(weights_of(drawer, job), weights, rtol=1e-9)
    assert truth.draws == found.draws


def test_statistics_of_many_weights_at_once_or_in_parts(monkeypatch):
    log_w = 3 * torch.randn(2, 3, 50, dtype=torch.float64)
    whole = weighing._statistics(log_w)
    w = log_w.double().exp() / log_w.double().exp().sum(-1, keepdim=True)
    torch.testing.assert_close(whole, torch.stack([1 / w.square().sum(-1), w.amax(-1)], -1))
    monkeypatch.setattr(weighing, "AT_ONCE", 7)
    torch.testing.assert_close(weighing._statistics(log_w), whole)


REFUSALS = [
    MemoryError(),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to allocate"
    ),
    torch.OutOfMemoryError("CUDA out of memory."),
]


@pytest.mark.rest_slow
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("fits", [7, 0])
def test_memory_that_runs_out(refusal, fits):
    """Passes are halved until they fit; if none does, one sentence says so."""
    drawer, job = drawer_of(mlp(), images(), "loop"), job_of()
    truth, inner = drawer.moments(job), drawer.worker.engine.moments

    def tight(problem, estimator, groups, draws, size):
        if size.samples > fits:
            raise refusal
        return inner(problem, estimator, groups, draws, size)

    drawer.worker.engine.moments = tight
    if not fits:
        with pytest.raises(
            ResourceError, match=r"K: memory ran out with 5 importance samples in a draw .*; give a smaller K"
        ):
            drawer.moments(job)
        return
    np.testing.assert_allclose(drawer.moments(job).merged()[1], truth.merged()[1], rtol=1e-9, atol=1e-12)


def test_other_errors_are_not_taken_for_memory():
    drawer = drawer_of(mlp(), images(), "loop")

    def broken(*_):
        raise RuntimeError("shapes cannot be multiplied")

    drawer.worker.engine.moments = broken
    with pytest.raises(RuntimeError, match="multiplied"):
        drawer.moments(job_of())


class Remembering(Awkward):
    """Keeps a running mean of its hidden units, as a buffer or as an attribute, by exchanging it."""

    def __init__(self, buffer):
        super().__init__()
        self.out = nn.Linear(D, PIXELS)
        mean = torch.zeros(PIXELS, dtype=torch.float64)
        if buffer:
            self.register_buffer("mean", mean)
        else:
            self.mean = mean

    def logits(self, z):
        logits = self.out(z)
        self.mean = 0.9 * self.mean + 0.1 * logits.detach().mean(dim=(0, 1, 2))
        return logits


@pytest.mark.parametrize("buffer", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_no_tensor_of_vmaps_stays_in_a_model(name, buffer):
    model = awkward(lambda: Remembering(buffer))
    problem = Problem.units(model, images(), 5, Streams(4))
    expected = moments(LoopEngine(), problem)
    assert_right(moments(ENGINES.load(name)(), problem), (expected.mean, expected.m2))
    assert bool((2 * model.mean).isfinite().all())


class Training(Awkward):
    def __init__(self):
        super().__init__()
        self.norm, self.out = nn.BatchNorm1d(D), nn.Linear(D, PIXELS)

    def logits(self, z):
        noisy = functional.dropout(z, 0.3) + 0.1 * float(np.random.rand()) + 0.1 * random.random()
        return self.out(self.norm(noisy.flatten(0, -2)).view_as(z))


def test_what_a_model_draws_itself_is_a_function_of_the_draw():
    model, x = awkward(Training).train(), images()
    problem = Problem.direct(model, x, 1, 5, Streams(4))
    before = [
        torch.get_rng_state(),
        np.random.get_state()[1].copy(),
        random.getstate(),
        model.norm.running_mean.clone(),
    ]
    seeding = Seeding(Streams(4), 1, 5, Snapshot(model))
    problem = replace(problem, seeded=seeding)
    with unchanged(model):
        one = list(LoopEngine().gradients(problem, IWAE, range(1), range(4), WHOLE))
        other = [
            next(iter(LoopEngine().gradients(problem, IWAE, range(1), range(d, d + 1), WHOLE))) for d in (3, 1, 0, 2)
        ]
    for draw, again in zip((3, 1, 0, 2), other, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[draw], again, strict=True))
    assert not torch.equal(one[0][0], one[1][0])
    after = [torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate(), model.norm.running_mean]
    assert torch.equal(before[0], after[0])
    assert (before[1] == after[1]).all()
    assert before[2] == after[2]
    assert torch.equal(before[3], after[3])
    # The distribution is that of the user's own loop.
    assert set(ENGINES.load("factors")().serving(problem, IWAE).values()) == {"loop"}
    with pytest.raises(CapabilityError, match="training mode"):
        moments(ENGINES.load("vmap")(), problem)
    with pytest.raises(ResourceError, match=r"K=3000000: a draw in which .* the model draws or keeps something"):
        snrkit.measure(model, x, "iwae", K=3_000_000, draws=4, mode="training")


@pytest.mark.slow
def test_training_mode_measures_what_a_plain_loop_does():
    """Means of a thousand draws of either, within 4.5 standard errors in every coordinate (there are 150 of them)."""
    torch.manual_seed(3)
    model, x, R = awkward(Training).train(), images(), 400
    with unchanged(model):
        drawer = drawer_of(model, x, restart=Snapshot(model))
        drawn, mean, variance = drawer.moments(job_of(draws=R, direct=True)).merged()
    problem = Problem.direct(model, x, 1, 5, Streams(9))
    own = []
    for draw in range(R):
        noise = torch.randn(B, 1, 5, D, dtype=torch.float64, generator=torch.Generator().manual_seed(draw))
        bound = IWAE.bound(model(x, noise).log_w).mean()
        own.append(torch.cat([g.flatten() for g in torch.autograd.grad(bound, list(problem.parameters.values()))]))
    own = torch.stack(own)
    error = (torch.as_tensor(variance) / drawn + own.var(0) / R).sqrt()
    moving = error > 1e-9
    assert ((torch.as_tensor(mean) - own.mean(0)).abs()[moving] <= 4.5 * error[moving]).all()


def task(**work):
    whole = {"calls": 170.0, "flops": 1e6, "convolved": 0.0, "moved": 1e6} | work
    return Task(Work(**whole), Work(calls=100.0), samples=10, coordinates=10_000, units=36, rows=50, block=50)


def test_prices_rank_as_measured():
    """Small layers: factors, vmap, loop. Convolutions of many samples: a second pass to spare a layer's sum is a loss."""
    small = task()
    assert small.factors(10_000, 100, True) < small.vmap() < small.loop()
    heavy = task(convolved=6e8, moved=2e7)
    assert heavy.factors(10_000, 100, True) > heavy.saved(10_000, "vmap")
    assert replace(heavy, units=3).vmap() < 1.3 * heavy.loop()


def test_the_choice_is_a_function_of_shapes():
    first, second = (
        FactorEngine().serving(Problem.units(awkward(kind), images(), 5, Streams(s)), IWAE)
        for kind in (Norms,)
        for s in (1, 2)
    )
    assert first == second


@pytest.mark.slow
def test_where_direct_draws_would_be_cheaper_a_remark_says_so():
    model = mlp()
    many = images(points=12)
    drawer = drawer_of(model, many)
    drawer.worker.engine.prices = lambda *_: (1.0, 0.1)
    drawer.moments(job_of(draws=20))
    (remark,) = drawer.remarks
    assert remark.startswith("K=5: drawing the minibatch as a whole (`direct=True`)")
    small = drawer_of(model, many)
    small.moments(job_of(draws=20))
    assert small.remarks == []


def test_moments_that_cannot_fit_are_refused_before_any_draw(monkeypatch):
    monkeypatch.setattr("snrkit.backend.memory.available", lambda: 10_000)
    with pytest.raises(ResourceError, match="20 blocks of the moments of"):
        drawer_of(mlp(), images()).moments(job_of())


def test_what_very_many_points_cost_is_remarked(monkeypatch):
    monkeypatch.setattr("snrkit.diagnostics.draws._MANY_ACCOUNTS", 100)
    drawer = drawer_of(mlp(), images())
    drawer.moments(job_of())
    (remark,) = drawer.remarks
    assert "accounts of 3 data points of" in remark
