"""``snrkit snr`` and ``snrkit evaluate`` as a user meets them."""

import contextlib
import errno
import json
import os
import tomllib

import numpy as np
import pandas as pd
import pytest
import torch

from snrkit import files
from snrkit.data import load
from snrkit.diagnostics.worker import Worker
from snrkit.models.gaussian import Gaussian
from snrkit.runs.checkpoint import load_checkpoint
from snrkit.runs.kinds.snr import SNR
from tests.support.metric import installed_metric
from tests.support.program import TOY

FEW = ["--K", "3,1", "--draws", 40, "--data-points", 4, "--device", "cpu"]


class Payload:
    """Unpickling it makes a directory."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.fixture(params=["snr", "evaluate"])
def measuring(request):
    return request.param


@pytest.fixture
def npz_run(snrkit, tmp_path):
    """An mlp on a user's own file of 9 grey pixels."""
    file = tmp_path / "mine.npz"
    grey = np.random.default_rng(0).integers(0, 255, (23, 9), dtype=np.uint8)
    np.savez(file, x_train=grey, x_test=grey[:7])
    argv = ["--data", "npz", "--set", f"data.path={file}", "--set", "model.options.hidden=[6]", "--epochs", 0]
    assert snrkit("train", *argv, "--set", "model.options.latent=2", "--out", tmp_path / "mlp").code == 0
    return tmp_path / "mlp", file


def test_snr_writes_the_table_and_shows_it(snrkit, toy_run):
    result = snrkit("snr", "--ckpt", toy_run, *FEW, "--M", "1,5")
    assert (result.code, result.err) == (0, "")
    table = SNR.read(toy_run / "snr.parquet")
    assert set(zip(table.M, table.K, strict=True)) == {(1, 1), (1, 3), (5, 1), (5, 3)}
    assert set(table.estimator) == {"iwae"}
    assert (table.run == "toy").all()
    assert table.data.unique().tolist() == ["gaussian:test[0:4] none seed 0"]
    assert "SNR inference" in result.out
    assert str(toy_run / "snr.parquet") in result.out


def test_the_file_itself_serves_as_ckpt(snrkit, toy_run):
    assert snrkit("snr", "--ckpt", toy_run / "run.pt", *FEW).code == 0
    assert (toy_run / "snr.parquet").exists()


