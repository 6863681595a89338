"""One step of training against autograd by hand; what a run leaves behind; what stops it."""

import json
import resource

import numpy as np
import pytest
import torch

from snrkit.data import load
from snrkit.diagnostics.measure import measure
from snrkit.errors import DataError, NonFiniteError, OutputError, SpecError
from snrkit.models.base import build_model
from snrkit.models.summary import DataSummary
from snrkit.runs.checkpoint import load_checkpoint
from snrkit.runs.folder import RunDir
from snrkit.specs.run import ModelSpec, RunSpec
from snrkit.training import trainer as trainers
from tests.support.training import trainer

CPU = torch.device("cpu")


def lme(log_w, dim):
    """log mean exp, written another way than in the package."""
    top = log_w.amax(dim, keepdim=True)
    return ((log_w - top).exp().mean(dim, keepdim=True).log() + top).squeeze(dim)


@pytest.mark.parametrize(
    ("name", "theta", "phi"),
    [
        ("piwae", lambda w: lme(w.flatten(1), 1), lambda w: lme(w, 2).mean(1)),
        ("miwae", lambda w: lme(w, 2).mean(1), lambda w: lme(w, 2).mean(1)),
        ("vae", lambda w: w.mean((1, 2)), lambda w: w.mean((1, 2))),
    ],
)
def test_a_step_ascends_the_estimators_gradients(small, tmp_path, name, theta, phi):
    spec = small(estimator={"name": name, "M": 2, "K": 4}, dtype="float64")
    trained, twin = trainer(spec, tmp_path), trainer(spec, tmp_path)
    x = torch.from_numpy(load(spec.data, None).train[:5])
    noise = trained.feed.streams.normal("train", (0,), (5, 2, 4, 3), dtype=torch.float64, device=CPU)
    log_w = twin.model(x, noise).log_w
    (mu,) = torch.autograd.grad(theta(log_w).mean(), [twin.model.mu], retain_graph=True)
    A, b = torch.autograd.grad(phi(log_w).mean(), [twin.model.A, twin.model.b])
    trained._step(x)
    for parameter, gradient in ((trained.model.mu, mu), (trained.model.A, A), (trained.model.b, b)):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-12)
    # Adam's first step is lr times the sign of the gradient; up, not down.
    moved = trained.model.b - twin.model.b
    torch.testing.assert_close(moved, spec.optimiser.lr * b.sign(), rtol=1e-3, atol=0)


def test_training_raises_the_bound(small, go, tmp_path):
    model = {"name": "gaussian", "options": {"perturb": 0.8}}
    go(small(model=model, epochs=30, optimiser={"lr": 0.02}))
    bounds = [row["bound"] for row in RunDir(tmp_path / "run").read_metrics()]
    assert bounds[-1] > bounds[0] + 1


def test_metrics_average_over_points_not_over_batches(small, go, tmp_path):
    """With the parameters held still, the epoch's bound is the mean over its 23 points, though the last batch has 3."""
    spec = small(epochs=1, optimiser={"lr": 1e-12}, dtype="float64", batch_size=5)
    go(spec)
    (row,) = RunDir(tmp_path / "run").read_metrics()
    held = trainer(spec, tmp_path)
    order = held.feed.streams.permutation("shuffle", (0,), 23)
    values = []
    for step, index in enumerate(torch.split(order, 5)):
        noise = held.feed.streams.normal("train", (step,), (len(index), 2, 4, 3), dtype=torch.float64, device=CPU)
        values.append(lme(held.model(held.feed.batches.train_batch(index, step), noise).log_w, 2).mean(1))
    assert row["bound"] == pytest.approx(torch.cat(values).mean().detach().item(), abs=1e-8)
    assert (row["epoch"], row["step"], row["lr"]) == (1, 5, 1e-12)


def test_no_epochs_saves_the_model_as_initialised(small, go, tmp_path):
    saved = go(small(epochs=0))
    fresh = build_model(ModelSpec(name="gaussian", options={"perturb": 0.3}), DataSummary(saved.data_mean, True), 0)
    assert all(torch.equal(saved.model[name], value.float()) for name, value in fresh.state_dict().items())
    assert RunDir(tmp_path / "run").read_metrics() == []


