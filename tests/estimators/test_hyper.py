"""Options of any estimator that change in training: one of two options for each stage, the other learnt by its slope."""

import dataclasses
import itertools
import math
from typing import ClassVar

import pytest
import torch

from snrkit.core import bounds
from snrkit.errors import CheckpointError, SpecError
from snrkit.estimators import ESTIMATORS, hyper
from snrkit.estimators.base import Estimator, Theory, option
from snrkit.estimators.ciwae import Ciwae
from snrkit.estimators.hyper import Context, Hyper
from snrkit.interrupt import Interrupted
from snrkit.run import Run
from snrkit.runs.checkpoint import load_checkpoint
from snrkit.runs.folder import RunDir
from snrkit.runs.kinds.metrics import METRICS
from snrkit.specs.options import AnnealedOption
from snrkit.specs.run import RunSpec
from snrkit.specs.schedule import annealed
from snrkit.training.ensemble import ensemble_key
from snrkit.training.loop import run_epochs
from tests.support.training import trainer

LOG_W = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@dataclasses.dataclass(frozen=True)
class Renyi(Estimator):
    """weight ELBO + (1 - weight) VR-IWAE bound of order alpha, plus what nothing is said of."""

    name: ClassVar[str] = "renyi"
    alpha: float = option(0.5, low=-1, high=0.9, learnable=True)
    weight: float = option(0.5, low=0, high=1)
    spare: float = 0.0
    slow: float = option(1.0, low=0, learnable=True)

    def bound(self, log_w):
        order = 1 - self.alpha
        return self.weight * bounds.elbo(log_w) + (1 - self.weight) * bounds.iwae(order * log_w) / order + self.spare

    @property
    def theory(self):
        return Theory((0.5, 0.5), (0.5, 0.5), "its bound", "none")


@dataclasses.dataclass(frozen=True)
class Taken(Renyi):
    name: ClassVar[str] = "taken"
    lr: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Needy(Renyi):
    name: ClassVar[str] = "needy"
    more: float = option(learnable=True)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    own, kinds = ESTIMATORS.load, {kind.name: kind for kind in (Renyi, Taken, Needy)}
    monkeypatch.setattr(ESTIMATORS, "load", lambda name: kinds.get(name) or own(name))


@pytest.fixture
def renyi(small):
    """Specs of runs with the options of such an estimator."""

    def spec(name="renyi", schedule="burda", **options):
        estimator = {"name": name, "M": 2, "K": 4, "options": options}
        return lambda **changes: small(estimator=estimator, optimiser={"schedule": schedule}, **changes)

    return spec


ANNEALED = {"anneal": "linear", "start": 0.9, "stop": 0.1, "until": 10}
LEARNT = {"learn": "bounded", "start": 0.2, "lr": 0.3}


def test_one_staged_and_one_learnt_train_and_go_on_to_the_same_bits(renyi, go, tmp_path):
    spec = renyi(weight=[0.9, 0.1], alpha=LEARNT)
    whole = go(spec(), "whole")
    go(spec(epochs=2), "parts")
    parts = go(spec(), "parts", resume=True)
    assert all(torch.equal(whole.model[name], parts.model[name]) for name in whole.model)
    assert set(whole.hyper) == {"alpha"}
    assert all(torch.equal(whole.hyper["alpha"][name], parts.hyper["alpha"][name]) for name in whole.hyper["alpha"])
    rows = [RunDir(tmp_path / name).read_metrics() for name in ("whole", "parts")]
    noted = [[(row["alpha"], row["weight"], row["spare"]) for row in found] for found in rows]
    assert noted[0] == noted[1]
    assert [weight for _, weight, _ in noted[0]] == [0.9, 0.1, 0.1, 0.1]
    assert len({alpha for alpha, _, _ in noted[0]}) == 4
    assert all(-1 < alpha < 0.9 for alpha, _, _ in noted[0])
    in_force = Run.open(tmp_path / "whole", device="cpu").estimator
    assert in_force == Renyi(alpha=noted[0][-1][0], weight=0.1)


def test_the_slope_is_the_derivative_of_the_bound():
    at, step = Renyi(alpha=0.3, weight=0.2), 1e-6
    with torch.no_grad():  # as in training
        found = {name: at.slope(name, LOG_W) for name in ("alpha", "weight", "spare")}
    for name, slope in found.items():
        ends = [dataclasses.replace(at, **{name: getattr(at, name) + move}).bound(LOG_W) for move in (step, -step)]
        assert slope.shape == (3,)
        assert torch.allclose(slope, (ends[0] - ends[1]) / (2 * step), rtol=1e-7, atol=1e-9)


def test_a_closed_form_is_what_differentiation_gives():
    assert torch.allclose(Ciwae(0.3).slope("beta", LOG_W), Estimator.slope(Ciwae(0.3), "beta", LOG_W), atol=1e-14)