def test_snr_json_is_one_object(snrkit, toy_run):
    result = snrkit("snr", "--ckpt", toy_run, *FEW, "--json")
    found = json.loads(result.out, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    assert len(found["rows"]) == len(SNR.read(toy_run / "snr.parquet"))
    assert result.err == ""


def test_what_cannot_be_had_is_said(snrkit, toy_run):
    argv = ["snr", "--ckpt", toy_run, *FEW, "--M", "1,5", "--dsnr"]
    assert "note: no DSNR at M=5" in snrkit(*argv).out
    assert len(json.loads(snrkit(*argv, "--json").out)["remarks"]) == 1


def test_snr_twice_merges(snrkit, toy_run):
    snrkit("snr", "--ckpt", toy_run, *FEW)
    first = SNR.read(toy_run / "snr.parquet")
    snrkit("snr", "--ckpt", toy_run, "--K", "3,7", "--draws", 44, "--data-points", 4)
    both = SNR.read(toy_run / "snr.parquet")
    assert both.groupby("K").draws.unique().map(list).to_dict() == {1: [40], 3: [44], 7: [44]}
    assert len(both) == len(first) * 3 // 2
    old = first[first.K == 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(both[both.K == 1].reset_index(drop=True), old)


def test_what_was_drawn_otherwise_is_kept(snrkit, toy_run):
    """Other seeds and direct draws stand beside the old rows."""
    for more in ([], ["--seed", 1], ["--direct"]):
        snrkit("snr", "--ckpt", toy_run, *FEW, *more)
    rows = SNR.read(toy_run / "snr.parquet")
    assert set(zip(rows.seed, rows.method, strict=True)) == {(0, "units"), (1, "units"), (0, "direct")}
    assert (rows.direct == (rows.method == "direct")).all()


def test_an_interrupted_snr_goes_on_and_never_replaces_finished_rows(snrkit, toy_run, monkeypatch):
    argv = ["snr", "--ckpt", toy_run, *FEW, "--data-points", 4]
    snrkit(*argv)
    finished = SNR.read(toy_run / "snr.parquet")
    left = iter(range(1000))

    @contextlib.contextmanager
    def after(blocks):
        yield lambda: next(left) >= blocks

    for blocks, more in ((1, []), (9, []), (9, ["--draws", 60])):
        left = iter(range(1000))
        monkeypatch.setattr("snrkit.interrupt.stop_requests", lambda blocks=blocks: after(blocks))
        stopped = snrkit(*argv, "--seed", 2, *more)
        assert stopped.code == 130
        assert "the same command goes on" in stopped.err
    monkeypatch.undo()
    assert snrkit(*argv, "--seed", 2).code == 0
    rows = SNR.read(toy_run / "snr.parquet")
    pd.testing.assert_frame_equal(rows[rows.seed == 0].reset_index(drop=True), finished)
    assert rows.complete.all()
    snrkit("snr", "--ckpt", toy_run, *FEW, "--data-points", 4, "--seed", 2, "--out", toy_run / "again.parquet")
    again = SNR.read(toy_run / "again.parquet")
    mine = rows[rows.seed == 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(mine.drop(columns="seconds"), again.drop(columns="seconds"))


@pytest.mark.slow
def test_snr_on_a_run_with_another_estimator_and_its_own_options(snrkit, tmp_path):
    argv = ["--estimator", "ciwae", "--option", "beta=0.25", "--epochs", 0, "--out", tmp_path / "run"]
    snrkit("train", *TOY, *argv)
    for more, expected in (
        ([], {("ciwae", "beta=0.25")}),
        (["--option", "beta=0.75"], {("ciwae", "beta=0.75")}),
        (["--estimator", "vae,iwae,vae"], {("vae", ""), ("iwae", "")}),
        (["--estimator", "iwae,ciwae", "--option", "beta=1"], {("iwae", ""), ("ciwae", "beta=1")}),
    ):
        result = snrkit("snr", "--ckpt", tmp_path / "run", *FEW, *more, "--json")
        rows = pd.DataFrame(json.loads(result.out)["rows"])
        assert set(zip(rows.estimator, rows.options, strict=True)) == expected
        assert not rows.duplicated(["scope", "estimator", "options", "M", "K", "block", "metric"]).any()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--K", "0"], ["--K", "at least 1"]),
        (["--K", "1,x"], ["--K", "'1,x'"]),
        (["--M", "0"], ["--M"]),
        (["--data-points", "24"], ["24 asked for", "23"]),
        (["--data-points", "0"], ["--data-points"]),
        (["--draws", "1"], ["draws", "at least"]),
        (["--draws", "x"], ["--draws"]),
        (["--engine", "vmpa"], ["engine", "did you mean 'vmap'"]),
        (["--block", "encoder"], ["--block", "'encoder'", "inference"]),
        (["--block", "all", "--samples", "separate"], ["--block", "both networks"]),
        (["--metrics", "snr_meen"], ["--metrics", "did you mean 'snr_mean'"]),
        (["--metrics", "bias_norm"], ["bias", "needs a target"]),
        (["--keep-draws", "weight[0]"], ["--keep-draws", "no coordinate"]),
        (["--set", "measure.keep=weight[0]"], ["keep", "no coordinate"]),
        (["--set", "measure=3"], ["measure", "no table, got 3", "[measure]"]),
        (["--block", ""], ["--block"]),
        (["--estimator", "iwea"], ["did you mean 'iwae'"]),
        (["--estimator", ","], ["--estimator"]),
        (["--option", "nonsense=1"], ["--option", "nonsense"]),
        (["--option", "beta"], ["--option"]),
        (["--chunk", "0"], ["chunk"]),
        (["--chunk", "x"], ["--chunk"]),
        (["--seed", "-1"], ["--seed"]),
        (["--seed", str(2**63)], ["--seed"]),
        (["--out", "table.csv"], ["--out", ".parquet"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_to_snr(snrkit, toy_run, contents, argv, words):
    before = contents(toy_run)
    snrkit("snr", "--ckpt", toy_run, *FEW, *argv).refused(*words)
    assert contents(toy_run) == before


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--samples", "127"], ["--samples", "128"]),
        (["--points", "1"], ["--points"]),
        (["--points", "24"], ["24 asked for", "23"]),
        (["--seed", "-1"], ["--seed"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_to_evaluate(snrkit, toy_run, contents, argv, words):
    before = contents(toy_run)
    snrkit("evaluate", "--ckpt", toy_run, *argv).refused(*words)
    assert contents(toy_run) == before


def test_evaluate_the_toy_against_its_exact_marginal(snrkit, toy_run):
    result = snrkit("evaluate", "--ckpt", toy_run, "--device", "cpu", "--json")
    assert result.err == ""
    found = json.loads(result.out, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    assert found == json.loads((toy_run / "evaluation.json").read_text())
    assert (found["points"], found["samples"], found["data"]) == (23, 5000, "gaussian:test[0:23] none seed 0")
    value = {row["metric"]: row["value"] for row in found["rows"]}
    saved = load_checkpoint(toy_run)
    x = torch.from_numpy(load(saved.run_spec().data, None).test)
    exact = float(saved.restore_model(torch.device("cpu")).log_marginal(x).detach().mean())
    # Errors over the noise, not over points: sd(w/p)/sqrt(K) per point, averaged over the 23.
    error = np.sqrt((5000 / value["ess"] - 1) / 5000 / 23)
    assert value["iwae_64"] <= value["log_p"] + 1e-12
    assert value["elbo"] < value["iwae_64"] < exact
    assert abs(value["log_p"] - exact) < 4 * error < 0.2
    assert value["kl_q_p"] == pytest.approx(value["log_p"] - value["iwae_64"], abs=1e-10)
    assert value["active_units"] == 3


def test_evaluate_shows_a_table(snrkit, toy_run):
    result = snrkit("evaluate", "--ckpt", toy_run, "--samples", 128, "--points", 3, "--quiet")
    assert (result.code, result.err) == (0, "")
    assert all(name in result.out for name in ("log_p", "iwae_64", "kl_q_p", "active_units"))


def test_out(snrkit, toy_run, tmp_path):
    snrkit("evaluate", "--ckpt", toy_run, "--samples", 128, "--out", tmp_path / "new" / "e.json")
    snrkit("snr", "--ckpt", toy_run, *FEW, "--out", tmp_path / "new" / "s.parquet")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["e.json", "s.parquet", "s.toml"]
    assert not (toy_run / "snr.parquet").exists()


def test_output_that_cannot_be_written_is_told_before_the_work(snrkit, toy_run, measuring, monkeypatch):
    monkeypatch.setattr("snrkit.diagnostics.measure.measure", lambda *args, **kw: pytest.fail("measured"))
    monkeypatch.setattr("snrkit.evaluation.bounds.checked_scores", lambda *args, **kw: pytest.fail("evaluated"))
    below = toy_run / "run.pt" / "a.parquet"
    snrkit(measuring, "--ckpt", toy_run, "--out", below).refused("cannot be written", "--out")
    if measuring == "snr":
        (toy_run / "snr.parquet").write_bytes(b"damaged")
        snrkit("snr", "--ckpt", toy_run).refused("snr.parquet", "not a readable Parquet")
        assert (toy_run / "snr.parquet").read_bytes() == b"damaged"


def test_checkpoints_that_are_none(snrkit, toy_run, measuring, tmp_path):
    whole = (toy_run / "run.pt").read_bytes()
    raw = torch.load(toy_run / "run.pt", weights_only=True)
    bad = tmp_path / "bad.pt"

    def check(*words):
        snrkit(measuring, "--ckpt", bad).refused(*words)

    check("--ckpt", "no checkpoint")
    for content in (b"", b"hello", whole[:700]):
        bad.write_bytes(content)
        check("bad.pt", "damaged")
    torch.save({"weight": torch.ones(3)}, bad)
    check("not a checkpoint of snrkit")
    torch.save(raw | {"version": 99}, bad)
    check("format 99 is newer")
    torch.save(raw | {"running": Payload(tmp_path / "pwned")}, bad)
    check("more than plain tensors")
    assert not (tmp_path / "pwned").exists()


def test_data_whose_size_changed_since_training(snrkit, npz_run, measuring):
    run, file = npz_run
    few = ["--data-points", 3, "--draws", 20, "--K", 2] if measuring == "snr" else ["--samples", 128]
    assert snrkit(measuring, "--ckpt", run, *few).code == 0
    grey = np.random.default_rng(0).integers(0, 255, (23, 16), dtype=np.uint8)
    np.savez(file, x_train=grey, x_test=grey[:7])
    snrkit(measuring, "--ckpt", run, *few).refused(str(file), "16", "9")
    file.unlink()
    snrkit(measuring, "--ckpt", run, *few).refused(str(file), "no such file")


def test_measuring_leaves_the_run_and_the_global_generators_alone(snrkit, toy_run, measuring, contents):
    torch.manual_seed(5)
    np.random.seed(5)
    before = contents(toy_run), torch.get_rng_state(), np.random.get_state()[1].copy()
    argv = FEW if measuring == "snr" else ["--samples", 128]
    snrkit(measuring, "--ckpt", toy_run, *argv)
    snrkit(measuring, "--ckpt", toy_run, *argv)
    after = contents(toy_run)
    assert {name: after[name] for name in before[0]} == before[0]
    assert torch.equal(before[1], torch.get_rng_state())
    assert np.array_equal(before[2], np.random.get_state()[1])


@pytest.mark.slow
def test_loose_checkpoints_of_one_folder_have_results_of_their_own(snrkit, toy_run, measuring, tmp_path):
    """Neither overwrites what the other has, though both lie in one folder and stand at the same step."""
    folder = tmp_path / "loose"
    folder.mkdir()
    few = [*FEW] if measuring == "snr" else ["--samples", 128, "--points", 3]
    for name in ("a", "b"):
        (folder / f"{name}.pt").write_bytes((toy_run / "run.pt").read_bytes())
        assert snrkit(measuring, "--ckpt", folder / f"{name}.pt", *few).code == 0
    kind = "snr.parquet" if measuring == "snr" else "evaluation.json"
    assert sorted(path.name for path in folder.glob(f"*{kind}")) == [f"a.{kind}", f"b.{kind}"]
    if measuring == "snr":
        assert set(SNR.read(folder / f"a.{kind}").run) == {"a"}
    else:
        assert json.loads((folder / f"b.{kind}").read_text())["run"] == "b"


def test_rows_of_another_run_of_the_same_name_are_not_replaced(snrkit, tmp_path):
    table = tmp_path / "all.parquet"
    for seed in (0, 1):
        assert snrkit("train", *TOY, "--epochs", 1, "--seed", seed, "--out", tmp_path / f"s{seed}" / "vae").code == 0
    assert snrkit("snr", "--ckpt", tmp_path / "s0" / "vae", *FEW, "--out", table).code == 0
    before = table.read_bytes()
    refused = snrkit("snr", "--ckpt", tmp_path / "s1" / "vae", *FEW, "--out", table)
    assert refused.refused(str(table), "a run 'vae' that were measured on other parameters at step 5")
    assert table.read_bytes() == before
    assert snrkit("snr", "--ckpt", tmp_path / "s0" / "vae", *FEW, "--K", 7, "--out", table).code == 0


@pytest.mark.rest_slow
@pytest.mark.parametrize("last", ["snr.parquet", "snr.draws.parquet"])
def test_a_disk_that_fills_up_at_the_last_write_loses_no_draws(snrkit, toy_run, monkeypatch, last):
    argv = ["snr", "--ckpt", toy_run, "--K", 3, "--draws", 40, "--data-points", 4, "--device", "cpu"]
    argv += ["--estimator", "iwae,vae", "--keep-draws", "largest"]
    replace = files.Path.replace

    def full(self, target):
        if target.name == last:
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(files.Path, "replace", full)
        failed = snrkit(*argv)
    assert failed.code != 0
    assert "no space left on device" in failed.err
    assert failed.err.count("\n") == 1
    assert list((toy_run / "snr.partial").iterdir())
    drawn = []
    points = Worker.block
    monkeypatch.setattr(Worker, "block", lambda *args: (drawn.append(args), points(*args))[1])
    assert snrkit(*argv).code == 0
    assert drawn == []
    assert SNR.read(toy_run / "snr.parquet").complete.all()
    assert (toy_run / last).exists()
    assert not (toy_run / "snr.partial").exists()


def test_a_run_directory_renamed_while_it_is_measured_does_not_come_back(snrkit, toy_run, monkeypatch):
    points = Worker.block

    def then_renamed(*args):
        if toy_run.exists():
            toy_run.rename(toy_run.with_name("elsewhere"))
        return points(*args)

    monkeypatch.setattr(Worker, "block", then_renamed)
    result = snrkit("snr", "--ckpt", toy_run, *FEW)
    assert result.code != 0
    assert "deleted, renamed or replaced" in result.err
    assert not toy_run.exists()


def test_an_older_checkpoint_is_measured_with_one_line_about_it(snrkit, toy_run):
    content = torch.load(toy_run / "run.pt", weights_only=True)
    torch.save(content, toy_run / "run.pt")
    result = snrkit("snr", "--ckpt", toy_run, *FEW)
    assert result.code == 0
    assert result.err.startswith(f"note: {toy_run / 'run.pt'}: from before checksums")
    assert result.err.count("\n") == 1
    assert snrkit("snr", "--ckpt", toy_run, *FEW, "--quiet").err == ""


@pytest.mark.slow
def test_a_measurement_is_written_down_and_repeated_from_there(snrkit, toy_run, tmp_path):
    flags = [
        *FEW,
        "--estimator",
        "iwae,ciwae",
        "--option",
        "beta=0.25",
        "--engine",
        "vmap",
        "--chunk",
        7,
        "--block",
        "all",
    ]
    assert snrkit("snr", "--ckpt", toy_run, *flags, "--out", tmp_path / "one.parquet").code == 0
    written = tomllib.loads((tmp_path / "one.toml").read_text())
    assert written["execution"] == {"engine": "vmap", "chunk": 7}
    assert written["measure"]["estimators"][1] == {"name": "ciwae", "options": {"beta": 0.25}}
    assert (written["measure"]["K"], written["measure"]["draws"]) == ([3, 1], 40)
    again = ["snr", "--ckpt", toy_run, "--config", tmp_path / "one.toml", "--device", "cpu"]
    assert snrkit(*again, "--out", tmp_path / "two.parquet").code == 0
    one, two = (SNR.read(tmp_path / f"{name}.parquet").drop(columns="seconds") for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two)
    assert (tmp_path / "two.toml").read_text() == (tmp_path / "one.toml").read_text()
    over = ["--K", 2, "--set", "measure.draws=8", "--option", "beta=0.5", "--out", tmp_path / "three.parquet"]
    assert snrkit(*again, *over).code == 0
    three = SNR.read(tmp_path / "three.parquet")
    assert (set(three.K), set(three.draws), set(three.options)) == ({2}, {8}, {"", "beta=0.5"})


def test_a_file_of_a_run_says_what_is_measured_too(snrkit, toy_run, tmp_path):
    (tmp_path / "run.toml").write_text(
        "epochs = 3\n[measure]\nevery = 2\nK = [2]\ndraws = 8\n[data]\nname = 'digits'\n"
    )
    assert snrkit("snr", "--ckpt", toy_run, "--config", tmp_path / "run.toml", "--device", "cpu").code == 0
    table = SNR.read(toy_run / "snr.parquet")
    assert (set(table.K), set(table.draws)) == ({2}, {8})
    for wrong, said in (
        ("measure.kays=3", "measure.kays: no such setting"), ("K=3", "did you mean 'measure.K'"),
        ("measure.K=0", "measure.K: must be an integer of at least 1"), ("execution.chunk=0", "execution.chunk: must be"),
        ("seed=3", "seed: no such setting; did you mean 'measure.seed'"),
    ):  # fmt: skip
        snrkit("snr", "--ckpt", toy_run, "--set", wrong).refused(said)
    (tmp_path / "odd.toml").write_text("[execution]\nengine = 'loop'\n")
    snrkit("train", "--config", tmp_path / "odd.toml", *TOY).refused("nothing is measured")


def test_a_k_that_cannot_be_read_costs_only_itself_and_is_told_by_the_exit_code(snrkit, toy_run, monkeypatch):
    joint = Gaussian.log_joint

    def impossible(self, x, z):
        return torch.where(z[..., 0] < x[..., 0], joint(self, x, z), -torch.inf)

    monkeypatch.setattr(Gaussian, "log_joint", impossible)
    result = snrkit("snr", "--ckpt", toy_run, "--K", "1,128", "--draws", 40, "--data-points", 3, "--device", "cpu")
    assert result.code == 3
    assert "iwae at K=1 is left out" in result.out.replace("\n", " ")
    assert set(SNR.read(toy_run / "snr.parquet").K) == {128}
    assert not (toy_run / "snr.partial").exists()


@pytest.mark.slow
def test_a_metric_of_another_package_is_in_everything_that_is_shown(snrkit, toy_run, tmp_path, monkeypatch):
    argv = "snr", "--ckpt", toy_run, *FEW
    with installed_metric(tmp_path, monkeypatch):
        assert "largest_mean" in snrkit(*argv).out
        rows = json.loads(snrkit(*argv, "--json").out)["rows"]
        assert {"largest_mean", "snr_mean"} < {row["metric"] for row in rows}
        assert snrkit("report", toy_run, "--out", tmp_path / "report").code == 0
        assert "largest mean" in (tmp_path / "report" / "gradients.md").read_text()


def test_metrics_that_were_asked_for_alone_are_shown(snrkit, toy_run):
    shown = snrkit("snr", "--ckpt", toy_run, *FEW, "--metrics", "ess,variance").out
    assert "SNR inference" not in shown
    assert {"ess", "variance"} <= set(shown.split())
