"""A beta that changes in training: where it goes, that a resumed run has it, what is refused."""

import itertools
import math
import signal
from contextlib import suppress

import pytest
import torch

from snrkit.core import bounds
from snrkit.errors import SpecError
from snrkit.estimators.ciwae import Ciwae
from snrkit.interrupt import Interrupted
from snrkit.run import Run
from snrkit.runs.checkpoint import load_checkpoint
from snrkit.runs.folder import RunDir
from snrkit.specs.run import RunSpec
from snrkit.training.beta import LearntBeta, present_spec
from snrkit.training.session import train
from tests.support.training import trainer

CPU = torch.device("cpu")


def ciwae(**options):
    return {"name": "ciwae", "M": 2, "K": 4, "options": options}


def learnt(small, learn, start=0.5, **changes):
    return small(estimator=ciwae(beta=start), beta={"learn": learn, "lr": 0.01}, **changes)


def betas(folder):
    return [row["beta"] for row in RunDir(folder).read_metrics()]


@pytest.mark.parametrize(("learn", "slope"), [("free", 1.0), ("bounded", 0.3 * 0.7)])
def test_the_gradient_is_that_of_the_combined_loss(small, tmp_path, learn, slope):
    """d/d raw of -(beta ELBO + (1 - beta) IWAE) by autograd, on the noise that beta sees."""
    own = trainer(learnt(small, learn, 0.3, dtype="float64"), tmp_path)
    x = own.feed.batches.train_batch(torch.arange(5), 0)
    log_w = own.model(x, own.feed.noise("beta", len(x))).log_w.detach()
    raw = own.state.beta._raw.clone().requires_grad_()
    beta = raw.sigmoid() if learn == "bounded" else raw
    loss = -(beta * bounds.elbo(log_w) + (1 - beta) * bounds.iwae(log_w)).mean()
    loss.backward()
    estimator = own.state.beta.step(own, x)
    assert own.state.beta._raw.grad.item() == pytest.approx(raw.grad.item(), rel=1e-12)
    assert raw.grad.item() == pytest.approx(slope * float((bounds.iwae(log_w) - bounds.elbo(log_w)).mean()), rel=1e-12)
    # Adam's first step is its rate, whatever the gradient's size.
    assert own.state.beta._raw.item() == pytest.approx(raw.item() - 0.01, abs=1e-6)
    assert estimator.beta == own.state.beta.value


@pytest.mark.parametrize("start", [0.1, 0.5, 0.9])
def test_unconstrained_it_falls_at_every_step_and_through_zero(small, go, tmp_path, start):
    """5 steps an epoch at a rate of 0.01: about 0.05 an epoch, whatever the start."""
    go(learnt(small, "free", start, epochs=4))
    found = [start, *betas(tmp_path / "run")]
    falls = [a - b for a, b in itertools.pairwise(found)]
    assert all(fall == pytest.approx(0.05, rel=0.2) for fall in falls)
    assert (found[-1] < 0) == (start == 0.1)


def test_bounded_it_stays_within_and_tends_to_zero(small, go, tmp_path):
    spec = small(estimator=ciwae(beta=0.5), beta={"learn": "bounded", "lr": 0.5}, epochs=8)
    go(spec)
    found = betas(tmp_path / "run")
    assert all(0 < b < a for a, b in zip([0.5, *found], found, strict=False))
    assert found[-1] < 0.01


def test_the_rate_of_beta_follows_the_schedule(small, tmp_path):
    spec = learnt(small, "free", optimiser={"schedule": "burda"})
    own = trainer(spec, tmp_path)
    own.state.epoch = 5  # stage 2
    own.state.beta.step(own, own.feed.batches.train_batch(torch.arange(5), 0))
    assert 0.5 - own.state.beta.value == pytest.approx(0.01 * 10 ** (-2 / 7), rel=1e-4)


@pytest.mark.parametrize("learn", ["free", "bounded"])
def test_a_resumed_run_has_the_same_beta(small, go, tmp_path, learn):
    whole = go(learnt(small, learn), "whole")
    go(learnt(small, learn, epochs=2), "parts")
    parts = go(learnt(small, learn), "parts", resume=True)
    assert all(torch.equal(whole.model[name], parts.model[name]) for name in whole.model)
    assert set(whole.beta) == {"raw", "step", "exp_avg", "exp_avg_sq"}
    assert all(torch.equal(whole.beta[name], parts.beta[name]) for name in whole.beta)
    assert betas(tmp_path / "whole") == betas(tmp_path / "parts")


