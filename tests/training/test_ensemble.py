"""A member of an ensemble is the run that it would be alone, up to float rounding."""

from contextlib import nullcontext

import pytest
import torch

from snrkit.data import load
from snrkit.errors import CapabilityError, NonFiniteError
from snrkit.models.mlp import Mlp
from snrkit.runs.checkpoint import load_checkpoint
from snrkit.runs.folder import RunDir
from snrkit.specs.run import RunSpec
from snrkit.training.ensemble import Ensemble, ensemble_key
from snrkit.training.loop import run_epochs
from snrkit.training.opening import begin, resolve_spec
from snrkit.training.trainer import Trainer

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
DIGITS = {
    "data": {"name": "digits", "train_limit": 23},
    "model": {"name": "mlp", "options": {"hidden": [7], "latent": 3}},
    "checkpoint_every": 100,
}
# All at M K = 8, with their own seeds and learning rates.
MEMBERS = [
    {"estimator": {"name": "vae", "M": 8, "K": 1}, "seed": 1},
    {"estimator": {"name": "iwae", "M": 1, "K": 8}, "seed": 2, "optimiser": {"lr": 0.01}},
    {"estimator": {"name": "miwae", "M": 2, "K": 4}, "seed": 1, "optimiser": {"lr": 0.01, "schedule": "burda"}},
    {"estimator": {"name": "piwae", "M": 4, "K": 2}, "seed": 3},
    {"estimator": {"name": "ciwae", "M": 1, "K": 8, "options": {"beta": 0.3}}, "seed": 0},
    {"estimator": {"name": "dreg", "M": 2, "K": 4}, "seed": 5},
]


def silent(done, total, note):
    pass


def trainers(specs, folder):
    made = []
    for number, spec in enumerate(specs):
        dataset = load(spec.data, None)
        run = RunDir(folder / f"run{number}")
        previous = load_checkpoint(run.path) if run.checkpoint.exists() else None
        trainer = Trainer(resolve_spec(spec, dataset), dataset, run, CPU, previous)
        begin(run, trainer.spec, CPU, trainer.epoch)
        made.append(trainer)
    return made


def together(specs, folder):
    ensemble = Ensemble(trainers(specs, folder), folder / "marker")
    run_epochs(ensemble, lambda: False, silent, lambda *_: None)
    return ensemble


def alone(specs, folder):
    for trainer in trainers(specs, folder):
        run_epochs(trainer, lambda: False, silent, lambda *_: None)


def distance(one, other):
    """Largest relative difference in norm over the tensors of two states."""
    return max(float((one[name] - other[name]).norm() / other[name].norm()) for name in other)


def moments(checkpoint, name):
    return {key: value[name] for key, value in checkpoint.optimiser["state"].items()}


# Relative difference in norm, the largest over tensors, after 20 steps; rounding grows a little from step to step.
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-4)])
@pytest.mark.parametrize("changes", [{}, DIGITS], ids=["gaussian", "mlp"])
def test_members_equal_the_runs_alone(small, tmp_path, changes, dtype, tolerance):
    specs = [small(**changes, **member, dtype=dtype) for member in MEMBERS]
    assert len({ensemble_key(spec) for spec in specs}) == 1
    begun = [
        {name: value.clone() for name, value in t.model.state_dict().items()} for t in trainers(specs, tmp_path / "0")
    ]
    together(specs, tmp_path / "together")
    alone(specs, tmp_path / "alone")
    for number, first in enumerate(begun):
        found, expected = (load_checkpoint(tmp_path / how / f"run{number}") for how in ("together", "alone"))
        assert (
            (found.epoch, found.step, found.position)
            == (expected.epoch, expected.step, expected.position)
            == (4, 20, 0)
        )
        assert distance(found.model, expected.model) < tolerance
        for name in ("exp_avg", "exp_avg_sq", "step"):
            assert distance(moments(found, name), moments(expected, name)) < tolerance
        assert found.optimiser["param_groups"] == expected.optimiser["param_groups"]
        # What they agree on is the result of training.
        assert distance(first, expected.model) > 10 * tolerance


def test_each_member_is_clipped_by_itself(small, tmp_path):
    specs = [small(**DIGITS, seed=seed, optimiser={"clip": 1.0, "eps": 1.0}, dtype="float64") for seed in (0, 1)]
    together(specs, tmp_path / "together")
    alone(specs, tmp_path / "alone")
    free = [small(**DIGITS, seed=seed, optimiser={"eps": 1.0}, dtype="float64") for seed in (0, 1)]
    alone(free, tmp_path / "free")
    for number in range(2):
        found, expected, other = (
            load_checkpoint(tmp_path / how / f"run{number}") for how in ("together", "alone", "free")
        )
        assert distance(moments(found, "exp_avg"), moments(expected, "exp_avg")) < 1e-12
        assert distance(moments(found, "exp_avg"), moments(other, "exp_avg")) > 0.1
    clips = [small(optimiser={"clip": clip}) for clip in (1.0, 2.0)]
    assert len({ensemble_key(spec) for spec in [small(), *clips]}) == 3


