"""The same contracts on an NVIDIA GPU."""

import numpy as np
import pytest
import torch

import snrkit
from snrkit.cli.main import main
from tests.zoo import conv, flow, images, mlp, users

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


@pytest.mark.parametrize("make", [mlp, users, flow, conv])
def test_engines_agree(make):
    model = make().to("cuda")
    tables = [
        snrkit.measure(model, images(), ["iwae", "dreg"], K=[1, 5], M=[1, 3], draws=60, engine=engine)
        for engine in ("loop", "vmap", "factors")
    ]
    for table in tables[1:]:
        np.testing.assert_allclose(table.value, tables[0].value, rtol=1e-6)
    assert "cpu" not in set(tables[0].device)


def test_cpu_and_gpu_agree_within_errors():
    """Their random numbers differ, so only the distributions can agree."""
    tables = [snrkit.measure(mlp().to(device), images(), ["iwae"], K=[5], draws=2000) for device in ("cpu", "cuda")]
    one, two = (t[t.metric.isin(["variance", "snr_pooled_squared"])] for t in tables)
    z = (one.value - two.value) / np.hypot(one.stderr, two.stderr)
    assert z.abs().max() < 4.5


@pytest.mark.parametrize("model", ["mlp", "conv"])
def test_train_resume_and_measure(model, tmp_path):
    hidden = "[8]" if model == "mlp" else "8"

    def run(*argv):
        main([str(a) for a in argv])

    common = ("--data", "digits", "--model", model, "--set", f"model.options.hidden={hidden}", "--K", 5,
              "--set", "model.options.latent=3",
              "--device", "cuda", "--quiet")  # fmt: skip
    run("train", *common, "--epochs", 2, "--out", tmp_path / "a")
    run("train", *common, "--epochs", 1, "--out", tmp_path / "b")
    run("train", "--resume", "--epochs", 2, "--device", "cuda", "--quiet", "--out", tmp_path / "b")
    a, b = (torch.load(tmp_path / name / "run.pt", weights_only=True)["model"] for name in ("a", "b"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    run("snr", "--ckpt", tmp_path / "a", "--K", "1,3", "--draws", 40, "--data-points", 2, "--device", "cuda", "--quiet")
    run("evaluate", "--ckpt", tmp_path / "a", "--samples", 128, "--points", 3, "--device", "cuda", "--quiet")