@pytest.mark.parametrize("learn", ["free", "bounded"])
def test_it_climbs_the_bound_at_its_rate_within_its_range(renyi, learn):
    own = Hyper(renyi(alpha=LEARNT | {"learn": learn})())
    seen = []

    def mean(value):
        seen.append(value(LOG_W).mean())
        return seen[-1]

    start = own.present(0).alpha
    estimator = own.step(Context(epoch=0, step=0, scale=0.5, mean=mean))
    assert start == pytest.approx(0.2, rel=1e-15)
    assert torch.equal(seen[0], Renyi(alpha=start).slope("alpha", LOG_W).mean())
    # Of the Renyi bound more is less; Adam's first step is its rate, on the number behind the option.
    assert seen[0] < 0
    share = math.log((0.2 + 1) / (0.9 - 0.2)) - 0.15
    expected = 0.05 if learn == "free" else -1 + 1.9 / (1 + math.exp(-share))
    assert estimator.alpha == pytest.approx(expected, abs=1e-6)
    assert own.present(7) == estimator


def test_an_option_that_stays_is_one_estimator(renyi):
    own = Hyper(renyi(weight=0.25, schedule="constant")())
    assert not own.changes
    assert own.present(0) is own.present(9)
    assert own.state() == {}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weight": {"learn": "free"}}, "options.weight: renyi cannot have it learnt"),
        ({"spare": {"learn": "free"}}, "options.spare: renyi cannot have it learnt"),
        ({"slow": {"learn": "bounded"}}, "options.slow: has no two ends"),
        ({"slow": -1.0}, r"options.slow: must lie in \[0, inf\], got -1"),
        ({"alpha": {"learn": "bounded", "start": 0.9}}, "bounded alpha cannot begin at 0.9; give e.g. alpha=-0.05"),
        ({"alpha": {"learn": "free", "start": 0.91}}, r"options.alpha: must lie in \[-1, 0.9\]"),
        ({"weight": [0.1, 1.2]}, r"options.weight: must lie in \[0, 1\], got 1.2"),
        ({"wait": [0.1]}, "did you mean 'weight'"),
        ({"weight": ANNEALED | {"start": 1.2}}, r"options.weight: must lie in \[0, 1\], got 1.2"),
        ({"weight": ANNEALED | {"stop": -1.0}}, r"options.weight: must lie in \[0, 1\], got -1"),
        ({"wait": ANNEALED}, "did you mean 'weight'"),
        ({"name": "jvi", "dreg": ANNEALED | {"start": 1.0, "stop": 0.0}}, "options.dreg: takes whole numbers alone"),
        ({"name": "needy"}, "options.more: needy needs it"),
        ({"name": "needy", "more": {"learn": "free"}}, "options.more: needy needs it"),
        ({"name": "taken"}, "options.lr: has the name of what metrics.jsonl says"),
    ],
)
def test_refused(renyi, options, words):
    with pytest.raises(SpecError, match=words):
        Hyper(renyi(**options)())


def test_stages_of_a_fixed_option_may_be_added_on_resuming_where_they_agree(renyi, go, tmp_path):
    go(renyi(weight=0.9)(epochs=1))
    with pytest.raises(SpecError, match=r"options.weight: stage 0 was begun with 0\.9, not 0\.8"):
        go(renyi(weight=[0.8, 0.1])(), resume=True)
    with pytest.raises(SpecError, match=r"options.alpha"):
        go(renyi(weight=0.9, alpha=LEARNT)(), resume=True)
    go(renyi(weight=[0.9, 0.1])(), resume=True)
    assert [row["weight"] for row in RunDir(tmp_path / "run").read_metrics()] == [0.9, 0.1, 0.1, 0.1]


def test_a_checkpoint_that_lacks_the_state_of_a_learnt_option_says_so(renyi, go, tmp_path):
    spec = renyi(alpha=LEARNT)
    go(spec(epochs=1))
    file = RunDir(tmp_path / "run").checkpoint
    content = torch.load(file, weights_only=True)
    torch.save(content | {"hyper": {}}, file)
    with pytest.raises(CheckpointError, match="holds no learnt alpha"):
        go(spec(), resume=True)
    torch.save(content | {"hyper": {"weight": content["hyper"]["alpha"]}}, file)
    with pytest.raises(CheckpointError, match="state of a weight, which is not learnt"):
        load_checkpoint(file)


def test_names_that_are_taken_are_those_of_the_metrics():
    assert set(METRICS.columns) - {"beta"} == hyper._TAKEN


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"anneal": "linear"}, "options: neither until nor until_epochs says .*; give one, for example until=2000"),
        ({"anneal": "linear", "until": 3, "until_epochs": 1.0}, "options: both until and until_epochs say"),
        ({"anneal": "cubic", "until": 3}, "options.weight.anneal: input should be 'linear' or 'logistic', got 'cubic'"),
        ({"until": 3}, "options.weight.anneal: field required"),
        ({"anneal": "linear", "until": 0}, "options.weight.until: input should be greater than or equal to 1"),
        ({"anneal": "linear", "until_epochs": 0.0}, "options.weight.until_epochs: input should be greater than 0"),
        ({"anneal": "linear", "until": 3, "lr": 0.1}, "options.weight.lr: no such setting"),
    ],
)
def test_an_annealed_option_that_says_nothing_or_too_much_is_refused(renyi, option, words):
    with pytest.raises(SpecError, match=words):
        renyi(weight=option)()


