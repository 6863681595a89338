"""The faster linear layers compute what torch's do."""

import platform
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from snrkit.backend import kernels
from snrkit.backend.memory import keep_freed_memory
from snrkit.models.activations import Tanh
from snrkit.models.densities import bernoulli_log_prob


@pytest.fixture(params=[True, False], ids=["onednn", "own"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Either library, whichever the processor prefers."""
    if request.param and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(kernels, "_onednn_is_faster", lambda: request.param)
    return bool(request.param)


def _relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("rows", [1, 29, 30, 333])
@pytest.mark.parametrize("sizes", [(7, 5), (200, 784), (784, 200)])
@pytest.mark.usefixtures("library")
def test_products_equal_those_in_float64(rows: int, sizes: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, sizes[0], generator=generator)
    weight, bias = torch.randn(sizes[1], sizes[0], generator=generator), torch.randn(sizes[1], generator=generator)
    d = torch.randn(rows, sizes[1], generator=generator)
    assert _relative(kernels.linear(x, weight, bias), x.double() @ weight.double().T + bias.double()) < 1e-6
    assert _relative(kernels.outer_sum(x, d), x.double().T @ d.double()) < 1e-6


@pytest.mark.usefixtures("library")
def test_gradients_through_diverted_layers_equal_torchs() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(120, 100), nn.ReLU(inplace=True), nn.Linear(100, 130, bias=False))
    x = torch.randn(4, 3, 50, 120, requires_grad=True)
    wanted = [x, *network.parameters()]
    expected = torch.autograd.grad(network(x).square().sum(), wanted)
    with kernels.FastLinear():
        found = torch.autograd.grad(network(x).square().sum(), wanted)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.is_contiguous()
        assert _relative(ours, theirs.double()) < 1e-5


def test_double_precision_keeps_to_torchs_own_way(library: bool) -> None:
    layer, x = nn.Linear(200, 784).double(), torch.randn(64, 200, dtype=torch.float64)
    with kernels.FastLinear():
        assert torch.equal(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias)), library


@pytest.mark.parametrize(
    ("maker", "vectors", "mkl", "chosen"),
    [
        ("AuthenticAMD", "AVX512", True, True),
        ("AuthenticAMD", "AVX512", False, False),
        ("AuthenticAMD", "AVX2", True, False),
        ("GenuineIntel", "AVX512", True, False),
        ("", "DEFAULT", False, False),
    ],
)
def test_the_kind_of_machine_chooses_the_library(
    maker: str, vectors: str, mkl: bool, chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernels.has_onednn():
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(kernels, "maker", lambda: maker)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: vectors)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    assert kernels._onednn_is_faster.__wrapped__() is chosen


def test_no_stopwatch_chooses_for_processes_of_one_machine_would_choose_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> float:
        raise AssertionError("a clock was read")

    for name in ("perf_counter", "perf_counter_ns", "monotonic", "time", "process_time"):
        monkeypatch.setattr(time, name, refused)
    assert kernels._onednn_is_faster.__wrapped__() is kernels._onednn_is_faster.__wrapped__()


_PRECISION = """
import os, sys, torch
from torch.backends import cuda, cudnn
from snrkit.backend.kernels import full_precision
def settings():
    return torch.backends.fp32_precision, *(b.fp32_precision for b in (cuda.matmul, cudnn, cudnn.conv, cudnn.rnn))
def child(choice, kept):
    exec(choice)
    before = settings()
    for _ in range(2):
        with full_precision():
            assert set(settings()[1:2] + settings()[3:]) == {"ieee"}, settings()
        assert settings() == before, settings()
    exec(kept)
for choice, kept in zip(sys.argv[1::2], sys.argv[2::2]):
    pid = os.fork()
    if not pid:
        child(choice, kept)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0, choice
"""
_CHOICES = {
    "torch.backends.fp32_precision = 'tf32'": "",
    "cuda.matmul.fp32_precision = 'tf32'; cudnn.conv.fp32_precision = 'ieee'": "",
    "torch.set_float32_matmul_precision('medium')": "assert torch.get_float32_matmul_precision() == 'medium'",
    "cudnn.allow_tf32 = False": "assert not cudnn.allow_tf32",
    "": "assert cudnn.allow_tf32 and not cuda.matmul.allow_tf32",
}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="this torch has one way only")
def test_full_precision_leaves_every_choice_as_it_was() -> None:
    """In processes of their own, since some choices cannot be taken back."""
    arguments = [text for pair in _CHOICES.items() for text in pair]
    subprocess.run([sys.executable, "-c", _PRECISION, *arguments], check=True)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_glibc_keeps_freed_memory() -> None:
    assert keep_freed_memory()


@pytest.mark.parametrize("pixels", [1, 97, 98, 99, 784])
def test_bernoulli_equals_the_textbook_in_value_and_gradient(pixels: int) -> None:
    torch.manual_seed(1)
    logits = (30 * torch.randn(3, 2, 4, pixels, dtype=torch.float64)).requires_grad_()
    x = torch.rand(3, 1, 1, pixels, dtype=torch.float64, requires_grad=True)
    log_sigmoid = torch.nn.functional.logsigmoid
    textbook = (x * log_sigmoid(logits) + (1 - x) * log_sigmoid(-logits)).sum(dim=-1)
    value = bernoulli_log_prob(x, logits)
    torch.testing.assert_close(value, textbook, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(value)
    expected = torch.autograd.grad((weights * textbook).sum(), (x, logits))
    for ours, theirs in zip(torch.autograd.grad((weights * value).sum(), (x, logits)), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("in_dims", [(0, 0), (None, 0), (0, None)])
def test_bernoulli_under_vmap_equals_one_by_one(in_dims: tuple[int | None, int | None]) -> None:
    torch.manual_seed(2)
    x = torch.rand(5, 3, 1, 1, 20, dtype=torch.float64)[slice(None) if in_dims[0] == 0 else 0]
    logits = torch.randn(5, 3, 2, 4, 20, dtype=torch.float64)[slice(None) if in_dims[1] == 0 else 0]
    found = torch.func.vmap(bernoulli_log_prob, in_dims)(x, logits)
    for i in range(5):
        single = bernoulli_log_prob(x[i] if in_dims[0] == 0 else x, logits[i] if in_dims[1] == 0 else logits)
        torch.testing.assert_close(found[i], single)


def test_saturated_pixels_stay_finite_in_float32() -> None:
    logits = torch.tensor([[-200.0, 200.0, 90.0]], requires_grad=True)
    value = bernoulli_log_prob(torch.tensor([0.0, 1.0, 0.0]), logits)
    assert value.item() == -90.0
    assert torch.isfinite(torch.autograd.grad(value.sum(), logits)[0]).all()


def test_tanh_is_within_rounding_of_torchs() -> None:
    x = torch.linspace(-12, 12, 100_001, requires_grad=True)
    y = Tanh()(x)
    assert float((y.double() - torch.tanh(x.double())).abs().max().detach()) < 2.5e-7
    slope = torch.autograd.grad(y.sum(), x)[0]
    assert float((slope.double() - (1 - torch.tanh(x.double()).square())).abs().max().detach()) < 5e-7


@pytest.mark.skipif(not hasattr(torch.backends.mkldnn, "matmul"), reason="this torch has no such switch")
def test_products_on_a_processor_are_of_full_precision():
    switch = torch.backends.mkldnn.matmul
    before = switch.fp32_precision
    try:
        switch.fp32_precision = "bf16"
        with kernels.full_precision():
            assert switch.fp32_precision == "ieee"
        assert switch.fp32_precision == "bf16"
    finally:
        switch.fp32_precision = before
