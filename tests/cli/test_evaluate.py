"""``snrkit evaluate``: SSIM, other data, values of single points."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from snrkit.models.mlp import Mlp
from snrkit.report.collect import collect
from snrkit.runs.folder import RunDir
from snrkit.runs.kinds.evaluation import EVALUATION
from snrkit.runs.kinds.snr import SNR

SMALL = ["--set", "model.options.hidden=[6]", "--set", "model.options.latent=3", "--device", "cpu", "--quiet"]
FEW = ["--samples", 128, "--device", "cpu", "--quiet"]


@pytest.fixture
def squares(tmp_path):
    """A folder with a file of 12 x 12 grey images."""
    grey = np.random.default_rng(0).integers(0, 256, (9, 12, 12), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x_train=grey, x_test=grey[:4])
    return tmp_path


@pytest.fixture
def run(snrkit, tmp_path):
    """A small untrained model of the digits."""
    assert snrkit("train", "--data", "digits", "--epochs", 0, *SMALL, "--out", tmp_path / "run").code == 0
    return tmp_path / "run"


def evaluated(path):
    return json.loads(path.read_text())


def test_points_are_kept_and_average_to_the_scores(snrkit, run):
    assert snrkit("evaluate", "--ckpt", run, *FEW, "--points", 5, "--keep-points").code == 0
    table = pd.read_parquet(run / "evaluation.points.parquet")
    assert list(table.point) == [0, 1, 2, 3, 4]
    assert set(table.run) == {"run"}
    assert set(table.data) == {"digits:test[0:5] dynamic seed 0"}
    rows = {row["metric"]: row for row in evaluated(run / "evaluation.json")["rows"]}
    for metric in ("iwae_64", "log_p", "kl_q_p", "elbo", "ess_64", "ess"):
        assert rows[metric]["value"] == pytest.approx(table[metric].mean(), rel=1e-12)
        assert rows[metric]["sd"] == pytest.approx(table[metric].std(ddof=1), rel=1e-12)
    assert rows["active_units"]["sd"] is None
    assert "ssim" not in rows  # 8 x 8 digits are smaller than its window


def test_without_asking_no_points_are_kept(snrkit, run):
    snrkit("evaluate", "--ckpt", run, *FEW, "--points", 3)
    assert not (run / "evaluation.points.parquet").exists()


def test_ssim_of_larger_images(snrkit, squares):
    out = squares / "run"
    snrkit("train", "--data", "npz", "--set", f"data.path={squares / 'a.npz'}", "--epochs", 0, *SMALL, "--out", out)
    assert snrkit("evaluate", "--ckpt", out, *FEW, "--keep-points").code == 0
    (row,) = [row for row in evaluated(out / "evaluation.json")["rows"] if row["metric"] == "ssim"]
    kept = pd.read_parquet(out / "evaluation.points.parquet").ssim
    assert (row["value"], row["sd"]) == (pytest.approx(kept.mean()), pytest.approx(kept.std(ddof=1)))
    assert row["stderr"] == pytest.approx(row["sd"] / 2)


@pytest.fixture
def as_omniglot(monkeypatch):
    """Makes ``omniglot`` the digits with their pixels changed in some way."""
    from snrkit.data import digits

    def call(change):
        def load(spec, folder):
            dataset = digits.source.load(spec, folder)
            return replace(dataset, train=change(dataset.train), test=change(dataset.test))

        monkeypatch.setattr("snrkit.data.omniglot.source", replace(digits.source, load=load))

    return call


def test_other_data_go_to_a_file_of_their_own_and_say_so(snrkit, run, as_omniglot):
    as_omniglot(lambda pixels: pixels[:, ::-1].copy())
    for argv in ([], ["--data", "omniglot"]):
        assert snrkit("evaluate", "--ckpt", run, *FEW, "--points", 4, *argv).code == 0
    own, other = (evaluated(run / f"evaluation{name}.json") for name in ("", ".omniglot"))
    assert (own["data"], own["trained_on"]) == ("digits:test[0:4] dynamic seed 0", "digits")
    assert (other["data"], other["trained_on"]) == ("omniglot:test[0:4] dynamic seed 0", "digits")
    told = [EVALUATION.read(run / f"evaluation{name}.json").iloc[0] for name in ("", ".omniglot")]
    assert [row["data_name"] for row in told] == ["digits", "omniglot"]
    assert all(row["data"] == f"{row['data_title']}:{row['part']} {row['binarised']}" for row in told)
    assert own["rows"][1]["value"] != other["rows"][1]["value"]


def test_means_of_other_data_or_elsewhere_leave_the_runs_own(snrkit, run, as_omniglot):
    as_omniglot(lambda pixels: pixels[:, ::-1].copy())
    argv = ["evaluate", "--ckpt", run, *FEW, "--points", 3, "--keep-means"]
    assert snrkit(*argv).code == 0
    own = (run / "latents.parquet").read_bytes()
    assert snrkit(*argv, "--data", "omniglot").code == 0
    assert snrkit(*argv, "--seed", 1, "--out", run.parent / "there.json").code == 0
    assert (run / "latents.parquet").read_bytes() == own
    other = pd.read_parquet(run / "evaluation.omniglot.latents.parquet")
    assert set(other.data) == {"omniglot:test[0:3] dynamic seed 0"}
    assert set(pd.read_parquet(run.parent / "there.latents.parquet").data) == {"digits:test[0:3] dynamic seed 0"}


def test_other_data_that_do_not_fit(snrkit, run, as_omniglot):
    snrkit("evaluate", "--ckpt", run, *FEW, "--data", "gaussian").refused("gaussian holds numbers outside")
    snrkit("evaluate", "--ckpt", run, *FEW, "--data", "omniglott").refused("did you mean 'omniglot'")
    snrkit("evaluate", "--ckpt", run, *FEW, "--data", "npz").refused("--data", "none can be named here")
    as_omniglot(lambda pixels: pixels[:, :36].copy())
    snrkit("evaluate", "--ckpt", run, *FEW, "--data", "omniglot").refused("points of 36 numbers", "trained on 64")
    assert not list(run.glob("evaluation*"))


def test_snr_while_beta_is_learnt(snrkit, tmp_path):
    """``--snr-every`` measures with the beta of the moment."""
    out = tmp_path / "run"
    result = snrkit(
        "train", "--data", "digits", "--estimator", "ciwae", "--K", 3, "--set", "beta.learn=free", "--set", "beta.lr=0.01",
        "--set", "data.train_limit=40", "--epochs", 2, "--set", "update.order=random",
        "--snr-every", 1, "--snr-K", 3, "--snr-M", "1,2",
        "--snr-draws", 4, "--snr-points", 2, *SMALL, "--out", out,
    )  # fmt: skip
    assert result.code == 0
    table = SNR.read(RunDir(out).snr)
    betas = [row["beta"] for row in RunDir(out).read_metrics()]
    assert sorted(table.options.unique()) == sorted(f"beta={beta}" for beta in betas)
    assert set(table.M) == {1, 2}
    assert len(betas) == table.step.nunique() == 2


def test_zero_weights_stay_readable(snrkit, run, monkeypatch):
    """A bound of -inf is null in the file, -inf on the screen, and missing in the report."""
    joint = Mlp.log_joint
    monkeypatch.setattr(Mlp, "log_joint", lambda *args: joint(*args).where(args[2][..., 0] > -2, -torch.inf))
    shown = snrkit("evaluate", "--ckpt", run, *FEW, "--points", 5)
    assert shown.code == 0
    assert "-inf" in shown.out
    text = (run / "evaluation.json").read_text()
    rows = {row["metric"]: row for row in json.loads(text, parse_constant=pytest.fail)["rows"]}
    assert rows["elbo"]["value"] is rows["elbo"]["stderr"] is None
    assert "-infinite" in rows["elbo"]["definition"]
    assert rows["log_p"]["value"] < 0
    assert 0 < rows["zero_weights"]["value"] < 1
    read = collect([run])["evaluations"].set_index("metric")["value"]
    assert np.isnan(read["elbo"])
    assert read["log_p"] == rows["log_p"]["value"]
