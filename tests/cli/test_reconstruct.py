"""``snrkit reconstruct`` and ``snrkit evaluate --keep-means`` as a user meets them."""

import json

import numpy as np
import pandas as pd
import pytest

from snrkit.data import load
from snrkit.specs.run import DataSpec

FEW = ["--resample", 6, "--points", "0-2,9", "--samples", 2, "--device", "cpu"]


@pytest.fixture
def digits_run(snrkit, tmp_path):
    """A two-layer model of the digits, not trained."""
    settings = ["model.options.latents=[3,2]", "model.options.hidden=[[6],[5]]"]
    argv = [part for setting in settings for part in ("--set", setting)]
    assert snrkit("train", "--model", "hierarchical", *argv, "--epochs", 0, "--out", tmp_path / "two").code == 0
    return tmp_path / "two"


def test_files_and_summary(snrkit, digits_run):
    result = snrkit("reconstruct", "--ckpt", digits_run, *FEW)
    assert (result.code, result.err) == (0, "")
    table = pd.read_parquet(digits_run / "reconstructions.parquet")
    assert table.groupby("kind").size().to_dict() == {"input": 4, "q": 8, "q_iw": 8}
    assert sorted(table.point.unique()) == [0, 1, 2, 9]
    assert set(table.k) == {6}
    assert (table.height.iloc[0], table.width.iloc[0]) == (8, 8)
    assert table.data.unique().tolist() == ["digits:test[0,1,2,9] dynamic seed 0"]
    assert (digits_run / "reconstructions.png").read_bytes()[:4] == b"\x89PNG"
    assert (digits_run / "reconstructions.pdf").read_bytes()[:4] == b"%PDF"
    assert "log p(x|z) of q_iw - q" in result.out
    assert str(digits_run / "reconstructions.pdf") in result.out


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(snrkit, digits_run, tmp_path):
    for name, seed in (("a", 3), ("b.parquet", 3), ("c.pdf", 4)):
        assert snrkit("reconstruct", "--ckpt", digits_run, *FEW, "--seed", seed, "--out", tmp_path / name).code == 0
    for ending in ("parquet", "pdf", "png"):
        one, same, other = ((tmp_path / f"{name}.{ending}").read_bytes() for name in "abc")
        assert one == same
        assert one != other


def test_json_is_one_object(snrkit, digits_run):
    result = snrkit("reconstruct", "--ckpt", digits_run, *FEW, "--json")
    found = json.loads(result.out, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    table = pd.read_parquet(digits_run / "reconstructions.parquet")
    kind = table.groupby("kind").log_likelihood.mean()
    assert found["log_likelihood"]["q"][0] == pytest.approx(kind["q"])
    assert found["log_likelihood"]["q_iw - q"][0] == pytest.approx(kind["q_iw"] - kind["q"])
    assert len(found["files"]) == 3


@pytest.mark.slow
def test_ssim_of_larger_images(snrkit, tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (9, 12, 12), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x_train=grey, x_test=grey[:4])
    data = ["--data", "npz", "--set", f"data.path={tmp_path / 'a.npz'}", "--epochs", 0]
    assert snrkit("train", *data, "--set", "model.options.hidden=[6]", "--out", tmp_path / "run").code == 0
    argv = ["reconstruct", "--ckpt", tmp_path / "run", "--points", "0-3", "--resample", 6, "--samples", 2]
    found = json.loads(snrkit(*argv, "--json").out)["ssim"]
    table = pd.read_parquet(tmp_path / "run" / "reconstructions.parquet")
    assert table.ssim[table.kind == "input"].isna().all()
    points = table[table.kind == "q_iw"].groupby("point").ssim.mean()
    assert found["q_iw"] == [pytest.approx(points.mean()), pytest.approx(points.sem())]
    value, stderr = found["q"]
    assert f"SSIM of q: {value:.3f} ± {stderr:.3f}, mean over points: 4" in snrkit(*argv).out


def test_images_smaller_than_the_window_have_no_ssim(snrkit, digits_run):
    result = snrkit("reconstruct", "--ckpt", digits_run, *FEW, "--json")
    assert "ssim" not in json.loads(result.out)
    assert "ssim" not in pd.read_parquet(digits_run / "reconstructions.parquet")


def test_one_point_has_no_standard_error(snrkit, digits_run):
    argv = ["reconstruct", "--ckpt", digits_run, "--points", 4, "--resample", 1]
    assert json.loads(snrkit(*argv, "--json").out)["log_likelihood"]["q_iw - q"] == [0, None]
    text = snrkit(*argv).out
    assert "log p(x|z) of q_iw - q: 0.00 nats" in text
    assert "±" not in text


@pytest.mark.rest_slow
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--resample", 0], ["--resample", "0"]),
        (["--samples", 0], ["--samples"]),
        (["--points", "3-1"], ["--points", "backwards"]),
        (["--points", "a"], ["--points", "'a'", "0-9,12"]),
        (["--points", "1,-2"], ["--points", "'-2'"]),
        (["--points", "0,300"], ["no test point 300", "0 to 299"]),
        (["--ckpt", "nowhere"], ["no checkpoint at 'nowhere'"]),
        (["--out", "/proc/no/file"], ["/proc/no/file.parquet", "cannot be written"]),
    ],
)
def test_bad_input(snrkit, digits_run, argv, words, contents):
    before = contents(digits_run)
    assert snrkit("reconstruct", "--ckpt", digits_run, *argv).refused(*words)
    assert contents(digits_run) == before


def test_a_model_without_pixels(snrkit, toy_run):
    assert snrkit("reconstruct", "--ckpt", toy_run, "--points", 0).refused("Gaussian has no pixel_means")


def test_evaluate_keeps_means_and_labels(snrkit, digits_run):
    argv = ["--ckpt", digits_run, "--samples", 128, "--points", 5, "--quiet", "--keep-means", "--json"]
    result = snrkit("evaluate", *argv)
    assert result.code == 0
    metrics = [row["metric"] for row in json.loads(result.out)["rows"]]
    assert metrics[-2:] == ["active_units_1", "active_units_2"]
    table = pd.read_parquet(digits_run / "latents.parquet")
    assert list(zip(table.layer, table.point, strict=True)) == [
        (layer, point) for layer in (1, 2) for point in range(5)
    ]
    assert table.loc[table.layer == 1, ["z1", "z2", "z3"]].notna().all(axis=None)
    assert table.loc[table.layer == 2, "z3"].isna().all()
    expected = load(DataSpec(), None).test_labels[:5]
    np.testing.assert_array_equal(table.label[table.layer == 2].astype(int), expected)


def test_data_without_labels(snrkit, toy_run):
    assert snrkit("evaluate", "--ckpt", toy_run, "--samples", 128, "--points", 3, "--keep-means").code == 0
    assert pd.read_parquet(toy_run / "latents.parquet").label.isna().all()
    assert not (toy_run / "reconstructions.parquet").exists()
