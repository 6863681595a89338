"""Steps over what lies ahead are the plain steps; a stop within a block, a NaN read late, and what is not captured."""

from contextlib import suppress

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from snrkit.data import load
from snrkit.errors import NonFiniteError
from snrkit.estimators import ESTIMATORS
from snrkit.interrupt import Interrupted
from snrkit.models.mlp import Mlp
from snrkit.runs.checkpoint import load_checkpoint
from snrkit.runs.folder import RunDir
from snrkit.training import ahead as module
from snrkit.training.alone import looks_ahead
from snrkit.training.ensemble import Ensemble
from snrkit.training.loop import run_epochs
from snrkit.training.opening import begin, resolve_spec
from snrkit.training.trainer import Trainer

CPU = torch.device("cpu")
# 23 points in batches of 5: five steps to an epoch, the last a smaller one; blocks of 3 steps and of 2.
DIGITS = {
    "data": {"name": "digits", "train_limit": 23},
    "model": {"name": "mlp", "options": {"hidden": [7], "latent": 3}},
    "checkpoint_every": 100, "epochs": 3,
}  # fmt: skip
BLOCK = 3
TIMES = ("seconds", "images_per_second")


def silent(*_):
    pass


def trainer(spec, folder, way):
    dataset, run = load(spec.data, None), RunDir(folder)
    previous = load_checkpoint(run.path) if run.checkpoint.exists() else None
    made = Trainer(resolve_spec(spec, dataset), dataset, run, CPU, previous, way=way)
    made.feed.ahead = BLOCK
    begin(run, made.spec, CPU, made.epoch)
    return made


def train(crew, steps=None):
    """To the end, or so many steps on from where it stands."""
    last = None if steps is None else crew.step + steps
    with suppress(Interrupted):
        run_epochs(crew, lambda: crew.step == last, silent, silent)
    return crew


def saved(folder):
    """All of a run but its times."""
    found = load_checkpoint(folder)
    moments = [
        found.optimiser["state"][key][name]
        for key in found.optimiser["state"]
        for name in ("step", "exp_avg", "exp_avg_sq")
    ]
    rows = [{key: value for key, value in row.items() if key not in TIMES} for row in RunDir(folder).read_metrics()]
    running = {key: value for key, value in found.running.items() if key not in TIMES}
    return [*found.model.values(), *moments], (found.epoch, found.step, found.position, running), rows


def same(one, other):
    return (
        all(torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True)) and one[1:] == other[1:] and bool(one[0])
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"estimator": {"name": "piwae", "M": 2, "K": 4}, "dtype": "float64"},
        {"optimiser": {"clip": 1.0, "eps": 1.0}},
        {"optimiser": {"schedule": "burda", "lr": 0.01}, "estimator": {"name": "rws", "K": 3}},
    ],
    ids=["iwae", "two passes", "clip", "schedule and dreams"],
)
def test_a_run_over_what_lies_ahead_is_the_plain_run_to_the_bit(small, tmp_path, monkeypatch, changes):
    monkeypatch.setattr(module, "_UNREAD", 2)
    runs = {way: train(trainer(small(**DIGITS | changes), tmp_path / way, way)) for way in ("plain", "ahead")}
    assert runs["ahead"]._ahead is not None
    assert runs["plain"]._ahead is None
    assert same(saved(tmp_path / "plain"), saved(tmp_path / "ahead"))
    assert runs["ahead"].step == 15


@pytest.mark.rest_slow
@pytest.mark.parametrize("ways", [("ahead", "ahead"), ("ahead", "plain"), ("plain", "ahead")], ids="-".join)
@pytest.mark.parametrize("steps", [4, 6, 10], ids=["in the last block", "in the first block", "between epochs"])
def test_a_stop_within_a_block_changes_no_bit_whichever_way_it_goes_on(small, tmp_path, ways, steps):
    spec = small(**DIGITS)
    train(trainer(spec, tmp_path / "whole", "ahead"))
    train(trainer(spec, tmp_path / "stopped", ways[0]), steps)
    assert load_checkpoint(tmp_path / "stopped").step == steps
    train(trainer(spec, tmp_path / "stopped", ways[1]))
    assert same(saved(tmp_path / "whole"), saved(tmp_path / "stopped"))


def test_what_is_not_saved_is_trained_again_to_the_same_bits(small, tmp_path):
    """As after a kill: nothing is written but what was saved at the end of the first epoch."""
    spec = small(**DIGITS | {"checkpoint_every": 1})
    train(trainer(spec, tmp_path / "whole", "ahead"))
    killed = trainer(spec, tmp_path / "killed", "ahead")
    killed.save()
    for _ in range(2):
        killed.begin_epoch()
        while killed.position < killed.steps and killed.step < 8:
            killed.take_step()
        if killed.step == 5:
            killed.finish_epoch()
            killed.save()
    assert load_checkpoint(tmp_path / "killed").step == 5
    train(trainer(spec, tmp_path / "killed", "ahead"))
    assert same(saved(tmp_path / "whole"), saved(tmp_path / "killed"))


