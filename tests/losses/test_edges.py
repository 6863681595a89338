"""What is left as it was, what is refused by name, and what is marked."""

import itertools
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import snrkit
from snrkit.errors import CapabilityError, ModelError, NonFiniteError, SpecError
from snrkit.losses.asked import asked
from snrkit.losses.measure import carried_out
from tests.losses import zoo
from tests.strangers.models import agrees

FEW = 20
STATES = zoo.data(16, 4)


def square(model, x):
    return model(x + 0.3 * torch.randn_like(x)).square().mean()


def policy():
    return zoo.made(lambda: zoo.mlp(4, 8, 2))


def test_everything_is_left_as_it_was():
    model = zoo.made(zoo.Dropped).train()
    optimiser = torch.optim.Adam(model.parameters())
    x, labels = zoo.data(10, 6), torch.arange(10) % 3
    zoo.classify(model, (x, labels)).backward()
    optimiser.step()
    model.head.eval()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    grads = [p.grad for p in model.parameters()]
    contents = [g.clone() for g in grads]
    moments = [v.clone() for s in optimiser.state.values() for v in s.values()]
    generators = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()

    def calls_backward(model, batch):
        np.random.rand()
        random.random()
        zoo.classify(model, batch).backward()

    for loss in (zoo.classify, calls_backward):
        snrkit.measure_loss(loss, model, (x, labels), draws=FEW)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert all(p.grad is g and torch.equal(g, c) for p, g, c in zip(model.parameters(), grads, contents, strict=True))
    now = [v for s in optimiser.state.values() for v in s.values()]
    assert all(torch.equal(v, w) for v, w in zip(moments, now, strict=True))
    assert model.training
    assert not model.head.training
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert np.array_equal(np.random.get_state()[1], generators[1])
    assert random.getstate() == generators[2]


def test_what_a_loss_that_raises_leaves_is_put_back_too():
    model = zoo.made(zoo.Dropped).train()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    calls = itertools.count(1)

    def fails(model, batch):
        if next(calls) > 6:
            raise KeyError("gone")
        return zoo.classify(model, batch)

    with pytest.raises(ModelError, match=r"fails on .*KeyError.*test_edges"):
        snrkit.measure_loss(fails, model, (zoo.data(10, 6), torch.arange(10) % 3), draws=FEW)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_every_draw_begins_with_the_state_of_the_model():
    class Annealed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.calls = nn.Linear(4, 1), 0
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            self.seen = self.seen + 1
            return self.layer(x) * self.calls * self.seen

    model = zoo.made(Annealed)
    first, second = (snrkit.measure_loss(square, model, STATES, draws=FEW) for _ in range(2))
    assert first.value.equals(second.value)
    assert (model.calls, float(model.seen)) == (0, 0.0)
    assert not first.attrs["remarks"]


def test_the_seed_alone_decides():
    model = policy()
    tables = []
    for place in (1, 2):
        torch.manual_seed(place)
        tables.append(snrkit.measure_loss(zoo.reinforce, model, STATES, draws=FEW, seed=3))
    other = snrkit.measure_loss(zoo.reinforce, model, STATES, draws=FEW, seed=4)
    assert tables[0].value.equals(tables[1].value)
    assert not tables[0].value.equals(other.value)
    numpys = [
        snrkit.measure_loss(
            lambda m, x: m(x + float(np.random.randn()) + random.random()).mean() ** 2, model, STATES, draws=FEW
        )
        for _ in range(2)
    ]
    assert numpys[0].value.equals(numpys[1].value)


def test_frozen_and_tied_parameters():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
            self.second.weight = self.first.weight
            self.first.bias.requires_grad_(False)

        def forward(self, x):
            return self.second(torch.tanh(self.first(x)))

    model = zoo.made(Tied)
    table = snrkit.measure_loss(square, model, STATES, draws=300)
    assert {"first.weight", "second.bias"} == {name for name in table.block if "." in name}
    agrees(table, {"all": zoo.loop(square, [model.first.weight, model.second.bias], 600, model, STATES)})


