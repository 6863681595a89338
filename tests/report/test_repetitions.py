"""Runs that differ in their seed alone are one; whatever else differs is kept apart."""

import numpy as np
import pandas as pd
import pytest

from snrkit.report import sheets, style
from snrkit.report.collect import Tables
from snrkit.report.figures import FIGURES, snr_vs_k
from snrkit.report.gradients import gradients
from snrkit.report.naming import names
from snrkit.report.repetitions import estimate, readings_over_seeds, slopes_over_seeds
from snrkit.report.style import COLUMNS
from tests.support.results import evaluations, metrics, points, slopes, table

SCALES = {"demo-a": 1.0, "demo-b": 1.1, "demo-c": 1.5}


def readings():
    """Three seeds of one setting; the third was measured at K = 1000 alone."""
    parts = []
    for seed, (run, scale) in enumerate(SCALES.items()):
        frame = table("demo", ["iwae"], (1000,) if run == "demo-c" else (10, 1000))
        numbers = {name: scale * frame[name] for name in ("value", "stderr", "ci_low", "ci_high")}
        parts.append(frame.assign(run=run, seed=seed, source=f"{run}/snr.parquet", setting="iwae", **numbers))
    return pd.concat(parts, ignore_index=True)


def test_mean_and_the_reach_of_all_intervals():
    frame = readings()
    found = readings_over_seeds(frame)
    chosen = "metric == 'snr_mean' and block == 'inference' and K == {}"
    for K, runs in ((10, 2), (1000, 3)):
        single, row = frame.query(chosen.format(K)), found.query(chosen.format(K))
        assert row["runs"].item() == len(single) == runs
        assert row["value"].item() == pytest.approx(single["value"].mean())
        assert row["stderr"].item() == pytest.approx(single["value"].std(ddof=1) / np.sqrt(runs))
        assert row["ci_high"].item() == single["ci_high"].max() > single["ci_high"].min()
        assert row["ci_low"].item() == single["ci_low"].min() < single["ci_low"].max()
        # All of a line bear one name, so that it stays one line.
        assert row["run"].item() == "demo (3 seeds)"
    assert len(found) == frame.groupby(["K", "block", "metric"]).ngroups


def test_a_run_alone_keeps_its_own_interval():
    frame = readings().query("run == 'demo-a'").reset_index(drop=True)
    pd.testing.assert_frame_equal(readings_over_seeds(frame)[frame.columns], frame)


@pytest.mark.parametrize(
    "change", [{"setting": "other"}, {"data": "other"}, {"draws": 7}, {"options": "beta=0.3"}, {"method": "direct"}]
)
def test_what_differs_in_more_than_the_seed_is_kept_apart(change):
    frame = readings().query("run != 'demo-c'")
    second = frame["run"] == "demo-b"
    frame = pd.concat([frame[~second], frame[second].assign(**change)], ignore_index=True)
    assert set(readings_over_seeds(frame)["runs"]) == {1}
    assert len(readings_over_seeds(frame)) == len(frame)


def test_two_readings_of_one_run_are_no_repetitions():
    frame = readings().query("run == 'demo-a'")
    twice = pd.concat([frame, frame.assign(seed=9, value=3.0)], ignore_index=True)
    assert sorted(readings_over_seeds(twice)["value"]) == sorted(twice["value"])
    other_file = pd.concat([frame, frame.assign(source="demo-a/again.parquet", value=3.0)], ignore_index=True)
    assert sorted(readings_over_seeds(other_file)["value"]) == sorted(other_file["value"])


def test_slopes_are_averaged_alike():
    both = [slopes().assign(run=run, setting="one", source=run, seed=i, slope=[0.1 * i + s for s in slopes()["slope"]])
            for i, run in enumerate(("demo-a", "demo-b"))]  # fmt: skip
    found = slopes_over_seeds(pd.concat(both, ignore_index=True))
    np.testing.assert_allclose(found["slope"], slopes()["slope"] + 0.05)
    np.testing.assert_allclose(found["stderr"], 0.05)


