"""Lightning's own Trainer, with and without the callback: the same weights to the bit, and the readings of its loss."""

import logging
import random

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional

from snrkit.errors import CapabilityError, SpecError
from tests.losses import zoo
from tests.strangers.models import agrees
from tests.support.extras import library

lightning = library("lightning.pytorch", "lightning")
pytestmark = [pytest.mark.extra, pytest.mark.filterwarnings("ignore")]
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

IMAGES, LABELS = zoo.data(48, 6), torch.arange(48) % 3
HELD_OUT = IMAGES[:10], LABELS[:10]


class Vae(lightning.LightningModule):
    """A module that logs, counts, drops and draws as it is trained."""

    def __init__(self):
        super().__init__()
        self.net = zoo.Dropped()
        self.logged = []

    def training_step(self, batch, batch_idx):
        x, labels = batch
        loss = functional.cross_entropy(self.net(x + 0.1 * torch.randn_like(x)), labels)
        self.log("loss", loss)
        if self.logger is not None:
            self.logger.log_metrics({"own": float(loss.detach())}, step=self.global_step)
        self.logged.append(1)
        return {"loss": loss}

    def configure_optimizers(self):
        optimiser = torch.optim.Adam(self.parameters(), 1e-2)
        return [optimiser], [torch.optim.lr_scheduler.StepLR(optimiser, 1)]


class Kept(lightning.loggers.logger.Logger):
    """Keeps what it is told."""

    def __init__(self):
        super().__init__()
        self.told = []

    name, version = "kept", 0

    def log_metrics(self, metrics, step=None):
        self.told.append((dict(metrics), step))

    def log_hyperparams(self, *args, **kwargs):
        pass


def train(callback=None, build=Vae, workers=0, logger=None, **options):
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    module, logger = build(), logger or Kept()
    points = torch.utils.data.TensorDataset(IMAGES, LABELS)
    loader = torch.utils.data.DataLoader(points, 8, shuffle=True, num_workers=workers)
    trainer = lightning.Trainer(
        max_epochs=3, accelerator="cpu", devices=1, logger=logger, log_every_n_steps=1, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[] if callback is None else [callback],
        **options,
    )  # fmt: skip
    trainer.fit(module, loader)
    (optimiser,) = trainer.optimizers
    left = [
        *module.state_dict().values(),
        *(v for s in optimiser.state.values() for v in s.values()),
        torch.get_rng_state(),
    ]
    return left, (getattr(logger, "told", None), len(module.logged)), module


def callback(*given, **options):
    from snrkit.lightning import SNRCallback

    return SNRCallback(*given, **({"every": 4, "draws": 8, "budget": None} | options))


class Quiet(Vae):
    """Logs nothing, which torch.compile does not go through in Lightning."""

    def training_step(self, batch, batch_idx):
        return functional.cross_entropy(self.net(batch[0] + 0.1 * torch.randn_like(batch[0])), batch[1])


def compiled():
    return torch.compile(Quiet(), backend="eager")


@pytest.mark.parametrize(
    "options",
    [
        {}, {"accumulate_grad_batches": 3}, {"precision": "bf16-mixed"}, {"gradient_clip_val": 0.1}, {"workers": 1},
        {"build": compiled},
    ],
)  # fmt: skip
def test_a_training_is_the_same_to_the_bit(options):
    plain = train(**options)
    watch = callback()
    watched = train(watch, **options)
    assert all(torch.equal(a, b) for a, b in zip(plain[0], watched[0], strict=True))
    steps = 18 // options.get("accumulate_grad_batches", 1)
    assert sorted(set(watch.monitor.table.step)) == list(range(4, steps + 1, 4))
    assert set(watch.monitor.table["dtype"]) == {"float32 (partly bfloat16)" if "precision" in options else "float32"}
    # Nothing more was logged, counted, or told to the logger.
    assert watched[1] == plain[1]


def test_the_readings_are_those_of_the_training_step():
    class Frozen(Vae):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.0)

    watch = callback(batch=HELD_OUT, every=18, draws=300)
    _, _, module = train(watch, Frozen)

    def loss(net, x, labels):
        return functional.cross_entropy(net(x + 0.1 * torch.randn_like(x)), labels)

    own = zoo.loop(loss, module.net.parameters(), 600, module.net.train(), *HELD_OUT)
    agrees(watch.monitor.table, {"all": own})
    assert set(watch.monitor.table.estimator) == {"training_step"}


def test_readings_go_to_the_trainers_logger_where_asked():
    told = train(callback(to_logger=True))[1][0]
    assert {step for values, step in told if "snr/training_step/all/snr_mean" in values} == {4, 8, 12, 16}


