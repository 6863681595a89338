"""Options that change in training: where the beta of ciwae goes, that a resumed run has it, what is refused."""

import itertools
import math
import signal
from contextlib import suppress
from functools import partial

import pytest
import torch

from snrkit.core import bounds
from snrkit.errors import SpecError
from snrkit.estimators.ciwae import Ciwae
from snrkit.estimators.hyper import Hyper
from snrkit.interrupt import Interrupted
from snrkit.run import Run
from snrkit.runs.checkpoint import load_checkpoint
from snrkit.runs.folder import RunDir
from snrkit.training.session import train
from tests.support.training import trainer

CPU = torch.device("cpu")


def ciwae(**options):
    return {"name": "ciwae", "M": 2, "K": 4, "options": options}


def learnt(small, learn, start=0.5, **changes):
    return small(estimator=ciwae(beta={"learn": learn, "start": start, "lr": 0.01}), **changes)


STAGES = {"estimator": ciwae(beta=[0.9, 0.2]), "optimiser": {"schedule": "burda"}}


def betas(folder):
    return [row["beta"] for row in RunDir(folder).read_metrics()]


@pytest.mark.parametrize(("learn", "slope"), [("free", 1.0), ("bounded", 0.3 * 0.7)])
def test_the_gradient_is_that_of_the_combined_loss(small, tmp_path, learn, slope):
    """d/d raw of -(beta ELBO + (1 - beta) IWAE) by autograd, on the noise that beta sees."""
    own = trainer(learnt(small, learn, 0.3, dtype="float64"), tmp_path)
    x = own.feed.batches.train_batch(torch.arange(5), 0)
    log_w = own.model(x, own.feed.noise("beta", len(x))).log_w.detach()
    rule = own.state.hyper._learnt["beta"]
    raw = rule._raw.clone().requires_grad_()
    beta = raw.sigmoid() if learn == "bounded" else raw
    loss = -(beta * bounds.elbo(log_w) + (1 - beta) * bounds.iwae(log_w)).mean()
    loss.backward()
    estimator = own.state.hyper.step(own._context(x))
    assert rule._raw.grad.item() == pytest.approx(raw.grad.item(), rel=1e-12)
    assert raw.grad.item() == pytest.approx(slope * float((bounds.iwae(log_w) - bounds.elbo(log_w)).mean()), rel=1e-12)
    # Adam's first step is its rate, whatever the gradient's size.
    assert rule._raw.item() == pytest.approx(raw.item() - 0.01, abs=1e-6)
    assert estimator.beta == rule.value


@pytest.mark.parametrize("start", [0.1, 0.5, 0.9])
def test_unconstrained_it_falls_at_every_step_and_through_zero(small, go, tmp_path, start):
    """5 steps an epoch at a rate of 0.01: about 0.05 an epoch, whatever the start."""
    go(learnt(small, "free", start, epochs=4))
    found = [start, *betas(tmp_path / "run")]
    falls = [a - b for a, b in itertools.pairwise(found)]
    assert all(fall == pytest.approx(0.05, rel=0.2) for fall in falls)
    assert (found[-1] < 0) == (start == 0.1)


def test_bounded_it_stays_within_and_tends_to_zero(small, go, tmp_path):
    spec = small(estimator=ciwae(beta={"learn": "bounded", "lr": 0.5}), epochs=8)
    go(spec)
    found = betas(tmp_path / "run")
    assert all(0 < b < a for a, b in zip([0.5, *found], found, strict=False))
    assert found[-1] < 0.01


def test_the_rate_of_beta_follows_the_schedule(small, tmp_path):
    spec = learnt(small, "free", optimiser={"schedule": "burda"})
    own = trainer(spec, tmp_path)
    own.state.epoch = 5  # stage 2
    own.begin_epoch()
    own.take_step()
    assert 0.5 - own.estimator.beta == pytest.approx(0.01 * 10 ** (-2 / 7), rel=1e-4)


@pytest.mark.parametrize("learn", ["free", "bounded"])
def test_a_resumed_run_has_the_same_beta(small, go, tmp_path, learn):
    whole = go(learnt(small, learn), "whole")
    go(learnt(small, learn, epochs=2), "parts")
    parts = go(learnt(small, learn), "parts", resume=True)
    assert all(torch.equal(whole.model[name], parts.model[name]) for name in whole.model)
    states = [found.hyper["beta"] for found in (whole, parts)]
    assert set(states[0]) == {"raw", "step", "exp_avg", "exp_avg_sq"}
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert betas(tmp_path / "whole") == betas(tmp_path / "parts")