def test_a_figure_has_one_line_for_all_seeds():
    frame = readings().query("run != 'demo-c'")
    with style.context(COLUMNS["icml"]):
        drawing = snr_vs_k.draw(Tables({}, {"snr": frame}), COLUMNS["icml"])
    assert [line.get_label() for line in drawing.figure.axes[0].get_lines() if line.get_gid() == "line"] == ["IWAE"]
    assert "the mean over them is drawn" in drawing.caption


def test_runs_of_unknown_settings_are_told_apart_by_their_names():
    keys = [pd.Series({"estimator": "iwae", "options": "", "run": run, "trained_with": ""}) for run in ("a", "b")]
    assert names(keys, ["run"]) == ["IWAE, a", "IWAE, b"]


def drawn_of(frame, kind, name="evaluations"):
    with style.context(COLUMNS["icml"]):
        return FIGURES.load(kind).draw(Tables({}, {name: frame}), COLUMNS["icml"])


def test_evaluations_with_other_numbers_of_samples_are_no_mean():
    frame = evaluations()
    frame["samples"] = frame["samples"].where(frame["run"] != "iwae-1", 64)
    found = sheets.evaluation(Tables({}, {"evaluations": frame[frame["data_name"] == "digits"]}))
    rows = [row for row in found.rows if row[0].startswith("IWAE")]
    assert [row[0] for row in rows] == [
        f"IWAE, M = 1, K = 64, evaluation.samples = {samples}" for samples in (5000, 64)
    ]
    values = {run: own["value"].iloc[0] for run, own in frame.query("metric == 'log_p' and step == 300").groupby("run")}
    place = found.head.index("log p̂(x)")
    assert [row[place].split(" ±")[0].replace("−", "-") for row in rows] == [
        f"{values[run]:.3f}" for run in ("iwae-0", "iwae-1")
    ]
    for figure in ("active_units", "generalisation"):
        labels = drawn_of(frame, figure).data
        assert (labels["runs"] == 1).all()
        assert any("evaluation.samples = 64" in str(text) for text in labels.iloc[:, 0])


def test_seeds_at_different_steps_are_taken_together_and_it_is_said():
    frame = evaluations()
    early = (frame["run"] == "iwae-1") & (frame["step"] == 300)
    frame = frame[~early]
    line = "taken together at different steps: iwae-0 at step 300, iwae-1 at step 150"
    found = sheets.evaluation(Tables({}, {"evaluations": frame}))
    assert line in found.notes
    for figure in ("active_units", "generalisation"):
        drawing = drawn_of(frame, figure)
        assert drawing.data["runs"].max() == 2
        assert line in drawing.notes


def test_a_run_with_more_readings_than_its_seeds_breaks_no_line():
    frame = readings()
    alone = frame["run"] == "demo-c"
    third = pd.concat([frame.query("run == 'demo-b' and K == 10").assign(run="demo-c", seed=2), frame[alone]])
    longer = pd.concat([frame[~alone], third.assign(source="demo-c/snr.parquet", setting="iwae"),
                        frame[alone].assign(K=5000)], ignore_index=True)  # fmt: skip
    drawing = drawn_of(longer, "snr_vs_k", "snr")
    inference = drawing.data[drawing.data["block"] == "inference"]
    assert inference["K"].tolist() == [10, 1000, 5000]
    assert inference["runs"].tolist() == [3, 3, 1]
    assert drawing.notes == (
        "not every seed was measured everywhere, and a mean is over those that were: IWAE (1 to 3)",
    )


def test_slopes_over_other_numbers_of_samples_are_no_mean():
    one = slopes().assign(run="demo-a", setting="one", source="demo-a", seed=0)
    other = slopes().assign(run="demo-b", setting="one", source="demo-b", seed=1, over="1,10")
    assert set(slopes_over_seeds(pd.concat([one, other], ignore_index=True))["runs"]) == {1}


