"""Training curves from run directories: what is drawn, what is left out."""

import json
import shutil

import numpy as np
import pytest

from snrkit.report import style
from snrkit.report.collect import collect
from snrkit.report.drawing import Missing
from snrkit.report.figures import training
from snrkit.report.style import COLUMNS
from tests.report.reading import assert_readable, lines
from tests.support.results import make_run


def drawn(path):
    with style.context(COLUMNS["icml"]):
        return training.draw(collect([path]), COLUMNS["icml"])


def test_curves_are_the_metrics(runs):
    figure = drawn(runs).figure
    rows = [json.loads(line) for line in (runs / "demo-vae" / "metrics.jsonl").read_text().splitlines()]
    for key, name in (("bound", "bound"), ("test_iwae64", "iwae_64")):
        found = lines(figure.axes[0], name)
        assert list(found) == ["VAE", "IWAE"]
        np.testing.assert_array_equal(found["VAE"].get_ydata(), [row[key] for row in rows])
        np.testing.assert_array_equal(found["VAE"].get_xdata(), [row["epoch"] for row in rows])
    thin, thick = (lines(figure.axes[0], name)["VAE"].get_linewidth() for name in ("bound", "iwae_64"))
    assert thin < thick
    assert_readable(figure)


def errors(axes):
    """Ends of the error bars, in order."""
    bars = [bar for bar in axes.collections if bar.get_gid() == "error"]
    return [tuple(bar.get_segments()[0][:, 1]) for bar in bars]


def test_evaluations_after_one_epoch_stand_side_by_side_with_their_error(runs):
    drawing = drawn(runs)
    drawing.figure.draw_without_rendering()
    followed, evaluated = drawing.figure.axes
    found = lines(evaluated, "log_p")
    assert [list(line.get_xdata()) for line in found.values()] == [[0], [1]]
    assert evaluated.get_xlabel() == "after epoch 40, in the legend's order"
    values = [-19.5678, -19.5678 + 0.8]
    np.testing.assert_allclose([line.get_ydata()[0] for line in found.values()], values)
    np.testing.assert_allclose(errors(evaluated), [(value - 0.0421, value + 0.0421) for value in values])
    assert drawing.data.query("metric == 'log_p'")["stderr"].tolist() == [0.0421, 0.0421]
    assert evaluated.get_position().height < followed.get_position().height


def test_a_single_epoch_stands_in_the_middle_of_its_axis_whole(tmp_path):
    make_run(tmp_path, "demo", "iwae", epochs=1)
    figure = drawn(tmp_path).figure
    figure.draw_without_rendering()
    assert figure.axes[0].get_xlim() == (0, 2)
    (line,) = lines(figure.axes[0], "iwae_64").values()
    assert list(line.get_xdata()) == [1]


def test_seeds_have_their_spread_where_there_is_one_epoch(runs):
    shutil.copytree(runs / "demo-vae", runs / "demo-vae-1")
    config, evaluation = (runs / "demo-vae-1" / name for name in ("config.toml", "evaluation.json"))
    config.write_text(config.read_text().replace("seed = 0\ndtype", "seed = 1\ndtype"))
    evaluation.write_text(evaluation.read_text().replace("-19.5678", "-19.9678"))
    drawing = drawn(runs)
    (row,) = drawing.data.query("metric == 'log_p' and estimator == 'vae'").to_dict("records")
    assert row["runs"] == 2
    assert np.isnan(row["stderr"])
    reach = 0.4 / np.sqrt(2)
    np.testing.assert_allclose(errors(drawing.figure.axes[1])[0], (-19.7678 - reach, -19.7678 + reach))
    assert "standard deviation between seeds, or the standard error" in drawing.caption


def test_seeds_that_nobody_evaluated_have_a_band(runs):
    shutil.copytree(runs / "demo-vae", runs / "demo-vae-1")
    config = runs / "demo-vae-1" / "config.toml"
    config.write_text(config.read_text().replace("seed = 0\ndtype", "seed = 1\ndtype"))
    for evaluation in runs.glob("*/evaluation.json"):
        evaluation.unlink()
    drawing = drawn(runs)
    rows = drawing.data.query("metric == 'iwae_64' and estimator == 'vae'")
    assert rows["runs"].tolist() == [2] * 40
    assert rows["spread"].tolist() == [0] * 40


def test_along_epochs_evaluations_keep_their_marks_and_errors(runs):
    path = runs / "demo-vae" / "evaluation.json"
    early = json.loads(path.read_text()) | {"step": 300}
    (runs / "demo-vae" / "early.evaluation.json").write_text(json.dumps(early))
    figure = drawn(runs).figure
    assert {name: list(line.get_xdata()) for name, line in lines(figure.axes[1], "log_p").items()} == {
        "VAE": [20, 40],
        "IWAE": [40],
    }
    assert len(errors(figure.axes[1])) == 2
    # A mark in a panel is a mark in the legend.
    marks = [handle.get_marker() for handle in figure.legends[0].legend_handles]
    assert marks == ["o", "s", "None"]


def test_a_run_without_evaluation_has_no_mark(runs):
    for name in ("demo-vae", "demo_iwae"):
        (runs / name / "evaluation.json").unlink()
    assert {handle.get_marker() for handle in drawn(runs).figure.legends[0].legend_handles} <= {"", "None"}


def test_own_bound_alone_is_shown_as_such(runs):
    path = runs / "demo-vae" / "metrics.jsonl"
    path.write_text(path.read_text().replace("test_iwae64", "something"))
    axes = drawn(runs / "demo-vae").figure.axes
    assert [place.get_ylabel().partition(" (")[0] for place in axes] == ["own bound", "log $\\hat{p}$(x)"]
    assert len(lines(axes[0], "bound")["VAE"].get_xdata()) == 40


def test_unfinished_run_without_test_bound_or_config(runs):
    folder = runs / "demo-vae"
    for name in ("config.toml", "evaluation.json"):
        (folder / name).unlink()
    (folder / "status.json").write_text('{"state": "failed", "why": "NaN"}')
    (folder / "metrics.jsonl").write_text(
        '{"epoch": 1, "step": 1, "bound": -9.0}\n{"epoch": 2, "step": 2, "bound": NaN}\n'
    )
    drawing = drawn(folder)
    assert "(failed)" in drawing.figure.legends[0].get_texts()[0].get_text()
    assert drawing.data["value"].tolist() == [-9.0]
    assert drawing.notes == ("1 values are not finite and not drawn",)
    assert_readable(drawing.figure)


@pytest.mark.slow
def test_many_runs_are_readable(tmp_path):
    for index in range(12):
        make_run(tmp_path, f"iwae-seed-{index}-with-a-name-much-longer-than-a-label-may-be", "iwae", epochs=3 + index)
        config = tmp_path / f"iwae-seed-{index}-with-a-name-much-longer-than-a-label-may-be" / "config.toml"
        config.write_text(config.read_text().replace("batch_size = 20", f"batch_size = {index + 1}"))
    drawing = drawn(tmp_path)
    assert drawing.data["line"].nunique() == style.MOST_LINES
    assert_readable(drawing.figure)


@pytest.mark.parametrize("text", [None, "", '{"epoch": 1, "step": 1, "bound": NaN}\n'])
def test_nothing_to_draw(runs, text):
    folder = runs / "demo-vae"
    (folder / "evaluation.json").unlink()
    (folder / "metrics.jsonl").unlink()
    if text is not None:
        (folder / "metrics.jsonl").write_text(text)
    found = drawn(folder)
    assert isinstance(found, Missing)
    assert "snrkit train" in found.reason
