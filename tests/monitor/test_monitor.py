"""A monitored training is the unmonitored one, costs what it was allowed, and tells what was measured."""

import itertools
import random

import numpy as np
import pytest
import torch
from torch import nn

import snrkit
from snrkit.errors import ResultsError, SpecError
from snrkit.monitor import budget as accounts
from snrkit.runs.kinds.comparisons import COMPARISONS
from snrkit.runs.kinds.snr import SNR
from tests.losses import zoo

IMAGES, LABELS = zoo.data(60, 6), torch.arange(60) % 3
HELD_OUT = zoo.data(10, 6, seed=2), torch.arange(10) % 3


class Points(torch.utils.data.Dataset):
    """Points with noise of their own."""

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, index):
        return IMAGES[index] + 0.1 * torch.randn(6), LABELS[index]


def training(monitor=None, steps=24, loss=zoo.classify, workers=0):
    """A training with everything that a measurement could disturb; returns all that it leaves."""
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    model = zoo.Dropped()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 5, 0.5)
    watch = None if monitor is None else monitor(model)
    step = 0
    while step < steps:
        for x, labels in torch.utils.data.DataLoader(Points(), 12, shuffle=True, num_workers=workers):
            batch = x + 0.01 * float(np.random.randn()) * random.random(), labels
            optimiser.zero_grad(set_to_none=bool(step % 2))
            loss(model, batch).backward()
            optimiser.step()
            schedule.step()
            step += 1
            if watch is not None:
                watch(step)
    state = optimiser.state_dict()["state"]
    left = [*model.state_dict().values(), *(v for s in state.values() for v in s.values()), torch.get_rng_state()]
    left += [p.grad for p in model.parameters()]
    return left, (np.random.get_state()[1].tolist(), random.getstate(), schedule.state_dict()), watch


def equal(one, other):
    tensors = all(torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True))
    return tensors and one[1] == other[1]


def monitor(loss=zoo.classify, **options):
    options = {"every": 4, "draws": 8, "budget": None} | options
    return lambda model: snrkit.Monitor(loss, model, HELD_OUT, **options)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_monitored_training_is_the_unmonitored_one_to_the_bit(workers):
    plain = training(workers=workers)
    assert equal(plain, training(workers=workers))
    watched = training(monitor(), workers=workers)
    assert equal(plain, watched)
    assert sorted(set(watched[2].table.step)) == [4, 8, 12, 16, 20, 24]


def test_a_loss_that_calls_backward_or_draws_for_itself_disturbs_nothing_either():
    own = torch.Generator().manual_seed(3)

    def odd(model, batch):
        x, labels = batch
        zoo.classify(model, (x + torch.randn(x.shape, generator=own), labels)).backward()

    assert equal(training(), training(monitor(odd)))


def test_without_a_budget_readings_are_repeated_and_those_of_measure_loss():
    first, second = training(monitor())[2].table, training(monitor())[2].table
    assert first.drop(columns="seconds").equals(second.drop(columns="seconds"))
    torch.manual_seed(0)
    seen = []
    training(
        lambda model: (
            lambda step: seen.append(snrkit.measure_loss(zoo.classify, model, HELD_OUT, draws=8)) if step == 8 else None
        )
    )
    assert first[first.step == 8].value.tolist() == pytest.approx(seen[0].value.tolist(), nan_ok=True, rel=0, abs=0)


def test_rows_are_on_disk_after_each_measurement_and_a_resumed_training_goes_on(tmp_path):
    out = tmp_path / "monitor.parquet"
    sizes = []

    def watched(model):
        inner = monitor(out=out)(model)

        def call(step):
            inner(step)
            sizes.append(len(SNR.read(out)) if out.exists() else 0)

        return call

    training(watched, steps=10)
    assert sizes[2] == 0 < sizes[3] == sizes[6] < sizes[7]
    training(monitor(out=out), steps=15)
    assert sorted(set(SNR.read(out).step)) == [4, 8, 12]