@pytest.mark.parametrize("rule", ["free", "bounded", "stages"])
def test_stopped_on_the_last_step_of_an_epoch_it_is_noted_and_measured_as_it_was(small, tmp_path, rule):
    staged = {"estimator": ciwae(), "beta": {"stages": [0.9, 0.2]}, "optimiser": {"schedule": "burda"}}
    spec = small(**staged) if rule == "stages" else learnt(small, rule)

    def go(name, last=None, resume=False):
        def stop(done, total, note):
            if done == last:
                signal.raise_signal(signal.SIGINT)

        seen = []
        observe = lambda own, _: seen.append(own.estimator.beta)  # noqa: E731
        with suppress(Interrupted):
            run = RunDir(tmp_path / name)
            train(spec, run, data_dir=None, device=CPU, resume=resume, progress=stop, observe=observe)
        return seen

    whole = go("whole")
    assert go("parts", last=10) + go("parts", resume=True) == whole == betas(tmp_path / "whole")
    assert betas(tmp_path / "parts") == whole


def test_measuring_commands_see_the_beta_of_the_checkpoint(small, go, tmp_path):
    go(learnt(small, "free"))
    saved = Run.open(tmp_path / "run", device="cpu")
    assert saved.spec.estimator.options == {"beta": betas(tmp_path / "run")[-1]}
    assert load_checkpoint(tmp_path / "run").run_spec().estimator.options == {"beta": 0.5}


def test_a_beta_for_each_stage(small, go, tmp_path):
    spec = small(estimator=ciwae(), beta={"stages": [0.9, 0.2]}, optimiser={"schedule": "burda"}, epochs=6)
    final = go(spec)
    assert betas(tmp_path / "run") == [0.9, 0.2, 0.2, 0.2, 0.2, 0.2]
    assert present_spec(final).estimator.options == {"beta": 0.2}


def test_stages_that_have_not_begun_may_be_set_on_resuming(small, go, tmp_path):
    changes = {"estimator": ciwae(), "optimiser": {"schedule": "burda"}}
    go(small(**changes, beta={"stages": [0.9, 0.2]}, epochs=4))
    with pytest.raises(SpecError, match=r"stage 1 was begun with 0\.2, not 0\.3"):
        go(small(**changes, beta={"stages": [0.9, 0.3]}, epochs=6), resume=True)
    go(small(**changes, beta={"stages": [0.9, 0.2, 0.7]}, epochs=6), resume=True)
    assert betas(tmp_path / "run")[3:] == [0.2, 0.7, 0.7]
    whole = go(small(**changes, beta={"stages": [0.9, 0.2, 0.7]}, epochs=6), "whole")
    assert torch.equal(whole.model["b"], load_checkpoint(tmp_path / "run").model["b"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"estimator": {"name": "iwae"}, "beta": {"learn": "free"}}, "iwae has no beta"),
        ({"estimator": ciwae(), "beta": {"lr": 0.5}}, "nothing is learnt"),
        ({"estimator": ciwae(beta=1.0), "beta": {"learn": "bounded"}}, "cannot begin at 1"),
        ({"estimator": ciwae(), "beta": {"stages": [0.5]}}, "no stages"),
        ({"estimator": ciwae(beta=0.5), "beta": {"stages": [0.5]}, "optimiser": {"schedule": "burda"}}, "one of them"),
        ({"estimator": ciwae(), "beta": {"stages": [0.5], "learn": "free"}}, "one of them"),
    ],
)
def test_refused(small, go, tmp_path, changes, words):
    with pytest.raises(SpecError, match=words):
        go(small(**changes))
    assert list(tmp_path.iterdir()) == []


def test_stages_outside_the_unit_interval_are_refused():
    with pytest.raises(SpecError, match=r"beta\.stages\.1"):
        RunSpec.parse({"beta": {"stages": [0.5, 1.5]}}, "test")


def test_a_checkpoint_of_before_has_no_beta_and_loads(small, go, tmp_path):
    go(small(epochs=1))
    file = RunDir(tmp_path / "run").checkpoint
    content = torch.load(file, weights_only=True)
    del content["beta"]
    torch.save(content, file)
    assert load_checkpoint(file).beta == {}
    assert go(small(epochs=2), resume=True).epoch == 2


def test_a_fixed_beta_is_untouched_by_all_this(small, go, tmp_path):
    go(small(estimator=ciwae(beta=0.25), epochs=2))
    assert betas(tmp_path / "run") == [0.25, 0.25]
    assert LearntBeta(RunSpec(beta={"learn": "bounded"}).beta, 0.25).value == pytest.approx(0.25, rel=1e-15)
    assert math.isclose(Ciwae().beta, 0.5)
