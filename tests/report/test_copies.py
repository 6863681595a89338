"""A run counts once however often its folder lies there; runs that only look alike are kept apart."""

import json
import math
import shutil

import pandas as pd
import pytest

from snrkit.files import write_json
from snrkit.report.build import build
from snrkit.report.collect import collect
from snrkit.report.repetitions import last_evaluations, readings_over_seeds, settings, slopes_over_seeds
from snrkit.report.save import Destination
from snrkit.report.sheets import evaluation
from snrkit.report.story import trained
from snrkit.report.style import COLUMNS
from snrkit.runs.folder import RunDir
from snrkit.runs.kinds.snr import SNR
from snrkit.specs.run import EstimatorSpec, RunSpec
from tests.support.results import evaluation as evaluation_of
from tests.support.results import images, latents, make_run, points, slopes, table


def seeded(folder, name, seed, lift=0.0, parameters=""):
    """A run of one setting with a seed, its values shifted by ``lift``."""
    files = make_run(folder, name, "iwae", epochs=4)
    files.config.write_text(RunSpec(estimator=EstimatorSpec(name="iwae", M=1, K=64), seed=seed).to_toml())
    rows = [json.loads(line) | {"seconds": 1.0 + seed} for line in files.metrics.read_text().splitlines()]
    files.write_metrics([row | {"bound": row["bound"] + lift} for row in rows])
    write_json(files.evaluation, evaluation_of(name, lift))
    frame = table(name, ["iwae"])
    SNR.write(files.snr, frame.assign(value=frame["value"] * (1 + lift), parameters=parameters))
    slopes().drop(columns="source").query("estimator == 'iwae'").assign(run=name).to_csv(
        files.path / "snr.slopes.csv", index=False
    )
    return files


def log_p(found):
    return settings(last_evaluations(found["evaluations"]), ["data", "metric"]).set_index("metric").loc["log_p"]


def test_a_copied_folder_is_the_same_run(tmp_path):
    run = seeded(tmp_path, "run", 0)
    shutil.copytree(run.path, tmp_path / "run_backup")
    once, twice = collect([run.path]), collect([tmp_path])
    for kind in ("snr", "slopes", "metrics", "evaluations"):
        pd.testing.assert_frame_equal(twice[kind], once[kind])
    row = log_p(twice)
    assert (row["runs"], row["run"], row["stderr"]) == (1, "run", 0.0421)
    assert set(readings_over_seeds(twice["snr"])["runs"]) == {1}
    assert set(slopes_over_seeds(twice["slopes"])["runs"]) == {1}
    assert len(trained(twice).rows) == 1
    assert twice.notes == [f"{tmp_path}/run_backup: a copy of the run {run.path}, counted once"]


def test_a_copy_that_was_measured_and_evaluated_again_is_the_same_run(tmp_path):
    run = seeded(tmp_path, "run", 0, parameters="aa")
    copy = RunDir(tmp_path / "run_backup")
    shutil.copytree(run.path, copy.path)
    frame = SNR.read(run.snr)
    again = frame.assign(run="run_backup", seconds=7.0)
    more = again.assign(K=again["K"] * 7)
    SNR.write(copy.snr, pd.concat([frame, again, more], ignore_index=True))
    write_json(copy.evaluation, json.loads(run.evaluation.read_text()) | {"seconds": 9.0, "run": "run_backup"})
    found = collect([tmp_path])
    assert set(found["snr"]["run"]) == {"run"}
    assert len(found["snr"]) == len(frame) + len(more)
    assert set(readings_over_seeds(found["snr"])["runs"]) == {1}
    assert log_p(found)["runs"] == 1


def test_two_seeds_are_two_however_many_copies_there_are(tmp_path):
    values = []
    for seed, lift in ((0, 0.0), (1, 0.4)):
        run = seeded(tmp_path, f"run-{seed}", seed, lift)
        values.append(json.loads(run.evaluation.read_text())["rows"][1]["value"])
        for number in range(3):
            shutil.copytree(run.path, tmp_path / f"copy-{number}-{seed}")
    row = log_p(collect([tmp_path]))
    mean = sum(values) / 2
    assert row["runs"] == 2
    assert row["value"] == pytest.approx(mean)
    assert row["stderr"] == pytest.approx(math.sqrt(sum((v - mean) ** 2 for v in values) / 1 / 2))
    assert evaluation(collect([tmp_path])).rows[0][:3] == ("IWAE, M = 1, K = 64", "digits", "2")


def test_seeds_in_folders_of_one_name_are_still_several(tmp_path):
    for seed in (0, 1, 2):
        seeded(tmp_path / f"seed{seed}", "run", seed, 0.1 * seed, parameters=f"p{seed}")
    found = collect([tmp_path])
    row = log_p(found)
    assert (row["runs"], row["run"]) == (3, "run (3 seeds)")
    together = readings_over_seeds(found["snr"])
    assert set(together["runs"]) == {3}
    assert set(together["run"]) == {"run (3 seeds)"}


