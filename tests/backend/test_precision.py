"""TF32 is what a run asks for and a card has; switches are as they were afterwards."""

from contextlib import suppress

import pytest
import torch

from snrkit.backend.precision import products, require_precision
from snrkit.errors import SpecError
from snrkit.specs.run import RunSpec

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
CARDS = {(7, 5): "Turing", (8, 0): "Ampere"}


def settings():
    return [part.fp32_precision for part in (torch.backends.cuda.matmul, torch.backends.cudnn.conv)]


@pytest.fixture
def card(monkeypatch):
    """A card of a compute capability, as torch describes it."""

    def make(capability):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: CARDS[capability])

    return make


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="this torch has the older switches")
@pytest.mark.parametrize(("precision", "switch"), [("tf32", "tf32"), ("float32", "ieee")])
def test_products_of_cuda_are_as_the_run_says_within_the_block_alone(precision, switch):
    before = settings()
    with products(precision, CUDA):
        assert settings() == [switch, switch]
        with products("float32", CUDA):
            assert settings() == ["ieee", "ieee"]
        assert settings() == [switch, switch]
    assert settings() == before
    with suppress(ZeroDivisionError), products(precision, CUDA):
        raise ZeroDivisionError
    assert settings() == before


@pytest.mark.parametrize("precision", ["tf32", "float32"])
def test_on_a_processor_no_switch_is_touched(precision):
    before = settings()
    with products(precision, CPU):
        assert settings() == before


def test_a_device_without_tf32_refuses_it_and_nothing_else(card):
    with pytest.raises(SpecError, match="precision: tf32 is of CUDA devices, and this run computes on cpu"):
        require_precision("tf32", CPU)
    card((7, 5))
    with pytest.raises(SpecError, match="precision: Turing has no TF32"):
        require_precision("tf32", CUDA)
    card((8, 0))
    require_precision("tf32", CUDA)
    require_precision("float32", CPU)


def test_a_run_says_its_precision_and_is_another_by_it():
    plain, rounded = RunSpec(), RunSpec(precision="tf32")
    assert rounded.identity() != plain.identity() == RunSpec(precision="float32").identity()
    assert 'precision = "tf32"' in rounded.to_toml()
    assert 'precision = "float32"' in plain.to_toml()
    assert RunSpec.from_toml(rounded.to_toml(), "text") == rounded
    with pytest.raises(SpecError, match="precision: tf32 is a way to multiply float32, and dtype is float64"):
        RunSpec.parse({"precision": "tf32", "dtype": "float64"}, "test")
    with pytest.raises(SpecError, match="'float32' or 'tf32'"):
        RunSpec.parse({"precision": "bfloat16"}, "test")


def test_tf32_on_a_processor_is_refused_before_anything_is_written(go, small, tmp_path):
    with pytest.raises(SpecError, match="device=cuda"):
        go(small(precision="tf32"))
    assert not list(tmp_path.rglob("*.pt"))