class Failing:
    """Makes the log-weights of a model NaN from a step on."""

    def __init__(self, monkeypatch, owner, step):
        forward, self.own = Mlp.forward, owner.model
        owner_state = owner.state

        def failing(model, *arguments, **named):
            found = forward(model, *arguments, **named)
            wrong = model is self.own and owner_state.step >= step
            return type(found).of({k: v * float("nan") for k, v in found.present().items()}) if wrong else found

        monkeypatch.setattr(Mlp, "forward", failing)


def test_a_bound_that_is_nan_is_told_of_its_own_step_when_it_is_read(small, tmp_path, monkeypatch):
    """Three steps later; the parameters are those of that step, and nothing is saved."""
    messages, values = [], []
    for way in ("plain", "ahead"):
        own = trainer(small(**DIGITS), tmp_path / way, way)
        with monkeypatch.context() as patch:
            Failing(patch, own, 6)
            with pytest.raises(NonFiniteError) as refusal:
                train(own)
        messages.append(str(refusal.value))
        values.append([parameter.detach().clone() for parameter in own.model.parameters()])
        assert own.step == {"plain": 6, "ahead": 10}[way]
        assert load_checkpoint(tmp_path / way).step == 0
    assert messages[0] == messages[1]
    assert "at step 6 (epoch 2)" in messages[0]
    assert all(torch.equal(a, b) for a, b in zip(*values, strict=True))


MEMBERS = [
    {"estimator": {"name": "vae", "M": 8, "K": 1}, "seed": 1},
    {"estimator": {"name": "iwae", "M": 1, "K": 8}, "seed": 2, "optimiser": {"lr": 0.01}},
    {"estimator": {"name": "piwae", "M": 4, "K": 2}, "seed": 3, "optimiser": {"schedule": "burda"}},
]


def ensemble(small, folder, way, **changes):
    made = [
        trainer(small(**DIGITS | {"dtype": "float64"} | own | changes), folder / f"run{number}", None)
        for number, own in enumerate(MEMBERS)
    ]
    return Ensemble(made, folder / "marker", way=way)


def close(one, other):
    tensors = zip(one[0], other[0], strict=True)
    return all(float((a - b).norm()) <= 1e-12 * float(b.norm()) for a, b in tensors) and one[1][:3] == other[1][:3]


def test_members_over_what_lies_ahead_are_the_runs_alone_and_a_stop_changes_no_bit(small, tmp_path):
    train(ensemble(small, tmp_path / "whole", "ahead"))
    train(ensemble(small, tmp_path / "stopped", "ahead"), 7)
    train(ensemble(small, tmp_path / "stopped", "ahead"))
    for number, own in enumerate(MEMBERS):
        train(trainer(small(**DIGITS | {"dtype": "float64"} | own), tmp_path / "alone" / f"run{number}", "plain"))
        whole, stopped, alone = (saved(tmp_path / how / f"run{number}") for how in ("whole", "stopped", "alone"))
        assert same(whole, stopped)
        assert close(whole, alone)
        for row, expected in zip(whole[2], alone[2], strict=True):
            assert row == {key: pytest.approx(value, rel=1e-12) for key, value in expected.items()}


@pytest.mark.slow
def test_each_member_is_clipped_by_itself(small, tmp_path):
    clipped = {"optimiser": {"clip": 1.0, "eps": 1.0}}
    for way in ("plain", "ahead"):
        train(ensemble(small, tmp_path / way, way, **clipped))
    for number in range(len(MEMBERS)):
        assert close(*(saved(tmp_path / way / f"run{number}") for way in ("plain", "ahead")))


@pytest.mark.parametrize("stops", [False, True], ids=["to the end", "with a stop"])
def test_a_member_whose_bound_is_nan_stands_still_and_leaves_at_the_end_of_the_epoch(small, tmp_path, stops):
    crew = ensemble(small, tmp_path / "all", "ahead")
    wrong = crew.members[1]
    crew.begin_epoch()
    crew.take_step()
    before = [parameter.detach().clone() for parameter in wrong.model.parameters()]
    crew._ahead._held[0][1, 1] *= float("nan")  # its points of the next step; those after it are sound
    for _ in range(3):
        crew.take_step()
    if stops:
        crew.save()
    else:
        assert len(crew.members) == 3
        assert not crew.failed
        crew.take_step()
        assert crew.position == crew.steps
    assert list(crew.failed) == ["run1"]
    assert "bound: became nan at step 1 (epoch 1)" in crew.failed["run1"]
    assert all(torch.equal(a, b) for a, b in zip(before, wrong.model.parameters(), strict=True))
    assert RunDir(tmp_path / "all" / "run1").state() == "failed"
    train(crew)
    train(ensemble(small, tmp_path / "whole", "plain"))
    for number in (0, 2):
        assert close(*(saved(tmp_path / how / f"run{number}") for how in ("all", "whole")))