def test_sparse_embeddings():
    model = zoo.made(lambda: nn.Embedding(7, 3, sparse=True))
    tokens = torch.tensor([[0, 1, 2], [2, 3, 3]])

    def loss(model, tokens):
        return (model(tokens) + torch.randn(2, 3, 3)).square().mean()

    table = snrkit.measure_loss(loss, model, tokens, draws=300)
    agrees(table, {"all": zoo.loop(loss, model.parameters(), 600, model, tokens)})
    # Tokens that no sentence has get no gradient.
    assert set(table[table.metric == "snr_mean"].n_dropped) == {9}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types(dtype):
    model = policy().to(dtype)
    table = snrkit.measure_loss(square, model, STATES.to(dtype), draws=300)
    assert set(table["dtype"]) == {str(dtype).removeprefix("torch.")}
    agrees(table, {"all": zoo.loop(square, model.parameters(), 600, model, STATES.to(dtype))})


def test_autocast_stands_in_the_table():
    model = policy()

    def loss(model, x):
        with torch.autocast("cpu", torch.bfloat16):
            return square(model, x)

    table = snrkit.measure_loss(loss, model, STATES, draws=300)
    assert set(table["dtype"]) == {"float32 (partly bfloat16)"}
    agrees(table, {"all": zoo.loop(loss, model.parameters(), 600, model, STATES)})
    with torch.autocast("cpu", torch.bfloat16):
        assert set(snrkit.measure_loss(square, model, STATES, draws=FEW)["dtype"]) == {"float32 (partly bfloat16)"}


def test_a_loss_that_is_not_finite_names_the_draw():
    model, calls = policy(), itertools.count(1)

    def loss(model, x):
        value = square(model, x)
        return value * float("nan") if next(calls) == 3 + 8 + 13 else value  # trial, two precisions, draw 12

    with pytest.raises(NonFiniteError, match="draw 12"):
        snrkit.measure_loss(loss, model, STATES, draws=FEW)

    def flat(model, x):  # the gradient is finite, the loss is not
        return square(model, x) + torch.where(torch.rand(()) < 0.5, float("inf"), 0.0)

    with pytest.raises(NonFiniteError, match="the loss is NaN or infinite in draw"):
        snrkit.measure_loss(flat, model, STATES, draws=FEW)


REFUSED = {
    "a number that no parameter leads to": (lambda m, x: m(x).mean().detach(), "no parameter leads to"),
    "a loss of other parameters": (lambda m, x: OTHER(x).mean(), "does not depend on the parameters"),
    "one value per point": (lambda m, x: m(x).square().mean(dim=1), r"returns \[16\] values.*mean"),
    "a plain number": (lambda m, x: m(x).mean().item(), "returns a float"),
    "nothing": (lambda m, x: None, "None and calls no backward"),
    "a tuple": (lambda m, x: (m(x).mean(), {}), "returns a tuple"),
    "losses of unknown groups": (lambda m, x: {"actor": m(x).mean()}, "groups"),
    "a step": (lambda m, x: (step(m), m(x).mean())[1], "changes the parameter.*optimiser's step"),
    "a batch in place": (lambda m, x: m(x.add_(1)).mean(), "batch: is changed in place"),
}
OTHER = zoo.mlp(4, 2)