def test_a_file_of_another_kind_is_refused_before_a_draw(tmp_path):
    model, out = zoo.made(zoo.Dropped), tmp_path / "table.parquet"
    found = snrkit.diagnose_loss({"a": zoo.classify, "b": zoo.classify}, model, HELD_OUT, draws=8)
    COMPARISONS.merge(out, found.comparisons)
    with pytest.raises(ResultsError, match=r"table\.parquet"):
        snrkit.Monitor(zoo.classify, model, HELD_OUT, out=out)


def test_a_file_of_an_earlier_training_asked_otherwise_is_refused_at_the_first_call(tmp_path):
    out = tmp_path / "monitor.parquet"

    def measured(scale, steps, **options):
        model = zoo.Dropped()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(scale)
        watch = monitor(out=out, every=1, **options)(model)
        for step in steps:
            watch(step)

    measured(1.0, [2, 3], M=[1, 4])
    before = out.read_bytes()
    words = r"an earlier training 'python' at step 2 and M = 4, K = 1, which is not asked for.*run= or out="
    with pytest.raises(ResultsError, match=words):
        measured(0.5, [1, 2, 3])
    assert out.read_bytes() == before
    measured(0.5, [1], run="second")
    measured(0.5, [4])  # a training that goes on
    measured(0.5, [1, 2, 3, 4], M=[1, 2, 4])  # all are replaced
    assert SNR.read(out).query("run == 'python'").parameters.nunique() == 1