def test_annealed_by_the_step():
    linear = AnnealedOption(anneal="linear", start=0.9, stop=0.1, until=8)
    assert [annealed(linear, step) for step in (0, 4, 8, 9, 10**6)] == pytest.approx(
        [0.9, 0.5, 0.1, 0.1, 0.1], rel=1e-15
    )
    curved = AnnealedOption(anneal="logistic", start=1.0, stop=3.0, until=8)
    values = [annealed(curved, step) for step in range(10)]
    assert values[0] == 1
    assert values[8:] == [3, 3]
    assert values == sorted(values)
    steps = [later - value for value, later in itertools.pairwise(values[:9])]
    assert steps == pytest.approx(steps[::-1])
    assert steps[3] > 4 * steps[0]

    def share(step):  # of the way, by the logistic function itself
        ends = [1 / (1 + math.exp(-10 * (t - 0.5))) for t in (0, step / 8, 1)]
        return (ends[1] - ends[0]) / (ends[2] - ends[0])

    assert values[:9] == pytest.approx([1 + 2 * share(step) for step in range(9)])


def test_an_annealed_option_trains_and_goes_on_to_the_same_bits(renyi, go, tmp_path):
    """Of 5 steps to an epoch; the metrics have the value of the last of them."""
    spec = renyi(weight=ANNEALED, alpha=LEARNT)
    whole = go(spec(), "whole")
    go(spec(epochs=1), "parts")
    parts = go(spec(), "parts", resume=True)
    assert all(torch.equal(whole.model[name], parts.model[name]) for name in whole.model)
    for name in ("whole", "parts"):
        noted = [row["weight"] for row in RunDir(tmp_path / name).read_metrics()]
        assert noted == pytest.approx([0.9 - 0.8 * last / 10 for last in (4, 9, 10, 10)], rel=1e-14)
    fixed = go(renyi(weight=0.9, alpha=LEARNT)(), "fixed")
    assert not all(torch.equal(whole.model[name], fixed.model[name]) for name in whole.model)
    assert Run.open(tmp_path / "whole", device="cpu").estimator.weight == 0.1


def test_a_run_that_is_cut_within_an_epoch_is_annealed_as_one_that_is_not(renyi, go, tmp_path):
    spec = renyi(weight=ANNEALED, schedule="constant")()
    go(spec, "whole")
    stop, own = iter([False, False, True]), trainer(spec, tmp_path)
    with pytest.raises(Interrupted):
        run_epochs(own, lambda: next(stop), lambda *_: None, lambda *_: None)
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.step == 3
    assert checkpoint.spec_in_force().estimator.options["weight"] == pytest.approx(0.9 - 0.08 * 2)
    go(spec, resume=True)
    whole, parts = (load_checkpoint(tmp_path / name) for name in ("whole", "run"))
    assert all(torch.equal(whole.model[name], parts.model[name]) for name in whole.model)


def test_epochs_are_written_down_as_the_steps_that_they_come_to(renyi, go, tmp_path):
    by_epochs = {name: value for name, value in ANNEALED.items() if name != "until"} | {"until_epochs": 2.0}
    go(renyi(weight=by_epochs)(epochs=1))
    written = RunSpec.from_toml((tmp_path / "run" / "config.toml").read_text(), "it").estimator.options["weight"]
    assert written == AnnealedOption(**ANNEALED)
    go(renyi(weight=ANNEALED)(epochs=2), resume=True)
    with pytest.raises(SpecError, match=r"options.weight.until: .* has 10, not 11"):
        go(renyi(weight=ANNEALED | {"until": 11})(), resume=True)


def test_an_annealed_run_stands_by_itself_and_others_keep_their_names(renyi):
    own = renyi(weight=ANNEALED)()
    assert own.estimator.changes
    assert own.estimator.numbers() == {"weight": 0.9}
    assert own.identity() != renyi(weight=0.9)().identity()
    assert RunSpec.from_toml(own.to_toml(), "it") == own
    assert ensemble_key(own) == own.identity()


def test_an_option_that_brings_a_need_with_it_is_looked_at_before_the_first_step(small, go):
    """Of the last value too."""
    options = {"alpha": {"anneal": "linear", "start": 0.0, "stop": 1.0, "until": 3}}
    with pytest.raises(SpecError, match=r"options.alpha: must not be 1; choose vae"):
        go(small(estimator={"name": "vr-iwae", "K": 3, "options": options}))