def test_lightnings_own_loggers_are_told_all_of_them(tmp_path):
    library("tensorboard", "writers")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loggers = [lightning.loggers.CSVLogger(tmp_path), lightning.loggers.TensorBoardLogger(tmp_path / "board")]
    watch = callback(to_logger=True, M=[1, 4])
    train(watch, logger=loggers)
    chosen = watch.monitor.table.query("block == 'all' and metric == 'snr_mean' and M == 4")
    name = "snr/training_step/all/snr_mean/M=4"
    written = pd.read_csv(next(tmp_path.rglob("metrics.csv")))
    found = written[written[name].notna()]
    assert dict(zip(found["step"], found[name], strict=True)) == pytest.approx(
        dict(zip(chosen.step, chosen.value, strict=True))
    )
    board = EventAccumulator(str(next(tmp_path.rglob("events*")))).Reload()
    wanted = [(int(row.step), pytest.approx(row.value, rel=1e-6)) for row in chosen.itertuples()]
    assert [(event.step, event.value) for event in board.Scalars(name)] == wanted
    # What the module logs itself is written as ever.
    assert written["loss"].notna().sum() == 18


class Alternates(Vae):
    """Trains another loss at every second batch, on no noise: what is measured has to be the loss of that batch's number."""

    def training_step(self, batch, batch_idx):
        net = self.net(batch[0])
        return functional.cross_entropy(net, batch[1]) if batch_idx % 2 else 1e3 * net.square().mean()


def test_the_number_of_the_batch_is_that_which_was_trained_on():
    watch = callback(batch=HELD_OUT, every=3)
    train(watch, Alternates)
    norms = watch.monitor.table.query("block == 'all' and metric == 'mean_norm'").set_index("step").value
    # After 3 steps of an epoch of 6 the last had number 2, after 6 number 5.
    assert list(norms.index) == [3, 6, 9, 12, 15, 18]
    assert norms[[3, 9, 15]].min() > 20 * norms[[6, 12, 18]].max()


class Fails(Vae):
    """Its step fails whenever it is not Lightning that calls it."""

    def training_step(self, batch, batch_idx):
        if isinstance(self.trainer.loggers[0], lightning.loggers.logger.DummyLogger):
            raise KeyError("odd")
        return super().training_step(batch, batch_idx)


def test_what_fails_while_it_is_measured_ends_no_training(caplog):
    watch = callback(every=1)
    with caplog.at_level(logging.WARNING, "snrkit"):
        watched, plain = train(watch, Fails)[0], train(build=Fails)[0]
    assert all(torch.equal(a, b) for a, b in zip(watched, plain, strict=True))
    assert (watch.monitor.failed, len(watch.monitor.table)) == (18, 0)
    [said] = [one.getMessage() for one in caplog.records if one.name == "snrkit"]
    assert said.startswith("Monitor at step 1: model: training_step fails")


def test_what_cannot_be_measured_is_refused_before_training():
    class ByHand(Vae):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

    with pytest.raises(SpecError, match=r"loss: .*by hand.*loss\(module, batch\)"):
        train(callback(), ByHand)

    class Iterates(Vae):
        def training_step(self, dataloader_iter):
            return super().training_step(next(dataloader_iter)[0], 0)

    with pytest.raises(SpecError, match=r"loss: .*from an iterator.*loss\(module, batch\), and a batch"):
        train(callback(), Iterates)

    class Several:
        world_size = 2

    with pytest.raises(CapabilityError, match=r"2 processes.*one device"):
        callback().on_fit_start(Several(), nn.Linear(1, 1))


def test_a_misspelt_option_is_told_at_once():
    with pytest.raises(SpecError, match=r"drawz.*draws"):
        callback(drawz=8)


def test_a_loss_of_ones_own():
    def own(module, batch):
        return module.net(batch[0] + torch.randn_like(batch[0])).square().mean()

    watch = callback(own)
    train(watch)
    assert set(watch.monitor.table.estimator) == {"own"}


class Short(Vae):
    """Lightning lets a step leave out the batch's number."""

    def training_step(self, batch):
        return super().training_step(batch, 0)


def test_a_step_without_the_number_of_its_batch():
    watch = callback()
    watched, plain = train(watch, build=Short)[0], train(build=Short)[0]
    assert all(torch.equal(a, b) for a, b in zip(watched, plain, strict=True))
    assert sorted(set(watch.monitor.table.step)) == [4, 8, 12, 16]


class Skips(Vae):
    """Lightning lets a step skip a batch, by returning None: here every third, and of the rest those of low loss."""

    def training_step(self, batch, batch_idx):
        found = super().training_step(batch, batch_idx)
        return None if self.skips(len(self.logged)) else found

    def skips(self, call):
        return call % 3 == 0


class NeverTrains(Skips):
    def skips(self, call):
        return True


@pytest.mark.parametrize(("build", "most", "first"), [(Skips, 4, 8), (NeverTrains, 0, 4)])
def test_a_step_that_skips_its_batch_ends_no_training(build, most, first, caplog):
    watch = callback()
    with caplog.at_level(logging.WARNING, "snrkit"):
        watched, plain = train(watch, build=build)[0], train(build=build)[0]
    assert all(torch.equal(a, b) for a, b in zip(watched, plain, strict=True))
    assert watch.monitor.failed + watch.monitor.table["step"].nunique() == 4
    assert watch.monitor.table["step"].nunique() <= most
    assert watch.monitor.failed > 0
    said = [one.getMessage() for one in caplog.records if one.name == "snrkit" and "None" in one.getMessage()]
    assert said == [
        f"Monitor at step {first}: training_step: returns None for the batch that is measured, so there is no loss; "
        "give a batch that it does not skip: SNRCallback(batch=...)"
    ]