def test_what_a_run_leaves_behind(small, go, tmp_path):
    spec = small(epochs=2)
    final = go(spec)
    run = RunDir(tmp_path / "run")
    assert {path.name for path in run.path.iterdir() if path.name != ".lock"} == {
        "run.pt", "config.toml", "env.json", "metrics.jsonl", "status.json",
    }  # fmt: skip
    resolved = RunSpec.from_toml(run.config.read_text(), "config.toml")
    assert resolved == final.run_spec()
    assert resolved.data.binarise == "none"
    assert resolved == spec.model_copy(update={"data": resolved.data})
    env = json.loads(run.env.read_text())
    assert (env["torch"], env["device"]) == (torch.__version__, "cpu")
    assert json.loads(run.status.read_text()) == {"state": "done", "why": ""}
    assert all(set(row) >= {"epoch", "step", "bound", "lr", "test_iwae64"} for row in run.read_metrics())


def test_following_can_be_left_out(small, go, tmp_path):
    go(small(epochs=1, eval_points=0))
    (row,) = RunDir(tmp_path / "run").read_metrics()
    assert "test_iwae64" not in row


def test_following_does_not_disturb_training(small, go):
    a, b = (go(small(epochs=2, eval_points=n), f"run{n}") for n in (0, 7))
    assert all(torch.equal(a.model[name], b.model[name]) for name in a.model)


def test_initial_parameters_are_a_function_of_the_seed():
    summary = DataSummary(torch.full((9,), 0.5), real=False)
    spec = ModelSpec(name="mlp", options={"hidden": [6], "latent": 2})
    a, again, b = (build_model(spec, summary, seed).encoder[0].weight for seed in (0, 0, 1))
    assert torch.equal(a, again)
    assert not torch.equal(a, b)


def test_seeds_matter(small, go):
    a, b = (go(small(epochs=1, seed=n), f"run{n}") for n in (0, 1))
    assert not torch.equal(a.model["b"], b.model["b"])


@pytest.mark.parametrize("every", [1, 2, 5])
def test_checkpoints_are_written_as_often_as_asked(small, go, monkeypatch, every):
    saved = []
    save = trainers.save_checkpoint
    monkeypatch.setattr(trainers, "save_checkpoint", lambda path, c: (saved.append(c.epoch), save(path, c)))
    go(small(checkpoint_every=every))
    assert saved == {1: [0, 1, 2, 3, 4], 2: [0, 2, 4], 5: [0, 4]}[every]


# Enormous rates: the bound overflows at the second step.
def test_a_bound_that_blows_up(small, go, tmp_path):
    with pytest.raises(NonFiniteError, match=r"at step 1 \(epoch 1\)") as caught:
        go(small(optimiser={"lr": 1e30}))
    assert "optimiser.lr" in caught.value.remedy
    run = RunDir(tmp_path / "run")
    status = json.loads(run.status.read_text())
    assert status["state"] == "failed"
    assert "at step 1" in status["why"]
    kept = load_checkpoint(run.path)
    assert (kept.epoch, kept.step) == (0, 0)
    assert all(bool(torch.isfinite(value).all()) for value in kept.model.values())


@pytest.mark.parametrize("eval_points", [7, 0], ids=["followed", "not followed"])
def test_what_blew_up_at_the_last_step_of_an_epoch_is_never_saved(small, go, tmp_path, monkeypatch, eval_points):
    """One step an epoch: its bound is finite, what it does to the parameters is not."""
    step = torch.optim.Adam.step

    def poison(self, *args):
        step(self, *args)
        if self.state[self.param_groups[0]["params"][0]]["step"] == 3:
            self.param_groups[0]["params"][0].data.fill_(float("nan"))

    monkeypatch.setattr(torch.optim.Adam, "step", poison)
    with pytest.raises(NonFiniteError, match="epoch"):
        go(small(batch_size=23, checkpoint_every=1, epochs=3, eval_points=eval_points))
    kept = load_checkpoint(tmp_path / "run")
    assert kept.epoch == 2
    assert all(bool(torch.isfinite(value).all()) for value in kept.model.values())
    assert RunDir(tmp_path / "run").state() == "failed"