def test_a_layer_with_two_names_is_trained_as_one(small, tmp_path, monkeypatch):
    build = Mlp.__init__

    def named_twice(self, *arguments):
        build(self, *arguments)
        self.last = self.decoder[-1]

    monkeypatch.setattr(Mlp, "__init__", named_twice)
    specs = [small(**DIGITS, seed=seed, dtype="float64") for seed in (0, 1)]
    together(specs, tmp_path / "together")
    alone(specs, tmp_path / "alone")
    for number in range(len(specs)):
        found, expected = (load_checkpoint(tmp_path / how / f"run{number}") for how in ("together", "alone"))
        assert "last.weight" in found.model
        assert distance(found.model, expected.model) < 1e-12


def test_the_metrics_are_those_of_the_runs_alone(small, tmp_path):
    specs = [small(**DIGITS, **member, dtype="float64") for member in MEMBERS]
    together(specs, tmp_path / "together")
    alone(specs, tmp_path / "alone")
    for number in range(len(specs)):
        found, expected = (RunDir(tmp_path / how / f"run{number}").read_metrics() for how in ("together", "alone"))
        assert [row.keys() for row in found] == [row.keys() for row in expected]
        for one, other in zip(found, expected, strict=True):
            for name in ("epoch", "step", "lr", "bound", "test_iwae64"):
                assert one[name] == pytest.approx(other[name], rel=1e-12)


def test_every_member_draws_its_own_points_and_noise(small, tmp_path):
    """Two runs that differ in nothing but the seed are not the same run."""
    ensemble = together([small(**DIGITS, seed=seed) for seed in (0, 1)], tmp_path)
    one, other = (member.model.encoder[0].bias for member in ensemble.members)
    assert not torch.equal(one, other)
    x, y = (member.feed.batches.train_batch(torch.arange(5), 0) for member in ensemble.members)
    assert x.shape == y.shape
    assert not torch.equal(x, y)


def test_points_are_kept_once(small, tmp_path):
    ensemble = Ensemble(trainers([small(**DIGITS, seed=seed) for seed in (0, 1)], tmp_path), tmp_path / "marker")
    one, other = ensemble.members
    assert one.feed.batches._points is other.feed.batches._points


@pytest.mark.parametrize(
    "changes",
    [
        {"estimator": {"name": "iwae", "M": 1, "K": 9}},
        {"batch_size": 6},
        {"dtype": "float64"},
        {"epochs": 5},
        {"model": {"name": "gaussian"}},
        {"data": {"name": "gaussian", "size": 24, "dim": 3}},
        {"optimiser": {"betas": [0.5, 0.9]}},
    ],
)
def test_what_cannot_stand_side_by_side(small, changes):
    assert ensemble_key(small(**changes)) != ensemble_key(small())


def test_settings_that_the_batched_step_does_not_know_keep_a_run_by_itself(small):
    class Later(RunSpec):
        """A spec of times to come."""

        later: str = "joint"

    plain, novel = ([Later(seed=seed, later=later) for seed in (0, 1)] for later in ("joint", "alternating"))
    assert ensemble_key(plain[0]) == ensemble_key(plain[1])
    assert ensemble_key(novel[0]) != ensemble_key(novel[1])


def test_parameters_are_shared_with_the_members_and_saved_by_themselves(small, tmp_path):
    """A member's tensors are views of the ensemble's; its checkpoint holds them alone."""
    ensemble = together([small(seed=seed, epochs=1) for seed in range(30)], tmp_path)
    assert len({member.model.A.untyped_storage().data_ptr() for member in ensemble.members}) == 1
    assert RunDir(tmp_path / "run0").checkpoint.stat().st_size < 20_000


def test_a_model_that_cannot_be_batched_says_so(small, tmp_path, monkeypatch):
    """A value that decides on control flow is what vmap refuses; nothing is written over."""
    ensemble = Ensemble(trainers([small(seed=seed) for seed in (0, 1)], tmp_path), tmp_path / "marker")
    forward = type(ensemble.members[0].model).forward

    def branching(self, x, noise, path=False):
        return forward(self, x, noise if x.sum() > 0 else -noise, path)

    monkeypatch.setattr(type(ensemble.members[0].model), "forward", branching)
    with pytest.raises(CapabilityError, match="`side_by_side=1`"):
        run_epochs(ensemble, lambda: False, silent, lambda *_: None)


@pytest.mark.parametrize("others", [1, 0], ids=["one of two", "alone"])
def test_a_kept_checkpoint_is_finite(small, tmp_path, others):
    members = trainers([small(seed=seed) for seed in range(1 + others)], tmp_path)
    next(iter(members[0].model.parameters())).data.fill_(float("nan"))
    crew = Ensemble(members, tmp_path / "marker") if others else members[0]
    with nullcontext() if others else pytest.raises(NonFiniteError):
        crew.keep()
    assert [path.parent.parent.name for path in tmp_path.rglob("steps/*.pt")] == ["run1"][:others]
    assert not others or set(crew.failed) == {"run0"}
