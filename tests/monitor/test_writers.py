"""Real TensorBoard, Weights & Biases and MLflow are told the readings, which are read back from the files they wrote."""

import logging
import time
from pathlib import Path

import pytest

import snrkit
from tests.losses import zoo
from tests.support.extras import library

events = library("tensorboard.backend.event_processing.event_accumulator", "writers")
wandb = library("wandb", "writers")
mlflow = library("mlflow", "writers")
library("alembic", "writers")
pytestmark = [pytest.mark.extra, pytest.mark.filterwarnings("ignore")]

DATA = zoo.data(8, 4)
MEAN = "snr/reinforce/all/snr_mean"


@pytest.fixture(autouse=True)
def apart(monkeypatch, tmp_path):
    """None of them leaves a file elsewhere."""
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))


def watched(writer, steps, between=lambda step: None):
    """What a monitor with a writer read, and the wanted mean SNR at each step."""
    model = zoo.made(lambda: zoo.mlp(4, 8, 2))
    watch = snrkit.Monitor(zoo.reinforce, model, DATA, every=1, draws=8, budget=None, M=[1, 4], writer=writer)
    for step in steps:
        watch(step, zoo.data(8, 4, seed=step))
        between(step)
    chosen = watch.table.query("block == 'all' and metric == 'snr_mean' and M == 4")
    assert len(chosen) == len(steps)
    return watch, [(int(row.step), row.value) for row in chosen.itertuples()]


def records(path):
    """What is in a file of Weights & Biases, in its own format: parts of records in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, part, found = Path(path).read_bytes(), 7, b"", []
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        part, at = part + data[at + 7 : at + 7 + size], at + 7 + size
        if kind in (1, 4):  # whole, or the last part
            found.append(Record.FromString(part))
            part = b""
    return found


def history(run):
    """The rows that a run wrote once it has finished, which its own process does a little later."""
    end = time.monotonic() + 60
    while not any(record.WhichOneof("record_type") == "exit" for record in records(run.settings.sync_file)):
        assert time.monotonic() < end
        time.sleep(0.05)
    rows = (one.history for one in records(run.settings.sync_file) if one.WhichOneof("record_type") == "history")
    return [{item.key or "/".join(item.nested_key): item.value_json for item in row.item} for row in rows]


def test_tensorboard_is_told(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        _, wanted = watched(writer, [1, 2, 3])
    found = events.EventAccumulator(str(tmp_path)).Reload()
    told = [(event.step, event.value) for event in found.Scalars(f"{MEAN}/M=4")]
    assert told == [(step, pytest.approx(value, rel=1e-6)) for step, value in wanted]
    assert {tag.split("/")[1] for tag in found.Tags()["scalars"]} == {"reinforce"}


def test_weights_and_biases_is_told_with_what_the_user_logs_next(caplog):
    run = wandb.init(project="snrkit")
    _, wanted = watched(run, [1, 2, 3], lambda step: run.log({"loss": step}))
    run.finish()
    rows = history(run)
    # The user's own count of steps goes on as without a monitor.
    assert [(int(row["_step"]), int(row["loss"])) for row in rows] == [(0, 1), (1, 2), (2, 3)]
    told = [(int(row["snr/step"]), float(row[f"{MEAN}/M=4"])) for row in rows]
    assert told == [(step, pytest.approx(value)) for step, value in wanted]
    assert not [one for one in caplog.records if one.name == "snrkit"]


def test_what_weights_and_biases_would_lose_is_said_once(caplog):
    run = wandb.init(project="snrkit")
    with caplog.at_level(logging.WARNING, "snrkit"):
        _, wanted = watched(wandb, [1, 2, 3])
    run.finish()
    [row] = history(run)
    assert (int(row["snr/step"]), float(row[f"{MEAN}/M=4"])) == (3, pytest.approx(wanted[-1][1]))
    [said] = [one.getMessage() for one in caplog.records if one.name == "snrkit"]
    assert "nothing was logged to wandb" in said
    assert "writer=lambda" in said


def test_mlflow_is_told_under_names_that_it_takes(tmp_path):
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    with mlflow.start_run() as run:
        watch, wanted = watched(mlflow, [1, 2, 3])
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, f"{MEAN}/M_4")
    assert [(one.step, one.value) for one in history] == [(step, pytest.approx(value)) for step, value in wanted]
    assert watch.untold == 0


def test_a_writer_that_fails_ends_no_training(caplog):
    run = wandb.init(project="snrkit")
    run.finish()
    with caplog.at_level(logging.WARNING, "snrkit"):
        watch, wanted = watched(run, [1, 2, 3])
    assert (len(wanted), watch.untold, watch.failed) == (3, 3, 0)
    [said] = [one.getMessage() for one in caplog.records if one.name == "snrkit"]
    assert "the writer raised" in said