def test_global_generators_are_left_alone(small, go):
    torch.manual_seed(11)
    np.random.seed(11)
    before = torch.get_rng_state(), np.random.get_state()
    spec = small(
        data={"name": "digits", "train_limit": 23}, model={"name": "mlp", "options": {"hidden": [6], "latent": 2}},
        epochs=1,
    )  # fmt: skip
    saved = go(spec)
    model = build_model(spec.model, DataSummary(saved.data_mean, False), 4)
    measure(model, torch.rand(3, 64, generator=torch.Generator()).round(), ["iwae"], [2], draws=5)
    assert torch.equal(before[0], torch.get_rng_state())
    assert str(before[1]) == str(np.random.get_state())
    assert np.array_equal(before[1][1], np.random.get_state()[1])


def test_what_ran_before_changes_nothing(small, go):
    torch.manual_seed(1)
    first = go(small(epochs=1), "a")
    torch.manual_seed(2)
    second = go(small(epochs=1), "b")
    assert torch.equal(first.model["b"], second.model["b"])


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"estimator": {"name": "iwea"}}, SpecError, "did you mean 'iwae'"),
        ({"model": {"name": "gausian"}}, SpecError, "did you mean 'gaussian'"),
        ({"data": {"name": "digit"}}, SpecError, "did you mean 'digits'"),
        ({"estimator": {"name": "ciwae", "options": {"beta": 1.5}}}, SpecError, "beta: must lie in"),
        ({"estimator": {"name": "iwae", "options": {"nonsense": 1}}}, SpecError, "options.nonsense: iwae has no such"),
        ({"model": {"name": "gaussian", "options": {"pertrub": 1}}}, SpecError, "pertrub"),
        ({"model": {"name": "mlp"}}, SpecError, "real-valued"),
        ({"data": {"name": "npz", "path": "none.npz"}}, DataError, "no such file"),
    ],
)
def test_bad_input_leaves_no_directory(small, go, tmp_path, changes, error, words):
    with pytest.raises(error, match=words):
        go(small(**changes))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_keeps_the_last_checkpoint(small, go, tmp_path):
    """After two epochs no file may exceed 2,048 bytes, which is room for a status but not for a checkpoint."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_up(done, total, note):
        if done == 12:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))

    try:
        with pytest.raises(OutputError, match=r"run\.pt: cannot be written"):
            go(small(checkpoint_every=1), progress=fill_up)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert load_checkpoint(tmp_path / "run").epoch == 2
    assert RunDir(tmp_path / "run").state() == "failed"
    assert not [path for path in (tmp_path / "run").iterdir() if "tmp" in path.name]
    assert go(small(checkpoint_every=1), resume=True).epoch == 4


def test_what_is_drawn_ahead_is_handed_out_step_by_step(small, tmp_path):
    """Two steps drawn at once, 5 steps to an epoch, the last of 3 points: as on a GPU."""

    def begun_at(step):
        made = trainer(small(dtype="float64"), tmp_path)
        made.feed.ahead, made.state.step, made.state.position = 2, step, step
        made.begin_epoch()
        return made

    through, seen = begun_at(0), []
    for step in range(5):
        through.state.step = through.state.position = step
        x = through.feed.batch()
        seen.append((x, through.feed.noise("train", len(x))))
    assert [len(x) for x, _ in seen] == [len(noise) for _, noise in seen] == [5, 5, 5, 5, 3]
    points = torch.cat([x for x, _ in seen])
    assert torch.equal(points.sort(0).values, torch.from_numpy(load(through.spec.data, None).train).sort(0).values)
    both = through.feed.streams.normal("train", (2,), (10, 2, 4, 3), dtype=torch.float64, device=CPU)
    assert torch.equal(torch.cat([seen[2][1], seen[3][1]]), both)
    # A run that goes on in the middle of such a pair sees the same.
    later = begun_at(3)
    assert torch.equal(later.feed.batch(), seen[3][0])
    assert torch.equal(later.feed.noise("train", 5), seen[3][1])


def test_an_error_of_the_program_leaves_its_traceback_beside_the_run(small, go, tmp_path, monkeypatch):
    def faulty(self, x):
        raise RuntimeError("no such thing")

    monkeypatch.setattr(trainers.Trainer, "_step", faulty)
    with pytest.raises(RuntimeError, match="no such thing"):
        go(small(epochs=1))
    run = RunDir(tmp_path / "run")
    status = json.loads(run.status.read_text())
    assert (status["state"], status["why"]) == ("failed", "RuntimeError: no such thing (traceback in error.txt)")
    assert "in faulty" in run.error.read_text()
    # What is mended leaves no trace of it.
    monkeypatch.undo()
    go(small(epochs=1), resume=True)
    assert not run.error.exists()