def step(model):
    with torch.no_grad():
        next(model.parameters()).add_(1.0)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    loss, words = REFUSED[name]
    model = policy()
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(SpecError, match=words):
        snrkit.measure_loss(loss, model, STATES.clone(), draws=FEW)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"draws": 3}, "draws: must be a whole number, at least 4"),
        ({"seed": -1}, "seed"),
        ({"mode": "train"}, "mode: must be evaluation or training"),
        ({"direction": "up"}, "direction"),
        ({"M": 0}, "M"),
        ({"threads": 0}, "threads: must be at least 1, got 0"),
        ({"threads": -2}, "threads: must be at least 1, got -2"),
        ({"threads": 1.5}, "threads: must be an integer of at least 1, got 1.5"),
        ({"groups": {"first": "nowhere"}}, "no parameter 'nowhere'"),
        ({"groups": {"first": "0", "again": "0.weight"}}, "'0.weight' is in 'first' and in 'again'"),
        ({"groups": {"all": "0"}}, "another name"),
        ({"batch": iter([STATES])}, "next"),
        ({"batch": torch.utils.data.DataLoader(STATES)}, "next"),
        ({"batch": lambda: STATES, "draws": 21}, "multiple of repeats"),
        ({"batch": lambda: STATES, "M": 2}, "critical_M"),
        ({"batch": lambda: STATES, "dsnr": True}, "dsnr"),
        ({"batch": lambda: None}, "returns None"),
        ({"batch": iter([STATES] * 5).__next__}, "none left after 5"),
        ({"model_or_parameters": "policy"}, "model_or_parameters: is a str"),
        ({"model_or_parameters": []}, "no trained parameter"),
        ({"loss": torch.zeros(())}, "second draw"),
        ({"loss": {}}, "empty"),
        ({"loss": {"one": 3}}, "'one' is a int"),
    ],
)
def test_arguments_that_cannot_be(change, words):
    given = {"loss": square, "model_or_parameters": policy(), "batch": STATES, "draws": FEW} | change
    with pytest.raises(SpecError, match=words):
        snrkit.measure_loss(**given)


def test_parameters_without_a_gradient_are_read_as_zero_and_named():
    model = nn.ModuleDict({"used": zoo.mlp(4, 2), "idle": nn.Linear(3, 3)})
    table = snrkit.measure_loss(lambda m, x: square(m["used"], x), model, STATES, draws=FEW)
    assert "no gradient to idle.weight, idle.bias" in " ".join(table.attrs["remarks"])
    idle = table[(table.block == "idle") & (table.metric == "snr_mean")].iloc[0]
    assert (idle.n_coordinates, idle.n_dropped) == (0, 12)


def test_parameters_without_a_module():
    weight, bias = torch.zeros(4, requires_grad=True), torch.zeros((), requires_grad=True)

    def loss(given, x):
        return (x @ given["weight"] + given["bias"] + torch.randn(len(x))).square().mean()

    table = snrkit.measure_loss(loss, {"weight": weight, "bias": bias}, STATES, draws=300)
    agrees(table, {"all": zoo.loop(loss, [weight, bias], 600, {"weight": weight, "bias": bias}, STATES)})
    assert set(table["mode"]) == {"as given"}
    only = snrkit.measure_loss(lambda given: loss({"weight": given[0], "bias": bias}, STATES), [weight], draws=FEW)
    assert set(only.block) == {"0", "all"}


def test_a_private_generator_is_measured_and_marked():
    model, own = policy(), torch.Generator().manual_seed(0)
    before = own.get_state()

    def loss(model, x):
        return model(x + 0.3 * torch.randn(x.shape, generator=own)).square().mean()

    table = snrkit.measure_loss(loss, model, STATES, draws=300)
    assert "another gradient when it is called twice with one seed" in " ".join(table.attrs["remarks"])
    assert set(table.method) == {"loss, not reproducible, training mode"}
    assert torch.equal(own.get_state(), before)
    agrees(table, {"all": zoo.loop(square, model.parameters(), 600, model, STATES)})


def test_a_loss_without_noise_says_so():
    table = snrkit.measure_loss(lambda m, x: m(x).square().mean(), policy(), STATES, draws=FEW)
    assert "has no noise" in " ".join(table.attrs["remarks"])
    assert set(table[table.metric == "variance"].value) == {0.0}


class Noisy(torch.utils.data.Dataset):
    """Points with noise of their own, as augmentation has it."""

    def __len__(self):
        return 32

    def __getitem__(self, index):
        return STATES[index % 16] + 0.1 * torch.randn(4)


@pytest.mark.parametrize("workers", [0, 1])
def test_data_loaders_are_seeded_with_the_draw(workers):
    loader = torch.utils.data.DataLoader(Noisy(), 8, shuffle=True, num_workers=workers)
    tables = [snrkit.measure_loss(square, policy(), lambda: next(iter(loader)), draws=8, seed=1) for _ in range(2)]
    assert tables[0].value.equals(tables[1].value)