def test_an_index_says_nothing():
    frame = readings()
    odd = frame.sample(frac=1.0, random_state=1)
    odd.index = pd.Index([0] * len(odd))
    order = ["K", "block", "metric"]
    found, same = (readings_over_seeds(one).sort_values(order, ignore_index=True) for one in (odd, frame))
    pd.testing.assert_frame_equal(found[[*order, "value", "stderr", "runs"]], same[[*order, "value", "stderr", "runs"]])


def test_a_part_that_is_negative_by_chance_is_in_the_mean_over_seeds():
    frame = readings().query("metric == 'snr_mean' and run != 'demo-c'").assign(scope="dataset", metric="data_variance")
    second = frame["run"] == "demo-b"
    frame.loc[~second, "value"], frame.loc[second, "value"] = 3.0, -1.0
    drawing = drawn_of(frame, "noise_parts", "snr")
    assert (drawing.data["value"] == 1.0).all()
    assert drawing.notes == ()


def along_training(evaluated, longest):
    with style.context(COLUMNS["icml"]):
        frames = {"metrics": metrics().assign(source=""), "evaluations": evaluated}
        short = (frames["metrics"]["run"] == "iwae-1") & (frames["metrics"]["epoch"] > longest)
        frames["metrics"] = frames["metrics"][~short]
        return FIGURES.load("training").draw(Tables({}, frames), COLUMNS["icml"])


def test_epochs_that_one_seed_did_not_reach_are_not_drawn_and_it_is_said():
    drawing = along_training(evaluations(), 15)
    own = drawing.data.query("estimator == 'iwae' and metric == 'iwae_64'")
    assert own["epoch"].max() == 15
    # Five epochs of two curves, and the evaluation after the last of them.
    assert drawing.notes == ("12 values at epochs that not all seeds of a line have are not drawn",)
    assert along_training(evaluations(), 20).notes == ()


def test_evaluations_with_fewer_samples_than_most_are_not_drawn_along_training():
    frame = evaluations()
    odd = (frame["run"] == "iwae-1") & (frame["step"] == 150)
    drawing = along_training(frame.assign(samples=frame["samples"].where(~odd, 64)), 20)
    assert drawing.notes[0] == "2 evaluations with another number of samples than most of their line are not drawn"


def test_points_of_seeds_at_different_steps_are_one_violin_and_it_is_said():
    frame = points()
    drawing = drawn_of(frame.assign(step=frame["step"].where(frame["run"] != "iwae-1", 150)), "ess", "points")
    assert drawing.notes == ("taken together at different steps: iwae-0 at step 300, iwae-1 at step 150",)
    assert drawn_of(frame, "ess", "points").notes == ()


def test_slopes_of_one_run_on_other_draws_are_rows_of_their_own():
    frame = slopes()
    both = pd.concat([frame, frame.assign(seed=1, slope=frame["slope"] + 0.1)], ignore_index=True)
    sheet = sheets.slopes(Tables({}, {"slopes": both}))
    assert len(sheet.rows) == len(both)
    assert "seed" in sheet.head
    assert "seed" not in sheets.slopes(Tables({}, {"slopes": frame})).head


def test_gradients_of_seeds_at_different_steps_stand_apart_and_it_is_said():
    frame = readings().query("run != 'demo-c'")
    early = frame.assign(step=frame["step"].where(frame["run"] != "demo-b", 400), floor=0.1)
    said = "Not taken together, since measured at different steps: demo-a at step 600, demo-b at step 400"
    assert said in gradients(Tables({}, {"snr": early})).notes
    assert not any("steps" in note for note in gradients(Tables({}, {"snr": frame.assign(floor=0.1)})).notes)


def test_an_interval_over_runs_is_students_with_one_degree_less():
    three = estimate(pd.Series([1.0, 2.0, 6.0]), pd.Series([9.0, 9.0, 9.0]))
    assert (three.value, three.error, three.runs) == (3.0, pytest.approx(np.sqrt(7 / 3)), 3)
    assert three.high - three.value == pytest.approx(4.302653 * three.error, rel=1e-6)
    one = estimate(pd.Series([1.0]), pd.Series([0.5]))
    assert (one.low, one.high) == pytest.approx((1 - 0.5 * 1.959964, 1 + 0.5 * 1.959964))