@pytest.mark.parametrize("rule", ["free", "bounded", "stages"])
def test_stopped_on_the_last_step_of_an_epoch_it_is_noted_and_measured_as_it_was(small, tmp_path, rule):
    spec = small(**STAGES) if rule == "stages" else learnt(small, rule)

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
    assert load_checkpoint(tmp_path / "run").run_spec().estimator.numbers() == {"beta": 0.5}


def test_one_that_has_left_its_range_is_measured_as_it_is(small, go, tmp_path):
    go(learnt(small, "free", 0.1))
    estimator = Run.open(tmp_path / "run", device="cpu").estimator
    assert estimator.beta == betas(tmp_path / "run")[-1] < 0
    assert estimator.theory.phi == (0.5, 0.5)


def test_a_beta_for_each_stage(small, go, tmp_path):
    final = go(small(**STAGES, epochs=6))
    assert betas(tmp_path / "run") == [0.9, 0.2, 0.2, 0.2, 0.2, 0.2]
    assert final.spec_in_force().estimator.options == {"beta": 0.2}


def test_stages_that_have_not_begun_may_be_set_on_resuming(small, go, tmp_path):
    def staged(*stages, epochs=6):
        return small(**STAGES | {"estimator": ciwae(beta=list(stages))}, epochs=epochs)

    go(staged(0.9, 0.2, epochs=4))
    with pytest.raises(SpecError, match=r"stage 1 was begun with 0\.2, not 0\.3"):
        go(staged(0.9, 0.3), resume=True)
    go(staged(0.9, 0.2, 0.7), resume=True)
    assert betas(tmp_path / "run")[3:] == [0.2, 0.7, 0.7]
    whole = go(staged(0.9, 0.2, 0.7), "whole")
    assert torch.equal(whole.model["b"], load_checkpoint(tmp_path / "run").model["b"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"estimator": {"name": "iwae", "options": {"beta": {"learn": "free"}}}}, "iwae has no such option"),
        ({"estimator": ciwae(beta={"learn": "bounded", "start": 1})}, "cannot begin at 1"),
        ({"estimator": ciwae(beta={"learn": "free", "start": 2})}, r"must lie in \[0, 1\], got 2"),
        ({"estimator": ciwae(beta=[0.5])}, "no stages"),
        ({"estimator": ciwae(beta=[0.5, 1.5]), "optimiser": {"schedule": "burda"}}, r"must lie in \[0, 1\], got 1\.5"),
    ],
)
def test_refused(small, go, tmp_path, changes, words):
    with pytest.raises(SpecError, match=words):
        go(small(**changes))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("learn", [None, "free"])
def test_a_checkpoint_of_version_0_1_0_goes_on_to_the_same_bits(small, go, tmp_path, learn):
    spec = small if learn is None else partial(learnt, small, learn)
    go(spec(epochs=2))
    file = RunDir(tmp_path / "run").checkpoint
    content = torch.load(file, weights_only=True)
    content |= {"version": 1, "beta": content.pop("hyper").get("beta", {})}
    torch.save(content, file)
    parts, whole = go(spec(), resume=True), go(spec(), "whole")
    assert all(torch.equal(whole.model[name], parts.model[name]) for name in whole.model)
    assert str(parts.hyper) == str(whole.hyper)


def test_a_checkpoint_of_before_beta_could_be_learnt_loads(small, go, tmp_path):
    go(small(epochs=1))
    file = RunDir(tmp_path / "run").checkpoint
    content = torch.load(file, weights_only=True)
    del content["hyper"]
    torch.save(content | {"version": 1}, file)
    assert load_checkpoint(file).hyper == {}
    assert go(small(epochs=2), resume=True).epoch == 2


def test_a_fixed_beta_is_untouched_by_all_this(small, go, tmp_path):
    go(small(estimator=ciwae(beta=0.25), epochs=2))
    assert betas(tmp_path / "run") == [0.25, 0.25]
    bounded = Hyper(small(estimator=ciwae(beta={"learn": "bounded", "start": 0.25})))
    assert bounded.present(0).beta == pytest.approx(0.25, rel=1e-15)
    assert math.isclose(Ciwae().beta, 0.5)
