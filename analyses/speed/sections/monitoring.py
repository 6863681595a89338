"""What a monitor costs by the clock on the wall beside what it says, and whether the training is the same to the bit."""

import importlib.util
import logging
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import snrkit
from analyses.speed.sections.sizes import Sizes

# Share of the time that the monitor may take, and how often in a training it is due.
BUDGET, TIMES = 0.2, 10
# Its own share and the difference on the wall may lie so far apart.
POINTS = 0.05
BATCH, PIXELS, CLASSES, IMAGES = 64, 784, 10, 4096


@dataclass(frozen=True)
class Trained:
    """What a training leaves.

    Attributes:
        seconds: of its loop, on the wall.
        left: weights and the optimiser's state.
        generators: of torch, numpy and random.
        share: what the monitor says that it took; 0 without one.
        measured: measurements that it made.
    """

    seconds: float
    left: list[Tensor]
    generators: tuple[Any, ...]
    share: float
    measured: int

    def equals(self, other: "Trained") -> bool:
        """Whether both are the same to the bit."""
        tensors = all(torch.equal(one, two) for one, two in zip(self.left, other.left, strict=True))
        return tensors and self.generators == other.generators


# (steps, whether it is monitored) to what the training leaves.
Loop = Callable[[int, bool], Trained]


class Digits(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Images of noise with a label each."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.rand(IMAGES, PIXELS, generator=generator)
        self.labels = torch.arange(IMAGES) % CLASSES

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"images": self.images[index], "labels": self.labels[index]}


class Classifier(nn.Module):
    """One with dropout, which returns its loss as models of Hugging Face do."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(PIXELS, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, CLASSES))

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The loss."""
        return {"loss": functional.cross_entropy(self.net(images), labels)}