@pytest.mark.parametrize("own", [True, False])
def test_what_is_zero_but_for_rounding_is_dropped(own):
    class Shifted(nn.Module):
        """One number added to all logits: its gradient is zero in exact arithmetic."""

        def __init__(self):
            super().__init__()
            self.body, self.shift = nn.Linear(4, 5), nn.Parameter(torch.zeros(()))

        def forward(self, x):
            return self.body(x) + self.shift

    model, batch = zoo.made(Shifted), (STATES, torch.arange(16) % 5)

    def loss(model, batch):
        x, labels = batch
        return functional.cross_entropy(model(x + torch.randn_like(x)), labels)

    given = (model, batch) if own else (model, None)
    table = snrkit.measure_loss(loss if own else (lambda m: loss(m, batch)), *given, draws=FEW)
    dropped = table[(table.block == "shift") & (table.metric == "snr_mean")].iloc[0]
    assert dropped.n_dropped == 1
    assert "shift" in " ".join(table.attrs["remarks"])


def test_hooks_that_would_step_an_optimiser_are_refused():
    model = policy()
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(lambda p: None)
    snrkit.measure_loss(square, model, STATES, draws=FEW)  # none runs
    with pytest.raises(CapabilityError, match="hook"):
        snrkit.measure_loss(lambda m, x: square(m, x).backward(), model, STATES, draws=FEW)


def test_checkpoints_that_hide_parameters():
    model = policy()

    def loss(model, x):
        x = (x + 0.3 * torch.randn_like(x)).requires_grad_()
        return torch.utils.checkpoint.checkpoint(model, x, use_reentrant=True).square().mean()

    table = snrkit.measure_loss(loss, model, STATES, draws=FEW)
    plain = snrkit.measure_loss(square, model, STATES, draws=FEW)
    assert table.value.equals(plain.value)


def test_gradients_of_other_networks_are_not_touched():
    model, other = policy(), zoo.mlp(2, 1)
    other(torch.ones(1, 2)).sum().backward()
    grads = [p.grad.clone() for p in other.parameters()]
    snrkit.measure_loss(lambda m, x: other(m(x + torch.randn_like(x))).mean().backward(), model, STATES, draws=FEW)
    assert all(torch.equal(p.grad, g) for p, g in zip(other.parameters(), grads, strict=True))


def test_wrappers_are_looked_into(monkeypatch):
    model = policy()
    wrapped = nn.DataParallel(model)
    table = snrkit.measure_loss(square, wrapped, STATES, draws=FEW)
    assert "0.weight" in set(table.block)

    class DistributedDataParallel(nn.DataParallel):
        pass

    with pytest.raises(CapabilityError, match=r"several processes.*model\.module"):
        snrkit.measure_loss(square, DistributedDataParallel(model), STATES, draws=FEW)


def test_the_remarks_of_several_losses_are_those_of_each():
    found = carried_out(asked({"a": square, "b": lambda m, x: m(x).mean()}, policy(), batch=STATES, draws=FEW))
    assert any("'b'" in remark for remark in found.remarks)
    assert not any("'a'" in remark for remark in found.remarks)


def test_modules_that_a_loss_reaches_are_left_as_they_were_too():
    model, judge = policy(), zoo.made(lambda: nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)))
    judge(torch.randn(5, 2)).sum().backward()
    state = {name: tensor.clone() for name, tensor in judge.state_dict().items()}
    grads = [(p.grad, p.grad.clone()) for p in judge.parameters()]

    def loss(model, x):
        judge(model(x + torch.randn_like(x))).mean().backward()

    table = snrkit.measure_loss(loss, model, STATES, draws=FEW)
    assert all(torch.equal(tensor, state[name]) for name, tensor in judge.state_dict().items())
    assert all(p.grad is g and torch.equal(g, c) for p, (g, c) in zip(judge.parameters(), grads, strict=True))
    assert not table.attrs["remarks"]


