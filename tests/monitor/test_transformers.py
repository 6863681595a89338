"""Hugging Face's own Trainer, with and without the callback: the same weights to the bit, and the readings of its loss."""

import logging
import random

import numpy as np
import pytest
import torch

from snrkit.errors import CapabilityError
from tests.losses import zoo
from tests.strangers.models import agrees
from tests.support.extras import library

transformers = library("transformers", "transformers")
library("accelerate", "transformers")
pytestmark = [pytest.mark.extra, pytest.mark.filterwarnings("ignore")]

TOKENS = torch.randint(0, 20, (24, 6), generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(24) % 2


class Sentences(torch.utils.data.Dataset):
    def __len__(self):
        return len(TOKENS)

    def __getitem__(self, index):
        return {"input_ids": TOKENS[index], "labels": LABELS[index]}


def model():
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=8, hidden_dropout_prob=0.2, attn_implementation="eager",
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config)


class Kept(transformers.TrainerCallback):
    """Keeps the optimiser."""

    def on_step_end(self, args, state, control, optimizer=None, **_):
        self.optimiser = optimizer


def train(folder, callback=None, kind=transformers.Trainer, **options):
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    net, kept = model(), Kept()
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), max_steps=12, per_device_train_batch_size=4, learning_rate=1e-2, save_strategy="no",
        use_cpu=True, disable_tqdm=True, **({"report_to": [], "logging_steps": 100} | options),
    )  # fmt: skip
    watch = [kept] if callback is None else [kept, callback]
    trainer = kind(net, arguments, train_dataset=Sentences(), callbacks=watch)
    trainer.train()
    assert not {"compute_loss", "log"} & set(vars(trainer))
    state = kept.optimiser.state_dict()["state"]
    left = [*net.state_dict().values(), *(torch.as_tensor(v) for s in state.values() for v in s.values())]
    return [*left, torch.get_rng_state()], net


def callback(*given, **options):
    from snrkit.transformers import SNRCallback

    return SNRCallback(*given, **({"every": 4, "draws": 8, "budget": None} | options))


class Smoothed(transformers.Trainer):
    """Computes its loss itself, takes the labels out of its inputs, and logs."""

    def compute_loss(self, model, inputs, return_outputs=False, **counted):
        labels = inputs.pop("labels")
        found = model(**inputs)
        self.log({"own": 1.0})
        return torch.nn.functional.cross_entropy(found.logits, labels, label_smoothing=0.5)


@pytest.mark.parametrize(
    "options",
    [
        {}, {"gradient_accumulation_steps": 2}, {"bf16": True}, {"label_smoothing_factor": 0.2}, {"kind": Smoothed},
        {"gradient_checkpointing": True, "bf16": True, "label_smoothing_factor": 0.2}, {"dataloader_num_workers": 1},
    ],
)  # fmt: skip
def test_a_training_is_the_same_to_the_bit(options, tmp_path):
    plain, _ = train(tmp_path, **options)
    watch = callback()
    watched, _ = train(tmp_path, watch, **options)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert sorted(set(watch.monitor.table.step)) == [4, 8, 12]
    assert set(watch.monitor.table["dtype"]) == {"float32 (partly bfloat16)" if options.get("bf16") else "float32"}


def test_the_readings_are_those_of_the_models_loss(tmp_path):
    inputs = {"input_ids": TOKENS[:6], "labels": LABELS[:6]}
    watch = callback(batch=inputs, every=12, draws=300)
    _, net = train(tmp_path, watch)
    own = zoo.loop(lambda: net(**inputs).loss, net.train().parameters(), 600)
    agrees(watch.monitor.table, {"all": own})


def trained_on(inputs, loss, net):
    """Gradients of a plain loop, of a loss of the logits on inputs without their labels."""
    given = {name: value for name, value in inputs.items() if name != "labels"}
    return zoo.loop(lambda: loss(net(**given).logits, inputs["labels"]), net.train().parameters(), 600)


@pytest.mark.parametrize("options", [{"kind": Smoothed}, {"label_smoothing_factor": 0.5}])
def test_the_readings_are_those_of_the_loss_that_the_trainer_computes(options, tmp_path):
    inputs = {"input_ids": TOKENS[:6], "labels": LABELS[:6]}
    watch = callback(batch=inputs, every=12, draws=300)
    _, net = train(tmp_path, watch, **options)

    def smoothed(logits, labels):
        return torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.5)

    agrees(watch.monitor.table, {"all": trained_on(inputs, smoothed, net)})
    assert "labels" in inputs


def test_a_loss_of_ones_own(tmp_path):
    def own(model, batch):
        return model(**batch).logits.square().mean()

    watch = callback(own)
    train(tmp_path, watch, gradient_accumulation_steps=2)
    assert sorted(set(watch.monitor.table.step)) == [4, 8, 12]
    assert set(watch.monitor.table.estimator) == {"own"}


def test_what_fails_while_it_is_measured_ends_no_training(tmp_path, caplog):
    def odd(model, batch):
        raise KeyError("no such input")

    watch = callback(odd)
    with caplog.at_level(logging.WARNING, "snrkit"):
        watched, _ = train(tmp_path, watch)
    assert all(torch.equal(a, b) for a, b in zip(watched, train(tmp_path)[0], strict=True))
    assert (watch.monitor.failed, len(watch.monitor.table)) == (3, 0)
    [said] = [one.getMessage() for one in caplog.records if one.name == "snrkit"]
    assert said.startswith("Monitor at step 4: ")
    assert "no such input" in said


def test_a_compiled_model_is_measured(tmp_path):
    watch = callback(every=12)
    train(tmp_path, watch, torch_compile=True, torch_compile_backend="eager")
    assert sorted(set(watch.monitor.table.step)) == [12]


def test_reports_to_tensorboard_go_on(tmp_path, monkeypatch):
    library("tensorboard", "writers")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs"))
    watch = callback()
    train(tmp_path, watch, report_to=["tensorboard"], logging_steps=1)
    assert list((tmp_path / "logs").iterdir())
    assert sorted(set(watch.monitor.table.step)) == [4, 8, 12]


@pytest.mark.parametrize("given", [(), (lambda net, batch: net(**batch).loss, {"input_ids": TOKENS, "labels": LABELS})])
def test_readings_go_to_what_the_trainer_reports_to_where_asked(given, tmp_path, monkeypatch):
    library("tensorboard", "writers")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs"))
    trained = [
        train(tmp_path, watch, report_to=["tensorboard"], logging_steps=2)[0]
        for watch in (callback(*given, to_logger=True), None)
    ]
    assert all(torch.equal(one, other) for one, other in zip(*trained, strict=True))
    told = [EventAccumulator(str(path)).Reload() for path in sorted((tmp_path / "logs").glob("**/events*"))]
    scalars = {name: [e.step for e in board.Scalars(name)] for board in told for name in board.Tags()["scalars"]}
    readings = [
        steps for name, steps in scalars.items() if name.startswith("train/snr/") and name.endswith("/snr_mean")
    ]
    assert readings
    assert all(steps == [4, 8, 12] for steps in readings)
    assert scalars["train/loss"] == [2, 4, 6, 8, 10, 12]  # its own come when they would


def test_what_cannot_be_measured_is_refused():
    class Several:
        world_size = 2

    with pytest.raises(CapabilityError, match=r"2 processes.*one device"):
        callback().on_train_begin(Several(), None, None, model=model())

    class Alone:
        world_size = 1

    with pytest.raises(CapabilityError, match=r"not a Trainer.*both loss\(model, batch\) and batch"):
        callback().on_train_begin(Alone(), None, None, model=model())