class Clock:
    """Time that passes as told."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def passing(self, seconds):
        """An iterator of which every item takes so long, and whose number is the item."""
        for number in itertools.count(1):
            self.now += seconds
            yield number


@pytest.fixture
def clock(monkeypatch):
    told = Clock()
    monkeypatch.setattr(accounts, "time", told)
    monkeypatch.setattr("snrkit.monitor.monitor.time", told)
    return told


def test_only_what_has_accrued_is_spent(clock):
    model, calls = zoo.made(zoo.Dropped), clock.passing(0.01)

    def loss(model, batch):
        next(calls)
        return zoo.classify(model, batch)

    watch = snrkit.Monitor(loss, model, HELD_OUT, every=10, draws=50, budget=0.1)
    made = {}
    for step in range(1, 2001):
        clock.now += 0.01
        table = watch(step)
        if table is not None:
            made[step] = int(table.draws.iloc[0])
    assert watch.share <= 0.101
    assert watch.seconds == pytest.approx(0.01 * (next(calls) - 1))
    assert watch.share > 0.05  # and it is spent
    assert min(made.values()) >= 8
    assert max(made.values()) <= 50
    assert watch.skipped == 200 - len(made)
    assert min(made) > 10  # nothing had accrued at the first


def test_a_budget_shrinks_draws_to_what_fits(clock):
    account = accounts.Budget(0.1, 1000)
    account.start()
    assert account.fitting(200, 8, 1) == 0
    clock.now = 10.0
    assert account.fitting(200, 8, 1) == 8
    account.learn(8, 0.08)
    account.spend(0.18)
    clock.now = 20.0
    assert account.fitting(200, 8, 1) == 172  # (2 - 0.18 - 0.1) / 0.01
    assert account.fitting(200, 8, 5) == 170
    clock.now = 3.5
    assert account.fitting(200, 8, 1) == 0
    assert accounts.Budget(None, 1000).fitting(200, 8, 1) == 200


def test_draws_that_cost_less_the_more_there_are_are_made_as_soon_as_they_fit(clock):
    account = accounts.Budget(0.1, 1000)

    def measured(draws, seconds, drawing):
        account.learn(draws, drawing)
        account.spend(seconds)

    account.start()
    measured(8, 0.3, 0.2)
    measured(100, 1.2, 1.1)
    # By the share of the last alone 50 draws were 0.65 s, and 200 were 2.3 s.
    clock.now = 10 * (1.5 + 1.2)
    assert account.fitting(200, 8, 1) == 100
    clock.now = 10 * (1.5 + 0.75)
    assert account.fitting(200, 8, 1) == 54  # 0.3 and half of the way to 1.2 is at 54
    # A machine that became slower is believed, of more draws too.
    measured(50, 2.0, 1.9)
    clock.now = 10 * (3.5 + 1.9)
    assert account.fitting(200, 8, 1) < 50
    clock.now = 10 * (3.5 + 2.0) + 1e-6
    assert account.fitting(200, 8, 1) == 100


@pytest.mark.parametrize("share", [0, 1, -0.1, "a lot"])
def test_budgets_that_cannot_be(share):
    with pytest.raises(SpecError, match="budget"):
        snrkit.Monitor(zoo.classify, zoo.Dropped(), HELD_OUT, budget=share)


def test_steps_that_pass_a_multiple_count_and_repeated_ones_do_not():
    watch = monitor(every=10)(zoo.made(zoo.Dropped))
    measured = [step for step in (3, 9, 13, 13, 19, 20, 20, 45, 46) if watch(step) is not None]
    assert measured == [13, 20, 45]
    resumed = monitor(every=10)(zoo.made(zoo.Dropped))
    assert resumed(57) is None
    assert resumed(60) is not None


def test_a_gradient_that_is_not_finite_ends_no_training(caplog):
    model = zoo.made(zoo.Dropped)
    watch = monitor(every=1)(model)
    assert watch(1) is not None
    with torch.no_grad():
        model.head.bias.fill_(float("nan"))
    assert watch(2) is None
    assert watch.failed == 1
    assert "step 2" in caplog.text
    assert set(watch.table.step) == {1}


class Board:
    def __init__(self):
        self.told = []

    def add_scalar(self, name, value, step):
        self.told.append((name, value, step))


class Wandb:
    def __init__(self):
        self.told = []

    def log(self, values, commit=True):
        assert not commit
        step = values.pop("snr/step")
        self.told += [(name, value, step) for name, value in values.items()]


class Mlflow:
    def __init__(self):
        self.told = []

    def log_metrics(self, values, step):
        self.told += [(name, value, step) for name, value in values.items()]


@pytest.mark.parametrize("kind", [Board, Wandb, Mlflow])
def test_writers_are_told_the_readings_of_groups(kind):
    writer = kind()
    watch = monitor(writer=writer)(zoo.made(zoo.Dropped))
    table = watch(4)
    told = {name: (value, step) for name, value, step in writer.told}
    wanted = table[(table.block == "body") & (table.metric == "snr_mean")].value.iloc[0]
    assert told["snr/classify/body/snr_mean"] == (wanted, 4)
    assert {name.split("/")[2] for name in told} == {"all", "body", "head"}
    assert all(np.isfinite(value) for value, _ in told.values())


def test_functions_are_writers_and_other_things_are_not():
    seen = []
    monitor(writer=lambda values, step: seen.append(step))(zoo.made(zoo.Dropped))(4)
    assert seen == [4]
    with pytest.raises(SpecError, match="add_scalar"):
        monitor(writer=3)(zoo.made(zoo.Dropped))


def test_what_was_compiled_is_measured_as_it_was_written():
    model = zoo.made(lambda: zoo.mlp(4, 8, 2))
    compiled = torch.compile(model, backend="eager")
    states = zoo.data(8, 4)
    watch = snrkit.Monitor(zoo.reinforce, compiled, states, every=1, draws=8, budget=None)
    plain = snrkit.Monitor(zoo.reinforce, model, states, every=1, draws=8, budget=None)
    assert watch(1).value.tolist() == pytest.approx(plain(1).value.tolist(), nan_ok=True)
    assert "0.weight" in set(watch.table.block)


def test_the_batch_of_the_call_is_measured_where_one_is_given():
    model = zoo.made(lambda: zoo.mlp(4, 8, 2))
    watch = snrkit.Monitor(zoo.reinforce, model, every=1, draws=8, budget=None)
    one, two = watch(1, zoo.data(8, 4)), watch(2, zoo.data(8, 4, seed=3))
    assert not one.value.equals(two.value)


def test_each_measurement_adds_as_many_rows():
    model = zoo.made(lambda: nn.Linear(4, 2))
    watch = snrkit.Monitor(zoo.reinforce, model, zoo.data(8, 4), every=1, draws=4, budget=None)
    for step in range(3):
        watch(step)
    assert len(watch.table) == 3 * len(watch.table[watch.table.step == 0])


def test_parameters_that_are_frozen_for_a_while_are_measured_on_and_stay_frozen():
    model = zoo.made(lambda: zoo.mlp(4, 8, 2))
    watch = snrkit.Monitor(zoo.reinforce, model, zoo.data(8, 4), every=1, draws=8, budget=None)
    free = watch(1)
    for step, frozen in enumerate((model, model[0]), 2):
        model.requires_grad_(True)
        frozen.requires_grad_(False)
        assert watch(step).value.equals(free.value)
        assert not any(p.requires_grad for p in frozen.parameters())


def test_parameters_that_come_later_are_measured_from_then():
    model = zoo.made(lambda: zoo.mlp(4, 8, 2))
    model[0].requires_grad_(False)
    groups = {"last": model[2].parameters()}
    watch = snrkit.Monitor(zoo.reinforce, model, zoo.data(8, 4), groups=groups, every=1, draws=8, budget=None)
    assert "0.weight" not in set(watch(1).block)
    model.requires_grad_(True)
    unfrozen = watch(2)
    assert {"0.weight", "last"} <= set(unfrozen.block)
    model.load_state_dict({name: tensor.clone() for name, tensor in model.state_dict().items()}, assign=True)
    watch = snrkit.Monitor(zoo.reinforce, model, zoo.data(8, 4), every=1, draws=8, budget=None)
    watch(1)
    model.load_state_dict({name: tensor + 1 for name, tensor in model.state_dict().items()}, assign=True)
    fresh = snrkit.measure_loss(zoo.reinforce, model, zoo.data(8, 4), draws=8)
    assert watch(2).value.equals(fresh.value)


def test_steps_that_begin_again_are_warned_of_once(caplog):
    watch = snrkit.Monitor(
        zoo.reinforce, zoo.made(lambda: zoo.mlp(4, 8, 2)), zoo.data(8, 4), every=2, draws=8, budget=None
    )
    for step in (1, 2, 3, 0, 1, 2, 3):
        watch(step)
    assert [record.message for record in caplog.records].count(caplog.records[-1].message) == 1
    assert "count on over epochs" in caplog.text


def test_the_table_of_a_loss_is_summarised_and_drawn_by_groups():
    networks = zoo.made(zoo.ActorCritic)
    watch = snrkit.Monitor(zoo.actor_critic, networks, zoo.data(8, 4), every=1, draws=8, budget=None)
    for step in range(3):
        watch(step)
    panels = snrkit.plot.snr_training(watch.table)
    assert [axes.get_title() for axes in panels] == ["actor", "critic", "all parameters"]
    assert "Verdicts" in watch.table._repr_html_()
    assert "Verdicts" in snrkit.measure_loss(zoo.actor_critic, networks, zoo.data(8, 4), draws=8)._repr_html_()


def test_of_many_groups_a_few_are_drawn_and_that_is_said():
    model = zoo.made(lambda: zoo.mlp(4, 3, 3, 3, 3, 2))
    watch = snrkit.Monitor(zoo.reinforce, model, zoo.data(8, 4), every=1, draws=8, budget=None)
    watch(0), watch(1)
    panels = snrkit.plot.snr_training(watch.table)
    assert [axes.get_title() for axes in panels] == ["0", "2", "4", "all parameters"]
    assert "of the groups of parameters 0, 2, 4 alone are drawn" in " ".join(panels.notes)


def test_nothing_is_measured_again_until_steps_pass_the_furthest():
    watch = snrkit.Monitor(
        zoo.reinforce, zoo.made(lambda: zoo.mlp(4, 8, 2)), zoo.data(8, 4), every=5, draws=8, budget=None
    )
    assert [step for step in (10, 3, 6, 10, 14, 15) if watch(step) is not None] == [10, 15]