@pytest.mark.parametrize("how", ["step", "average", "raise"])
def test_a_loss_that_changes_parameters_beside_those_measured_is_refused_and_they_are_put_back(how):
    model, judge = policy(), zoo.made(lambda: nn.Linear(2, 1))
    before, optimiser = [p.detach().clone() for p in judge.parameters()], torch.optim.SGD(judge.parameters(), 0.1)

    def loss(model, x):
        if how == "average":
            judge.weight.data = 0.9 * judge.weight.data + 0.1
        else:
            judge(model(x).detach()).mean().backward()
            optimiser.step()
        if how == "raise":
            raise ValueError
        return judge(model(x + torch.randn_like(x))).mean()

    with pytest.raises(ModelError if how == "raise" else SpecError, match="fails" if how == "raise" else "beside"):
        snrkit.measure_loss(loss, model, STATES, draws=FEW)
    assert all(torch.equal(p, was) for p, was in zip(judge.parameters(), before, strict=True))


def test_a_loss_called_backward_of_in_part_is_no_loss_of_the_rest():
    """The usual step of a GAN: the judge's backward, and the maker's loss returned. Whole, it may be returned as well."""
    models = {"judge": nn.Linear(2, 1), "maker": nn.Linear(3, 2)}

    def in_part(given, x):
        made = given["maker"](x + torch.randn_like(x))
        given["judge"](made.detach()).square().mean().backward()
        return given["judge"](made).mean()

    with pytest.raises(SpecError, match=r"calls backward, but not of what it returns, which reaches maker\.weight"):
        snrkit.measure_loss(in_part, models, torch.ones(5, 3), draws=FEW)

    def whole(given, x):
        loss = given["judge"](given["maker"](x + torch.randn_like(x))).square().mean()
        loss.backward()
        return loss

    table = snrkit.measure_loss(whole, models, torch.ones(5, 3), draws=FEW)
    assert {"judge", "maker"} <= set(table.block)


@pytest.mark.parametrize(
    ("loss", "batch", "words"),
    [
        (lambda m: m(STATES).mean(), STATES, r"loss\(model, batch\): too many positional arguments"),
        (lambda m, x, y: (m(x) - y).mean(), STATES, r"loss\(model, batch\): missing a required argument: 'y'"),
        (lambda m, x: m(x).mean(), None, r"loss\(model\): missing a required argument: 'x'"),
    ],
)
def test_a_loss_of_other_arguments_is_refused_in_a_line(loss, batch, words):
    with pytest.raises(SpecError, match=words):
        snrkit.measure_loss(loss, policy(), batch, draws=FEW)


@pytest.mark.parametrize("drawn", [np.random.rand, random.random], ids=["numpy", "python"])
def test_other_global_generators_are_functions_of_the_seed_too(drawn):
    tables = []
    for state in (1, 2):
        np.random.seed(state)
        random.seed(state)
        tables.append(snrkit.measure_loss(lambda m, x: m(x + drawn()).square().mean(), policy(), STATES, draws=FEW))
    assert {method for table in tables for method in table["method"]} == {"loss, training mode"}
    one, two = (table.drop(columns="seconds") for table in tables)
    assert (one[one["metric"] == "variance"]["value"] > 0).all()
    assert one.equals(two)


def test_an_attribute_that_a_loss_adds_is_gone_at_the_next_draw():
    def doubled_once_it_was_called(model, x):
        factor = 2 if hasattr(model, "called") else 1
        model.called = True
        return factor * square(model, x)

    model = policy()
    found, plain = (
        snrkit.measure_loss(loss, model, STATES, draws=FEW)["value"] for loss in (doubled_once_it_was_called, square)
    )
    assert np.array_equal(found, plain, equal_nan=True)
    assert not hasattr(model, "called")


@pytest.mark.parametrize("dsnr", [False, True])
def test_progress_ends_where_it_said_it_would(dsnr):
    told = []
    snrkit.measure_loss(square, policy(), STATES, draws=FEW, dsnr=dsnr, progress=lambda *step: told.append(step))
    done = [step[0] for step in told]
    assert done == sorted(done)
    assert told[-1][:2] == (FEW * (1 + dsnr),) * 2
