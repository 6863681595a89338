"""Hugging Face's own Trainer, with and without the callback: the same weights to the bit, and the readings of its loss."""

import random

import numpy as np
import pytest
import torch

from snrkit.errors import CapabilityError, SpecError
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


def train(folder, callback=None, **options):
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    net, kept = model(), Kept()
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), max_steps=12, per_device_train_batch_size=4, learning_rate=1e-2, report_to=[],
        save_strategy="no", logging_steps=100, use_cpu=True, disable_tqdm=True, **options,
    )  # fmt: skip
    watch = [kept] if callback is None else [kept, callback]
    transformers.Trainer(net, arguments, train_dataset=Sentences(), callbacks=watch).train()
    state = kept.optimiser.state_dict()["state"]
    left = [*net.state_dict().values(), *(torch.as_tensor(v) for s in state.values() for v in s.values())]
    return [*left, torch.get_rng_state()], net


def callback(*given, **options):
    from snrkit.transformers import SNRCallback

    return SNRCallback(*given, **({"every": 4, "draws": 8, "budget": None} | options))


@pytest.mark.parametrize("options", [{}, {"gradient_accumulation_steps": 2}, {"bf16": True}])
def test_a_training_is_the_same_to_the_bit(options, tmp_path):
    plain, _ = train(tmp_path, **options)
    watch = callback()
    watched, net = train(tmp_path, watch, **options)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert sorted(set(watch.monitor.table.step)) == [4, 8, 12]
    assert set(watch.monitor.table["dtype"]) == {"float32 (partly bfloat16)" if options.get("bf16") else "float32"}
    assert not net._forward_pre_hooks


def test_the_readings_are_those_of_the_models_loss(tmp_path):
    inputs = {"input_ids": TOKENS[:6], "labels": LABELS[:6]}
    watch = callback(batch=inputs, every=12, draws=300)
    _, net = train(tmp_path, watch)
    own = zoo.loop(lambda: net(**inputs).loss, net.train().parameters(), 600)
    agrees(watch.monitor.table, {"all": own})


def test_what_cannot_be_measured_is_refused(tmp_path):
    class Several:
        world_size, torch_compile = 2, False

    with pytest.raises(CapabilityError, match=r"2 processes.*one device"):
        callback().on_train_begin(Several(), None, None, model=model())

    class Compiled:
        world_size, torch_compile = 1, True

    with pytest.raises(SpecError, match=r"batch: .*compiled"):
        callback().on_train_begin(Compiled(), None, None, model=model())
