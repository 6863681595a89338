"""The user's object is as it was: after success, errors and Ctrl-C."""

import copy
import random
import threading
import types
from contextlib import nullcontext, suppress

import numpy as np
import pytest
import torch
from torch import nn

import snrkit
from snrkit.errors import ModelError, SnrkitError
from tests.strangers.models import PIXELS, AlwaysDropout, Average, Vae, WithDropout, data, made


def state(model):
    """Everything of a model and the process that a user might miss."""
    attributes = {name: copy.deepcopy(vars(module).get("extra")) for name, module in model.named_modules()}
    return {
        "tensors": {n: t.detach().clone() for n, t in [*model.named_parameters(), *model.named_buffers()]},
        "kinds": {n: type(t) for n, t in [*model.named_parameters(), *model.named_buffers()]},
        "grads": {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()},
        "wanted": {n: p.requires_grad for n, p in model.named_parameters()},
        "modes": {n: m.training for n, m in model.named_modules()},
        "keys": {n: sorted(vars(m)) for n, m in model.named_modules()},
        "attributes": attributes,
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].copy(),
        "random": random.getstate(),
        "switches": (
            torch.get_default_dtype(), torch.get_float32_matmul_precision(), torch.is_grad_enabled(),
            torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"),
        ),
    }  # fmt: skip


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    return a == b


class Restless(Vae):
    """Changes all that it has at every call."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.extra = {"list": [], "set": set(), "array": np.zeros(2), "deep": {"x": [1]}}
        self.generator = torch.Generator().manual_seed(0)

    def encode(self, x):
        self.count += 1
        self.extra["list"].append(len(x))
        self.extra["set"].add(int(self.count))
        self.extra["array"] += 1
        self.extra["deep"]["x"][0] += 1
        self.extra["new"] = torch.zeros(3)
        self.surprise = "new"
        torch.rand(1, generator=self.generator)
        torch.rand(1), np.random.rand(), random.random()
        return super().encode(x)


def prepared(kind):
    model = made(kind).train()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    model.decoder[0].weight.requires_grad_(False)
    model.encoder[1].eval()
    return model


KINDS = [Vae, Restless, Average, AlwaysDropout, lambda: WithDropout(True)]


@pytest.mark.rest_slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["evaluation", "training"])
@pytest.mark.parametrize("engine", ["factors", "vmap", "loop"])
def test_after_a_measurement_or_a_refusal(kind, mode, engine):
    model = prepared(kind)
    before = state(model)
    buffers = dict(model.named_buffers())
    with nullcontext() if kind is not Average and engine != "vmap" else suppress(SnrkitError):
        snrkit.measure(model, data(), estimators=["iwae"], K=[2], draws=4, mode=mode, engine=engine)
    assert same(before, state(model))
    assert all(buffer is buffers[name] for name, buffer in model.named_buffers())


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, MemoryError])
@pytest.mark.parametrize("call", [1, 5, 40])
def test_after_ctrl_c_and_errors_at_any_call(error, call):
    left = [call]  # outside of the model, whose own state is put back before each draw

    class Failing(Restless):
        def log_joint(self, x, z):
            left[0] -= 1
            if left[0] == 0:
                torch.set_default_dtype(torch.float64)
                raise error
            return super().log_joint(x, z)

    model = prepared(Failing)
    before = state(model)
    with pytest.raises((error, SnrkitError)):
        snrkit.measure(model, data(), estimators=["iwae"], K=[2], draws=200)
    assert same(before, state(model))


def test_a4_a_replaced_buffer_under_vmap():
    model = made(Average)
    buffer = model.average
    with pytest.raises(SnrkitError):
        snrkit.measure(model, data(), estimators=["iwae"], K=[2], draws=4, engine="vmap")
    assert model.average is buffer
    model.encode(data()).loc.sum().backward()


def test_check_leaves_all_as_it_was():
    model = prepared(Restless)
    before = state(model)
    snrkit.check(model, data())
    snrkit.check(model, data(), mode="training")
    assert same(before, state(model))


def test_three_threads_at_once():
    model = made(lambda: WithDropout(True)).train()
    before = state(model)
    errors = []

    def work():
        try:
            snrkit.measure(model, data(), estimators=["iwae"], K=[2], draws=8)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert same(before, state(model))


def test_a_failing_progress_leaves_all_as_it_was_and_is_the_users_own_error():
    model = prepared(Vae)
    before = state(model)

    def broken(*_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        snrkit.measure(model, data(), estimators=["iwae"], K=[2], draws=8, progress=broken)
    assert same(before, state(model))


def test_an_adopted_module_is_left_alone():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            inner = Vae()
            self.encoder, self.decoder = inner.encoder, inner.decoder
            self.networks = nn.ModuleDict({"spare": nn.Linear(2, 2)})

        def forward(self, x):
            return self.encoder(x)

        def encode(self, x):
            assert self.networks["spare"] is not None
            return Vae.proposed(self, self(x))

        log_joint = Vae.log_joint

    model = made(Plain)
    before = state(model)
    table = snrkit.measure(model, data(), estimators=["iwae"], K=[2], draws=8)
    assert {"encoder.0.weight", "decoder.2.bias"} <= set(table.block)
    reference = snrkit.measure(made(Vae), data(), estimators=["iwae"], K=[2], draws=8)
    assert torch.equal(
        torch.tensor(table.value.to_numpy()).nan_to_num(), torch.tensor(reference.value.to_numpy()).nan_to_num()
    )
    assert same(before, state(model))


def test_a_model_that_raises_is_left_alone_and_named():
    class Broken(Restless):
        def log_joint(self, x, z):
            return super().log_joint(x, z @ torch.zeros(PIXELS, PIXELS))

    model = prepared(Broken)
    before = state(model)
    with pytest.raises(ModelError, match=r"log_joint fails on x float32\[") as caught:
        snrkit.measure(model, data(), estimators=["iwae"], K=[2], draws=8)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert same(before, state(model))


class Helper:
    def __init__(self):
        self.calls, self.history = 0, []


class CalledHelper(Helper):
    def __call__(self):
        self.calls += 1


def counting(where):
    """A plain module, no ``LatentModel``, that counts its calls in one place or another."""

    class Counted(nn.Module):
        calls = 0

        def __init__(self):
            super().__init__()
            inner = Vae()
            self.encoder, self.decoder = inner.encoder, inner.decoder
            self.helper, self.called, self._forward_calls = Helper(), CalledHelper(), 0

        proposed, encode = Vae.proposed, Vae.encode

        def log_joint(self, x, z):
            if where == "helper":
                self.helper.calls += 1
            elif where == "history":
                self.helper.history.append(1)
            elif where == "called":
                self.called()
            elif where == "class":
                type(self).calls += 1
            else:
                self._forward_calls += 1
            return Vae.log_joint(self, x, z)

    return made(Counted)


@pytest.mark.rest_slow
@pytest.mark.parametrize(
    ("where", "name"),
    [("helper", "helper.calls"), ("history", "helper.history (length)"), ("called", "called.calls"),
     ("class", "Counted.calls"), ("attribute", "_forward_calls")],
)  # fmt: skip
def test_what_an_adopted_module_keeps_is_told_and_put_back(where, name):
    model = counting(where)
    table = snrkit.check(model, data()).set_index("question")
    assert f"{name}'" in table.finding["Does its state change from call to call?"]
    assert "adopted" not in table.finding["Does its state change from call to call?"]
    snrkit.measure(model, data(), "iwae", K=2, draws=4)
    counts = model.helper.calls, model.called.calls, type(model).calls, model._forward_calls, len(model.helper.history)
    assert counts == (0, 0, 0, 0, 0)


def test_a_python_module_in_an_attribute_keeps_what_was_imported_meanwhile():
    library = types.ModuleType("library")

    class Importing(Vae):
        def log_joint(self, x, z):
            self.library.part = "imported late"
            return super().log_joint(x, z)

    model = made(Importing)
    model.library = library
    snrkit.check(model, data())
    assert library.part == "imported late"


def test_devices_that_are_not_in_use_are_not_seeded(monkeypatch):
    def refuse(*_):
        raise AssertionError("seeded")

    model = made(AlwaysDropout)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", refuse)
    snrkit.measure(model, data(), "iwae", K=2, draws=4)


class Slots:
    __slots__ = ("calls", "seen")

    def __init__(self):
        self.calls, self.seen = 0, []


class Schedule:
    """An object that can be called, of a class that is not the model's."""

    def __init__(self):
        self.calls, self.seen = 0, []

    def __call__(self):
        self.calls += 1
        self.seen.append(self.calls)