def test_where_every_member_fails_the_first_error_is_told(small, tmp_path):
    crew = ensemble(small, tmp_path, "ahead")
    crew.begin_epoch()
    crew.take_step()
    crew._ahead._held[0].mul_(float("nan"))
    with pytest.raises(NonFiniteError, match="at step 1 "):
        train(crew)
    assert set(crew.failed) == {"run0", "run1", "run2"}


@pytest.mark.parametrize(
    "changes",
    [
        {"update": {"order": "encoder-first"}},
        {"update": {"samples": "separate"}},
        {"estimator": {"name": "vae-annealed", "K": 4, "options": {"kl": {"anneal": "linear", "until": 4}}}},
        {"estimator": {"name": "ciwae", "K": 4, "options": {"beta": {"learn": "free"}}}},
    ],
    ids=["in turn", "separate", "annealed", "learnt"],
)
def test_what_changes_by_step_is_trained_plainly(small, tmp_path, changes):
    own = trainer(small(**DIGITS | changes), tmp_path / "run", "captured")
    assert not looks_ahead(own.state, own.feed, own.estimator)
    own.begin_epoch()
    own.take_step()
    assert own._ahead is None
    assert own.state.running["points"] == 5


def test_a_run_that_takes_several_passes_or_unrolls_is_trained_plainly(small, tmp_path, monkeypatch):
    own = trainer(small(**DIGITS), tmp_path / "run", "ahead")
    assert looks_ahead(own.state, own.feed, own.estimator)
    monkeypatch.setattr(Mlp, "unrolled", True)
    assert not looks_ahead(own.state, own.feed, own.estimator)
    monkeypatch.setattr(Mlp, "unrolled", False)
    own.feed.passes = object()
    assert not looks_ahead(own.state, own.feed, own.estimator)


def test_a_device_has_its_own_way():
    assert module.way_on(torch.device("cuda", 1)) == "captured"
    assert module.way_on(CPU) == "plain"


# What would make the host wait for a device, or send it something that a graph would not hold.
WAITING = {
    "aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.lift_fresh", "aten.lift_fresh_copy",
    "aten.equal", "aten.is_nonzero", "aten.unique_dim", "aten._unique2", "aten.item", "aten.normal_", "aten.uniform_",
    "aten.randn", "aten.rand", "aten.bernoulli",
}  # fmt: skip


class Waits(TorchDispatchMode):
    """Notes operations for which a device is waited, and boolean masks as indices."""

    def __init__(self):
        super().__init__()
        self.found, self.all = [], 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        name = str(function.overloadpacket)
        indices = arguments[1] if name in ("aten.index", "aten.index_put_", "aten.index_put") else ()
        masked = any(index is not None and index.dtype == torch.bool for index in indices)
        self.all += 1
        if name in WAITING or masked:
            self.found.append(name)
        return function(*arguments, **(named or {}))


# gdreg is for priors that are trained.
@pytest.mark.parametrize("name", sorted({*ESTIMATORS.names} - {"gdreg"}))
def test_no_step_of_any_estimator_waits_for_its_device(small, tmp_path, name):
    spec = small(**DIGITS, estimator={"name": name, "M": 2, "K": 8, "options": {"dreg": 1} if name == "jvi" else {}})
    assert waits_of(trainer(spec, tmp_path / "run", "ahead")) == []


def waits_of(crew):
    """For what the second step of a crew over what lies ahead would wait."""
    crew.begin_epoch()
    crew.take_step()
    with Waits() as waits:
        crew._ahead.advance(5)
    assert waits.all > 50
    return waits.found


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("hierarchical", {"hidden": [[8], [6]], "latents": [4, 3]}),
        ("flow", {"hidden": [7], "latent": 3}),
        ("conv", {"hidden": 8, "latent": 3}),
        ("sbn", {}),
    ],
)
def test_no_step_of_any_model_waits_for_its_device_alone_or_side_by_side(small, tmp_path, name, options):
    changes = DIGITS | {"model": {"name": name, "options": options}}
    changes["estimator"] = {"name": "vimco" if name == "sbn" else "dreg", "K": 4}
    runs = [trainer(small(**changes, seed=seed), tmp_path / f"run{seed}", "ahead") for seed in range(3)]
    assert waits_of(runs[0]) == []
    assert waits_of(Ensemble(runs[1:], tmp_path / "marker", way="ahead")) == []
