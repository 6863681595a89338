"""A run's state in compact form: gone on from elsewhere, close to the run that was not stopped, and saying so."""

import pytest
import torch

from snrkit import checksums
from snrkit.errors import CapabilityError, CheckpointError
from snrkit.runs.checkpoint import load_checkpoint
from snrkit.runs.compact import pack, unpack
from snrkit.runs.export import export
from snrkit.runs.folder import RunDir
from tests.runs.test_checkpoint import Payload

# Of bfloat16, rounded to the nearest.
HALF_A_DIGIT = 2**-8


def images(small, **changes):
    """A run whose parameters change in every step."""
    return small(
        data={"name": "digits", "train_limit": 23},
        model={"name": "mlp", "options": {"hidden": [7], "latent": 3}},
        **changes,
    )


@pytest.fixture
def stopped(small, go, tmp_path):
    go(images(small, epochs=3), "stopped")
    return RunDir(tmp_path / "stopped")


def distance(one, other):
    return float((one - other).norm() / other.norm())


def test_a_run_goes_on_elsewhere_close_to_one_that_was_not_stopped_and_says_so(small, go, stopped, tmp_path):
    whole = go(images(small, epochs=5), "whole")
    file, there = tmp_path / "kept" / "one.state", RunDir(tmp_path / "there")
    kept = pack(stopped, file)
    found = unpack(file, there)
    before = load_checkpoint(stopped.checkpoint)
    assert found.rounded == kept.rounded == [before.step]
    assert all(torch.equal(value, before.model[name]) for name, value in found.model.items())
    for index, own in before.optimiser["state"].items():
        for name in ("exp_avg", "exp_avg_sq"):
            rounded = found.optimiser["state"][index][name]
            assert (rounded - own[name]).abs().le(HALF_A_DIGIT * own[name].abs()).all()
            assert not torch.equal(rounded, own[name])
    end = go(images(small, epochs=5), "there", resume=True)
    distances = [distance(value, whole.model[name]) for name, value in end.model.items()]
    assert 0 < max(distances) < 1e-3
    assert (whole.rounded, end.rounded) == ([], [before.step])
    said = [row.get("rounded_at") for row in there.read_metrics()]
    assert said == [None, None, None, before.step, before.step]
    assert {"config.toml", "env.json", "metrics.jsonl"} <= {path.name for path in there.path.iterdir()}
    assert there.read_metrics()[:3] == stopped.read_metrics()
    assert export(there, tmp_path / "small").read_metrics()[-1]["rounded_at"] == before.step


def test_it_is_much_smaller_than_a_checkpoint(stopped, tmp_path):
    """Eight bytes a parameter instead of twelve, and text compressed."""
    pack(stopped, tmp_path / "one.state")
    content = torch.load(tmp_path / "one.state", weights_only=True)["checkpoint"]
    assert {value.dtype for value in content["model"].values()} == {torch.float32}
    moments = [own[name] for own in content["optimiser"]["state"].values() for name in ("exp_avg", "exp_avg_sq")]
    assert {value.dtype for value in moments} == {torch.bfloat16}


def refused(words, call, *args):
    with pytest.raises(CheckpointError, match=words):
        call(*args)


@pytest.mark.parametrize("where", [30, -400])
def test_damage_is_found_and_nothing_is_written(stopped, tmp_path, where):
    file, there = tmp_path / "one.state", RunDir(tmp_path / "there")
    pack(stopped, file)
    content = bytearray(file.read_bytes())
    content[where] ^= 1
    file.write_bytes(content)
    refused("damaged", unpack, file, there)
    file.write_bytes(content[: len(content) // 2])
    refused("damaged", unpack, file, there)
    assert not there.path.exists()


def test_without_a_seal_or_with_a_payload_it_is_refused_and_not_executed(tmp_path):
    file, there = tmp_path / "one.state", RunDir(tmp_path / "there")
    torch.save({"format": "snrkit-state", "version": 1, "checkpoint": {}, "texts": {}}, file)
    refused("missing", unpack, file, there)
    torch.save(Payload(tmp_path / "pwned"), file)
    file.write_bytes(checksums.seal_zip(file.read_bytes()))
    refused("more than plain tensors", unpack, file, there)
    assert not (tmp_path / "pwned").exists()
    assert not there.path.exists()


def test_what_cannot_be_gone_on_from_is_refused(small, go, stopped, tmp_path):
    pack(stopped, tmp_path / "one.state")
    refused("holds a run already", unpack, tmp_path / "one.state", stopped)
    refused("exported copy", pack, export(stopped, tmp_path / "small"), tmp_path / "two.state")
    go(images(small, epochs=1, dtype="float64"), "double")
    with pytest.raises(CapabilityError, match="not of float32"):
        pack(RunDir(tmp_path / "double"), tmp_path / "two.state")
    assert not (tmp_path / "two.state").exists()


def test_rounded_steps_that_cannot_be_are_damage(stopped, tmp_path):
    raw = torch.load(stopped.checkpoint, weights_only=True)
    for wrong in ([10**6], [-1], [True], ["x"]):
        torch.save(raw | {"rounded": wrong}, tmp_path / "some.pt")
        refused("rounded is", load_checkpoint, tmp_path / "some.pt")