@pytest.mark.rest_slow
@pytest.mark.parametrize("kind", ["checkpoint", "metrics", "parameters", "scores"])
def test_the_same_seed_with_other_parameters_is_kept_apart(tmp_path, kind):
    first = seeded(tmp_path, "run", 0, parameters="aa")
    second = seeded(tmp_path, "run_again", 0, lift=0.3, parameters="bb")
    if kind == "checkpoint":
        shutil.copy(first.metrics, second.metrics)
        for run in (first, second):
            run.checkpoint.write_text(run.name)
    elif kind != "metrics":
        for run in (first, second):
            run.metrics.unlink()
    if kind == "scores":
        for run in (first, second):
            SNR.write(run.snr, SNR.read(run.snr).assign(parameters=""))
    found = collect([tmp_path])
    assert len(evaluation(found).rows) == 2
    assert settings(last_evaluations(found["evaluations"]), ["data", "metric"])["runs"].max() == 1
    assert set(readings_over_seeds(found["snr"])["runs"]) == {1}
    assert len(readings_over_seeds(found["snr"])) == len(found["snr"])
    said = f"run_again: has settings and seed of the run {first.path} but other parameters"
    assert any(said in line for line in found.notes)


def test_old_tables_without_parameters_go_by_settings_and_seed(tmp_path):
    for name in ("run", "run_backup"):
        run = seeded(tmp_path, name, 0)
        run.metrics.unlink()
    assert set(readings_over_seeds(collect([tmp_path])["snr"])["runs"]) == {1}
    assert set(collect([tmp_path])["snr"]["run"]) == {"run"}


def test_a_renamed_run_that_was_measured_again_is_one(tmp_path):
    run = seeded(tmp_path, "new", 0, parameters="aa")
    old = SNR.read(run.snr).assign(run="old")
    SNR.write(run.snr, pd.concat([old, SNR.read(run.snr)], ignore_index=True))
    found = readings_over_seeds(collect([tmp_path])["snr"])
    assert len(found) == len(old)
    assert set(found["runs"]) == {1}
    assert set(found["run"]) == {"new"}


def test_another_run_in_the_table_of_a_run_is_no_seed_of_it(tmp_path):
    run = seeded(tmp_path, "run", 0, parameters="aa")
    other = SNR.read(run.snr).assign(run="other", parameters="bb")
    SNR.write(run.snr, pd.concat([SNR.read(run.snr), other], ignore_index=True))
    found = readings_over_seeds(collect([tmp_path])["snr"])
    assert set(found["runs"]) == {1}
    assert set(found["run"]) == {"run", "other"}


def test_runs_in_one_loose_table_are_no_seeds_of_each_other(tmp_path):
    both = [table(name, ["iwae"]).assign(parameters=name) for name in ("one", "two")]
    SNR.write(tmp_path / "m.parquet", pd.concat(both, ignore_index=True))
    found = readings_over_seeds(collect([tmp_path])["snr"])
    assert set(found["run"]) == {"one", "two"}
    assert set(found["runs"]) == {1}


def test_copies_of_files_outside_of_run_folders(tmp_path):
    SNR.write(tmp_path / "m.parquet", table("python", ["iwae"]).assign(parameters="aa"))
    shutil.copy(tmp_path / "m.parquet", tmp_path / "m (copy).parquet")
    # The same readings once more, in a file of other bytes.
    SNR.write(tmp_path / "n.parquet", SNR.read(tmp_path / "m.parquet").assign(seconds=3.0))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "evaluation.json", evaluation_of("a"))
    found = collect([tmp_path])
    assert len(found["snr"]) == len(table("python", ["iwae"]))
    assert set(found["evaluations"]["run"]) == {"a"}
    assert sum("a copy of" in line for line in found.notes) == 2


def test_what_belongs_together_is_taken_whole_from_one_copy(tmp_path):
    run = seeded(tmp_path, "run", 0)
    images().assign(run="run").to_parquet(run.reconstructions)
    latents().assign(run="run").to_parquet(run.latents)
    points().query("run == 'iwae-0'").drop(columns=["folder", "setting"]).assign(run="run").to_parquet(
        run.path / "evaluation.points.parquet"
    )
    shutil.copytree(run.path, tmp_path / "run_backup")
    images().assign(run="run_backup", k=9, seed=3).to_parquet(tmp_path / "run_backup" / "reconstructions.parquet")
    found = collect([tmp_path])
    assert set(found["reconstructions"]["k"]) == {50}
    assert len(found["latents"]) == 30
    assert len(found["points"]) == 60


@pytest.mark.slow
def test_the_report_says_so(tmp_path):
    run = seeded(tmp_path / "runs", "run", 0)
    shutil.copytree(run.path, tmp_path / "runs" / "run_backup")
    lines = []
    to = Destination(tmp_path / "out", ("snrkit", "report"), COLUMNS["icml"])
    report = build([tmp_path / "runs"], to, lines.append, ["snr_vs_k"])
    assert any("run_backup: a copy of the run" in line for line in lines)
    assert report.sheets["evaluation"][0].rows[0][0] == "IWAE, M = 1, K = 64"
    assert not any("run_backup" in entry["path"] for entry in report.figures["snr_vs_k"]["inputs"])