class Plain(nn.Module):
    total, book = 0, {"seen": []}

    def __init__(self):
        super().__init__()
        inner = Vae()
        self.encoder, self.decoder = inner.encoder, inner.decoder
        self.slots, self.schedule = Slots(), Schedule()
        self.entropy = random.SystemRandom()

    def encode(self, x):
        Plain.total += 1
        Plain.book["seen"].append(1)
        self.slots.calls += 1
        self.slots.seen.append(1)
        self.schedule()
        return Vae.proposed(self, self.encoder(x))

    log_joint = Vae.log_joint


def test_objects_and_classes_of_an_adopted_module_are_put_back():
    model = made(Plain)
    table = snrkit.measure(model, data(), estimators=["iwae"], K=[2], draws=8)
    assert "state changes" in table.attrs["remarks"][0]
    assert (Plain.total, Plain.book) == (0, {"seen": []})
    for kept in (model.slots, model.schedule):
        assert (kept.calls, kept.seen) == (0, [])


def test_switches_of_the_process_are_put_back():
    class Switching(Vae):
        def encode(self, x):
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.autograd.set_detect_anomaly(True)
            torch.backends.cudnn.benchmark = True
            return super().encode(x)

    snrkit.check(made(Switching), data())
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.is_anomaly_enabled()
    assert not torch.backends.cudnn.benchmark
