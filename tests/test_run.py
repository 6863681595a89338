"""A Python user's day: train, open, look at points, measure, evaluate, ask for advice, reconstruct, report."""

import itertools
import json
import shutil

import pandas as pd
import pytest
import torch

import snrkit
from snrkit.errors import CheckpointError, DataError, OutputError, ResultsError, SpecError
from snrkit.estimators.base import build_estimator
from snrkit.interrupt import Interrupted
from snrkit.report.make import make

IMAGES = {
    "data": {"name": "digits", "train_limit": 60}, "model": {"options": {"hidden": [5], "latent": 2}},
    "estimator": {"name": "iwae", "K": 3}, "epochs": 1, "batch_size": 30, "eval_points": 4, "dtype": "float64",
}  # fmt: skip
FEW = snrkit.MeasureSpec(K=(1, 3), draws=8, data_points=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("day") / "run"
    snrkit.train(snrkit.RunSpec.parse(IMAGES, "test"), folder, device="cpu")
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the trained run, opened."""
    return snrkit.Run.open(shutil.copytree(trained, tmp_path / "run"), device="cpu")


def test_what_is_trained_is_open(trained):
    run = snrkit.train(snrkit.RunSpec.parse(IMAGES, "test"), str(trained), device="cpu", resume=True)
    assert (run.name, run.step, run.epoch, run.path, run.device.type) == ("run", 2, 1, trained, "cpu")
    assert (run.estimator, run.spec.data.binarise) == (build_estimator("iwae", {}), "dynamic")
    x, label = run.points(3)
    assert (tuple(x.shape), x.dtype, label) == ((3, 64), torch.float64, "digits:test[0:3] dynamic seed 0")
    assert len(run.points()[0]) == len(run.dataset.test)


def test_the_day(run, tmp_path):
    measured = run.measure(FEW, out=str(run.path / "other.parquet"))
    assert measured.save() == run.path / "other.parquet"
    run.measure(FEW, estimators=[build_estimator("dreg", {})]).save()
    assert set(pd.read_parquet(run.path / "snr.parquet").estimator) == {"dreg"}
    evaluation = run.evaluate(128, 4)
    assert evaluation.save(points=True, latents=True) == run.path / "evaluation.json"
    assert evaluation.table.value["log_p"] == pytest.approx(evaluation.points.log_p.mean())
    assert len(evaluation.latents) == 4
    advice = run.advise(2, draws=8, data_points=2, estimators=["iwae"])
    assert list(json.loads(advice.save().read_text())) == sorted(json.loads((run.path / "advice.json").read_text()))
    pictures = run.reconstruct([0, 2], k=4, samples=2)
    assert set(pictures.means["log_likelihood"]) == {"q", "q_iw", "q_iw - q"}
    assert [file.suffix for file in pictures.save()] == [".parquet", ".pdf", ".png"]
    curve = run.beta(2, draws=8, data_points=2)
    assert set(pd.read_csv(curve.save()).run) == {"run"}
    assert not list(run.path.glob("*.partial"))
    made = make([run.path], tmp_path / "figures", figures=["active_units"])
    assert "active_units" in made.drawn
    again = make([run.path], tmp_path / "figures", figures=["active_units"])
    assert (again.files, again.notes, again.drawn) == (made.files, made.notes, [])


def test_a_call_that_was_stopped_goes_on_from_what_it_kept(run):
    answers = itertools.chain([False] * 3, itertools.repeat(True))
    with pytest.raises(Interrupted):
        run.beta(2, draws=40, data_points=1, stop=lambda: next(answers))
    kept = sorted(run.path.glob("beta.partial/*"))
    assert kept
    before = [file.stat().st_mtime_ns for file in kept]
    curve = run.beta(2, draws=40, data_points=1)
    assert [file.stat().st_mtime_ns for file in kept] == before
    curve.save()
    assert not (run.path / "beta.partial").exists()


def test_a_result_goes_elsewhere_if_told(run, tmp_path):
    for result, name in ((run.evaluate(128, 2), "e.json"), (run.measure(FEW), "m.parquet")):
        assert result.save(tmp_path / "else" / name) == tmp_path / "else" / name
    assert not (run.path / "evaluation.json").exists()


def test_a_result_is_not_written_into_a_folder_that_took_the_place_of_its_own(run):
    found = run.evaluate(128, 2)
    moved = run.path.rename(run.path.with_name("moved"))
    shutil.copytree(moved, run.path)
    with pytest.raises(OutputError, match="replaced while this process was at work"):
        found.save()
    assert not (run.path / "evaluation.json").exists()


@pytest.mark.parametrize(
    ("call", "kind", "argument", "words"),
    [
        (lambda run: run.evaluate(samples=100), SpecError, "samples", "at least 128"),
        (lambda run: run.evaluate(128, points=9999), SpecError, "points", "9999 asked for"),
        (lambda run: run.points(0), SpecError, "count", "at least 1"),
        (lambda run: run.measure(snrkit.MeasureSpec(data_points=9999)), SpecError, "data_points", "9999 asked for"),
        (lambda run: run.measure(FEW, out="table.csv"), SpecError, "out", "parquet"),
        (lambda run: run.measure({"K": [1]}), SpecError, "spec", "no MeasureSpec"),
        (lambda run: run.measure(FEW.replaced(estimators="vae"), estimators="dreg"), SpecError, "estimators", "too"),
        (lambda run: run.points("3"), SpecError, "count", "an integer"),
        (lambda run: run.evaluate("200"), SpecError, "samples", "an integer"),
        (lambda run: run.advise(seconds=float("nan")), SpecError, "seconds", "no length of time"),
        (lambda run: run.reconstruct([]), SpecError, "points", "is empty"),
        (lambda run: run.reconstruct(["a"]), SpecError, "points", "an integer"),
        (lambda run: run.reconstruct([0], k="a"), SpecError, "k", "an integer"),
        (lambda run: snrkit.RunSpec(epoch=3), SpecError, "epoch", "did you mean 'epochs'"),
        (lambda run: snrkit.RunSpec(estimator={"KK": 3}), SpecError, "estimator.KK", "no such setting"),
        (lambda run: snrkit.train({"epochs": 1}, run.path), SpecError, "spec", "no RunSpec"),
        (lambda run: snrkit.train(run.spec, ""), SpecError, "out", "name the run directory"),
        (lambda run: snrkit.train(run.spec, run.path, watch={"K": 1}), SpecError, "watch", "no WatchFile"),
        (lambda run: run.advise(), SpecError, "budget", "`budget` or `seconds`"),
        (lambda run: run.advise(4, estimators=["iwea"]), SpecError, "estimator", "did you mean 'iwae'"),
        (lambda run: run.reconstruct([9999]), SpecError, "points", "no test point 9999"),
        (lambda run: run.reconstruct(k=0), SpecError, "k", "at least 1"),
        (lambda run: run.on("npz"), SpecError, "data", "needs a file"),
        (lambda run: run.on("gaussian"), SpecError, "data.binarise", "holds numbers"),
        (lambda run: snrkit.Run.open(run.path, device="tpu"), SpecError, "device", "`device=cpu`|choose auto"),
        (lambda run: snrkit.Run.open(run.path / "none"), CheckpointError, "path", "no checkpoint at"),
        (lambda run: snrkit.train(run.spec, run.path, device="cpu"), OutputError, str, "`resume=True`"),
    ],
)
def test_errors_name_arguments(run, tmp_path, monkeypatch, call, kind, argument, words):
    monkeypatch.chdir(tmp_path)  # which `out=""` would be
    with pytest.raises(kind, match=words) as caught:
        call(run)
    assert caught.value.argument == (str(run.path) if argument is str else argument)
    assert "--" not in str(caught.value)


def test_results_that_belong_to_no_run_ask_where_they_go(run):
    from snrkit.diagnostics.beta_curve import beta_curve

    curve = beta_curve(run.model, run.points(2)[0], 2, draws=8)
    with pytest.raises(SpecError, match="path: is needed"):
        curve.save()


def test_data_that_do_not_fit_are_refused(run, data_dir):
    with pytest.raises(DataError, match="points of 784 numbers"):
        run.on("mnist", data_dir=data_dir)


def test_a_table_of_another_run_is_not_written_over(run):
    run.measure(FEW).save()
    with torch.no_grad():
        next(run.model.parameters()).add_(1.0)
    with pytest.raises(ResultsError, match="measured on other parameters"):
        run.measure(FEW)


@pytest.mark.parametrize("given", ["dreg", snrkit.build_estimator("dreg", {}), ["dreg"]])
def test_one_estimator_is_measured_however_it_is_given(run, given):
    assert set(run.measure(FEW, estimators=given).table["estimator"]) == {"dreg"}


def test_what_no_file_can_ask_for_again_leaves_none(run):
    class Unregistered(type(snrkit.build_estimator("ciwae", {}))):
        pass

    run.measure(FEW).save()
    written = run.path / "snr.toml"
    assert written.exists()
    for own in (Unregistered(0.5), type(snrkit.build_estimator("ciwae", {}))(-0.4)):
        run.measure(FEW, estimators=own).save()
        assert not written.exists()


def test_a_metric_that_was_named_and_has_no_row_is_told(run):
    # Of two points there is no spread between points to compare with.
    found = run.measure(FEW.replaced(data_points=2, metrics=["critical_M", "snr_mean"]))
    assert found.remarks == ["no row of metric critical_M"]
