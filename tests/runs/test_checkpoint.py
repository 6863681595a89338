"""Checkpoints: what is refused, and that nothing in a file is ever executed."""

import os
import pickle
import random
from contextlib import suppress
from dataclasses import replace

import pytest
import torch

from snrkit.checksums import unsealed
from snrkit.errors import CheckpointError
from snrkit.run import Run
from snrkit.runs.checkpoint import FORMAT, VERSION, find_runs, load_checkpoint, save_checkpoint
from snrkit.runs.folder import RunDir
from snrkit.training.trainer import Trainer

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
        assert refused(path, "no checkpoint at").argument == "path"


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
    assert [tuple(p.shape) for p in trainer.state.networks["inference"]] == [(3, 3), (3,)]
    assert [tuple(p.shape) for p in trainer.state.networks["generative"]] == [(3,)]


def test_what_a_killed_write_left_is_no_checkpoint(saved, tmp_path):
    folder = tmp_path / "some"
    folder.mkdir()
    save_checkpoint(folder / "a.pt", saved)
    (folder / ".a.pt.x.tmp.pt").write_bytes(b"")
    assert find_runs([folder]) == [folder / "a.pt"]


# Past the checksum: what torch itself would write with another content.
def doctored(tmp_path, *where, value):
    file = RunDir(tmp_path / "run").checkpoint
    whole = torch.load(file, weights_only=True)
    inner = whole
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    torch.save(whole, file)
    return file


NAN, SUMS = float("nan"), {"bound": 0.0, "points": 0.0, "seconds": 0.0}


@pytest.mark.rest_slow
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epoch", -1), ("epoch", True), ("epoch", 10**30), ("step", -1), ("step", 0), ("position", -1), ("position", 7),
        ("running", {}), ("running", SUMS | {"bound": NAN}), ("running", SUMS | {"points": -1.0}),
        ("running", SUMS | {"seconds": "1"}), ("running", SUMS | {"points": 3.0}), ("running", SUMS | {"bound": 10**400}),
        ("data_mean", torch.tensor(0.5)), ("data_mean", torch.arange(3)), ("data_mean", torch.full((3,), NAN)),
        ("data_mean", torch.zeros(3, 1)), ("data_mean", torch.zeros(0)), ("data_mean", torch.zeros(3).to_sparse()),
        ("data_mean", torch.tensor(0.5).expand(10**13)), ("data_digest", "x"), ("hyper", {"beta": {"raw": torch.zeros(())}}),
        ("version", 0), ("spec", "a = " + "[" * 5000), ("spec", f"epochs = {'9' * 5000}"),
    ],
)  # fmt: skip
def test_a_field_out_of_its_range(small, go, tmp_path, saved, field, value):
    file = doctored(tmp_path, field, value=value)
    assert refused(file, "").argument == str(file)
    before = file.read_bytes()
    with pytest.raises(CheckpointError):
        go(small(epochs=2), resume=True)
    assert file.read_bytes() == before


def test_a_step_that_the_data_do_not_have(small, go, tmp_path, saved):
    file = doctored(tmp_path, "step", value=6)
    assert load_checkpoint(file).step == 6
    for use in (lambda: go(small(epochs=2), resume=True), lambda: Run.open(file, device="cpu")):
        with pytest.raises(CheckpointError, match="where an epoch has 5 steps"):
            use()


A = torch.eye(3)


@pytest.mark.rest_slow
@pytest.mark.parametrize(
    ("name", "value"),
    [("exp_avg", torch.zeros(1)), ("exp_avg", torch.zeros(3, 3).double()), ("exp_avg_sq", torch.zeros(())),
     ("exp_avg_sq", -torch.ones(3, 3)), ("exp_avg_sq", A * NAN), ("exp_avg", torch.zeros(()).expand(3, 3)),
     ("exp_avg", 3), ("exp_avg", A.to_sparse()), ("step", torch.tensor(4.0)), ("step", torch.tensor(5)),
     ("step", torch.zeros(2)), ("step", torch.tensor(NAN)), ("step", 5.0), ("more", torch.zeros(()))],
)  # fmt: skip
def test_moments_that_do_not_fit(small, go, tmp_path, saved, name, value):
    """Fused Adam reads and writes beyond moments that are too small, and ends the process."""
    index = next(i for i, own in saved.optimiser["state"].items() if own["exp_avg"].shape == (3, 3))
    file = doctored(tmp_path, "optimiser", "state", index, name, value=value)
    before = file.read_bytes()
    with pytest.raises(CheckpointError, match=rf"does not fit model gaussian.*tensor {index}") as caught:
        go(small(epochs=2), resume=True)
    assert "\n" not in str(caught.value)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "value"),
    [("params", [0]), ("betas", (2.0, 0.9)), ("betas", None), ("eps", -1.0), ("lr", NAN), ("lr", "1"), ("maximize", False),
     ("weight_decay", 1.0)],
)  # fmt: skip
def test_settings_of_the_optimiser_that_are_not_the_specs(small, go, tmp_path, saved, name, value):
    doctored(tmp_path, "optimiser", "param_groups", 0, name, value=value)
    with pytest.raises(CheckpointError, match="does not fit"):
        go(small(epochs=2), resume=True)


@pytest.mark.parametrize(
    "value", [A[:1], A.double(), A.half(), A * NAN, A.int(), A.to_sparse(), torch.zeros(()).expand(3, 3), None]
)
def test_a_parameter_that_does_not_fit(small, go, tmp_path, saved, value):
    file = doctored(tmp_path, "model", "A", value=value)
    for use in (lambda: go(small(epochs=2), resume=True), lambda: Run.open(file, device="cpu")):
        with pytest.raises(CheckpointError, match="does not fit model gaussian"):
            use()


def test_tensors_that_share_memory_are_parted(small, go, tmp_path, saved):
    """A file may name one memory twice; a step would then write both moments into it."""
    whole = go(small(epochs=2), "whole")
    file = RunDir(tmp_path / "run").checkpoint
    content = torch.load(file, weights_only=True)
    shared = torch.cat([own[name].flatten() for own in content["optimiser"]["state"].values() for name in own])
    start = 0
    for own in content["optimiser"]["state"].values():
        for name in own:
            own[name], start = (
                shared[start : start + own[name].numel()].view(own[name].shape),
                start + own[name].numel(),
            )
    torch.save(content, file)
    again = go(small(epochs=2), resume=True)
    assert all(torch.equal(again.model[name], value) for name, value in whole.model.items())


def test_flipped_bits_are_found(saved, tmp_path, file):
    whole = RunDir(tmp_path / "run").checkpoint.read_bytes()
    dice = random.Random(0)
    for bit in [dice.randrange(8 * len(whole)) for _ in range(200)]:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << (bit % 8)
        file.write_bytes(damaged)
        refused(file, "checksum differs")


def test_a_checkpoint_without_a_checksum_is_read_and_noted(saved, tmp_path, file):
    torch.save(content(saved), file)
    with unsealed() as found:
        assert load_checkpoint(file).epoch == 1
        assert load_checkpoint(tmp_path / "run").epoch == 1
    assert list(found) == [str(file)]