def loss_of(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """As a training has it."""
    loss: Tensor = model(**batch)["loss"]
    return loss


def run(sizes: Sizes) -> tuple[str, list[dict[str, Any]]]:
    """One row per library that is installed."""
    loops: dict[str, tuple[Loop, tuple[str, ...]]] = {
        "PyTorch": (plain, ()), "Lightning": (by_lightning, ("lightning",)),
        "Hugging Face": (by_transformers, ("transformers", "accelerate")),
    }  # fmt: skip
    rows, missing = [], []
    for name, (loop, needs) in loops.items():
        if all(importlib.util.find_spec(package) for package in needs):
            rows.append(_row(name, loop, sizes))
        else:
            missing.append(name)
    text = (
        f"{sizes.pairs} pairs of trainings of a classifier with dropout, of about {sizes.training_s:g} s each, with a\n"
        f"monitor (`budget={BUDGET:g}`, due {TIMES} times) and without one, in turns. On the wall: what the monitored\n"
        "training took longer, as a share of its time; by the monitor: what `monitor.share` says; medians of the pairs.\n"
        f"The bar: {100 * POINTS:g} points between them. The same to the bit: weights, optimiser, generators of torch,\n"
        "numpy and random after every pair."
    )
    return text + (f" Not installed here: {' and '.join(missing)}." if missing else ""), rows


def _row(name: str, loop: Loop, sizes: Sizes) -> dict[str, Any]:
    few = 2 * TIMES
    loop(few, True)  # what a process does once
    steps = max(few, int(few * sizes.training_s / loop(few, False).seconds))
    wall, told, measured, same = [], [], [], True
    for pair in range(sizes.pairs):
        both = {watched: loop(steps, watched) for watched in ((True, False) if pair % 2 else (False, True))}
        wall.append((both[True].seconds - both[False].seconds) / both[True].seconds)
        told.append(both[True].share)
        measured.append(both[True].measured)
        same &= both[True].equals(both[False])
    shares = statistics.median(wall), statistics.median(told)
    apart = abs(shares[0] - shares[1])
    return {
        "training by": name, "steps": steps, "measurements": statistics.median(measured), "on the wall": shares[0],
        "lowest": min(wall), "highest": max(wall), "by the monitor": shares[1], "apart, points": 100 * apart,
        "bar": "met" if apart <= POINTS else "missed", "the same to the bit": "yes" if same else "NO",
    }  # fmt: skip


def _seeded() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


def _trained(
    took: float, model: nn.Module, optimiser: torch.optim.Optimizer, watch: snrkit.Monitor | None, share: float
) -> Trained:
    state = optimiser.state_dict()["state"]
    left = [*model.state_dict().values(), *(torch.as_tensor(v) for s in state.values() for v in s.values())]
    generators = torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()
    steps = 0 if watch is None else watch.table["step"].nunique()
    return Trained(took, left, generators, share, steps)


def _every(steps: int) -> int:
    return max(1, steps // TIMES)


def plain(steps: int, watched: bool) -> Trained:
    """A loop of one's own."""
    _seeded()
    model, data = Classifier(), Digits()
    optimiser = torch.optim.Adam(model.parameters())
    held = {"images": data.images[:BATCH], "labels": data.labels[:BATCH]}
    watch = snrkit.Monitor(loss_of, model, held, every=_every(steps), budget=BUDGET) if watched else None
    start = time.perf_counter()
    for step in range(1, steps + 1):
        chosen = torch.randint(IMAGES, (BATCH,))
        optimiser.zero_grad()
        loss_of(model, {"images": data.images[chosen], "labels": data.labels[chosen]}).backward()
        optimiser.step()
        if watch is not None:
            watch(step)
    took, share = time.perf_counter() - start, 0.0 if watch is None else watch.share
    return _trained(took, model, optimiser, watch, share)


def by_lightning(steps: int, watched: bool) -> Trained:
    """Lightning's Trainer."""
    import lightning.pytorch as lightning

    from snrkit.lightning import SNRCallback

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = Classifier()

        def training_step(self, batch: dict[str, Tensor], _number: int) -> Tensor:
            return loss_of(self.model, batch)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters())

    class Clock(lightning.Callback):
        def on_train_start(self, *_: Any) -> None:
            self.start = time.perf_counter()

        def on_train_end(self, trainer: Any, *_: Any) -> None:
            self.took, self.optimiser = time.perf_counter() - self.start, trainer.optimizers[0]
            self.share = 0.0 if watch is None or watch.monitor is None else watch.monitor.share

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    _seeded()
    module, clock = Module(), Clock()
    watch = SNRCallback(every=_every(steps), budget=BUDGET) if watched else None
    trainer = lightning.Trainer(
        max_steps=steps, max_epochs=-1, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[clock, *([watch] if watch else [])],
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(Digits(), BATCH, shuffle=True))
    return _trained(clock.took, module, clock.optimiser, None if watch is None else watch.monitor, clock.share)


def by_transformers(steps: int, watched: bool) -> Trained:
    """Hugging Face's Trainer."""
    import transformers

    from snrkit.transformers import SNRCallback

    class Clock(transformers.TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.start = time.perf_counter()

        def on_step_end(self, *_: Any, optimizer: Any = None, **__: Any) -> None:
            self.optimiser = getattr(optimizer, "optimizer", optimizer)

        def on_train_end(self, *_: Any, **__: Any) -> None:
            self.took = time.perf_counter() - self.start
            self.share = 0.0 if watch is None or watch.monitor is None else watch.monitor.share

    _seeded()
    model, clock = Classifier(), Clock()
    watch = SNRCallback(every=_every(steps), budget=BUDGET) if watched else None
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder, max_steps=steps, per_device_train_batch_size=BATCH, report_to=[], save_strategy="no",
            logging_strategy="no", use_cpu=True, disable_tqdm=True, label_names=["labels"],
        )  # fmt: skip
        callbacks = [clock, *([watch] if watch else [])]
        transformers.Trainer(model, arguments, train_dataset=Digits(), callbacks=callbacks).train()
    return _trained(clock.took, model, clock.optimiser, None if watch is None else watch.monitor, clock.share)
