"""Checkpoints: what is refused, and that nothing in a file is ever executed."""

import os
import pickle
import random
from contextlib import suppress
from dataclasses import replace

import pytest
import torch

from snrkit.errors import CheckpointError
from snrkit.results import RunDir
from snrkit.training.checkpoint import FORMAT, VERSION, find_checkpoints, load_checkpoint, save_checkpoint
from snrkit.training.loop import Trainer

CPU = torch.device("cpu")


@pytest.fixture
def saved(small, go):
    return go(small(epochs=1))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "some.pt"


class Payload:
    """Unpickling it makes a directory."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


def content(checkpoint, **changes):
    fields = {name: getattr(checkpoint, name) for name in checkpoint.__dataclass_fields__}
    return {"format": FORMAT, "version": VERSION, **fields} | changes


def refused(file, words):
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(file)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


def test_round_trip(saved, tmp_path):
    again = load_checkpoint(tmp_path / "run")
    assert again.spec == saved.spec
    assert (again.epoch, again.step, again.position, again.running) == (1, 5, 0, saved.running)
    for name, value in saved.model.items():
        assert torch.equal(again.model[name], value)
    model = again.restore_model(CPU)
    assert torch.equal(model.A, saved.model["A"])


def test_loads_as_plain_tensors_only(saved, tmp_path):
    raw = torch.load(RunDir(tmp_path / "run").checkpoint, weights_only=True)
    assert (raw["format"], raw["version"]) == (FORMAT, VERSION)


@pytest.mark.parametrize("where", ["model", "spec", "extra"])
def test_a_payload_is_refused_and_not_executed(saved, file, tmp_path, where):
    payload = Payload(tmp_path / "pwned")
    torch.save(content(saved, **{where: payload}), file)
    refused(file, "more than plain tensors")
    assert not (tmp_path / "pwned").exists()
    # The test can fail: without the restriction the payload does run.
    torch.load(file, weights_only=False)
    assert (tmp_path / "pwned").exists()


def test_a_plain_pickle_is_refused_and_not_executed(file, tmp_path):
    file.write_bytes(pickle.dumps(Payload(tmp_path / "pwned")))
    refused(file, str(file))
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_truncated(saved, tmp_path, file, keep):
    whole = RunDir(tmp_path / "run").checkpoint.read_bytes()
    file.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    assert refused(file, "damaged").argument == str(file)


def test_random_damage_never_escapes_as_another_error(saved, tmp_path, file):
    whole = RunDir(tmp_path / "run").checkpoint.read_bytes()
    dice = random.Random(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(4):
            damaged[dice.randrange(len(whole))] = dice.randrange(256)
        file.write_bytes(damaged)
        with suppress(CheckpointError):
            load_checkpoint(file)


@pytest.mark.parametrize(
    "foreign",
    [{"weight": torch.ones(3)}, torch.ones(3), [1, 2], {"format": "other", "version": 1}, {"format": FORMAT},
     {"format": FORMAT, "version": "1"}, {}],
)  # fmt: skip
def test_foreign_torch_files(file, foreign):
    torch.save(foreign, file)
    refused(file, "not a checkpoint of snrkit")


@pytest.mark.parametrize("junk", [b"hello world", b"\x80\x02", b"PK\x03\x04", bytes(range(256)) * 8])
def test_other_files(file, junk):
    file.write_bytes(junk)
    assert refused(file, "run.pt written by").argument == str(file)


def test_a_newer_format(saved, file):
    torch.save(content(saved, version=VERSION + 1), file)
    refused(file, f"format {VERSION + 1} is newer than {VERSION}; update snrkit")


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "text"},
        {"epoch": "1"},
        {"data_mean": [0.0]},
        {"spec": 3},
        {"spec": "epochs = "},
        {"spec": "epoch = 3"},
    ],
)
def test_fields_of_another_type(saved, file, changes):
    torch.save(content(saved, **changes), file)
    refused(file, "incomplete")


@pytest.mark.parametrize("field", ["optimiser", "running", "position", "spec"])
def test_a_missing_field_is_named(saved, file, field):
    whole = content(saved)
    del whole[field]
    torch.save(whole, file)
    refused(file, field)


def test_nothing_there(tmp_path):
    for path in (tmp_path / "none.pt", tmp_path):
        assert refused(path, "no checkpoint at").argument == "--ckpt"


@pytest.mark.parametrize("wrong", [{"A": torch.ones(2, 2)}, {"A": torch.eye(3), "b": torch.ones(3)}, {"A": 3}])
def test_parameters_that_do_not_fit(saved, file, wrong):
    save_checkpoint(file, replace(saved, model=wrong))
    with pytest.raises(CheckpointError, match="does not fit model gaussian") as caught:
        load_checkpoint(file).restore_model(CPU)
    assert "\n" not in str(caught.value)


def test_an_optimiser_state_that_does_not_fit(small, go, tmp_path, saved):
    save_checkpoint(tmp_path / "run" / "run.pt", replace(saved, optimiser={"state": {}, "param_groups": []}))
    with pytest.raises(CheckpointError, match="does not fit"):
        go(small(epochs=2), resume=True)


def test_float64_stays_float64(small, go):
    saved = go(small(epochs=1, dtype="float64"))
    assert {value.dtype for value in saved.model.values()} == {torch.float64}
    assert {p.dtype for p in saved.restore_model(CPU).parameters()} == {torch.float64}


def test_a_checkpoint_does_not_grow_with_what_it_is_a_view_of(small, go, tmp_path):
    """torch.save stores whole storages; a slice would drag its parent along."""
    go(small(epochs=1))
    assert (tmp_path / "run" / "run.pt").stat().st_size < 20_000


def test_trainer_has_a_parameter_of_each_network(small, tmp_path):
    from snrkit.data import load

    trainer = Trainer(small(), load(small().data, None), RunDir(tmp_path), CPU, None)
    assert [tuple(p.shape) for p in trainer.inference] == [(3, 3), (3,)]
    assert [tuple(p.shape) for p in trainer.generative] == [(3,)]


def test_what_a_killed_write_left_is_no_checkpoint(saved, tmp_path):
    folder = tmp_path / "some"
    folder.mkdir()
    save_checkpoint(folder / "a.pt", saved)
    (folder / ".a.pt.x.tmp.pt").write_bytes(b"")
    assert find_checkpoints([folder]) == [folder / "a.pt"]
