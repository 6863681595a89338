"""Training curves from run directories: what is drawn, what is left out."""

import json

import numpy as np
import pytest

from snrkit.report import style
from snrkit.report.collect import collect
from snrkit.report.drawing import Missing
from snrkit.report.figures import training
from snrkit.report.style import COLUMNS

from .conftest import make_run
from .reading import assert_readable, lines


def drawn(path):
    with style.context(COLUMNS["icml"]):
        return training.draw(collect([path]), COLUMNS["icml"])


def test_curves_are_the_metrics(runs):
    figure = drawn(runs).figure
    rows = [json.loads(line) for line in (runs / "demo-vae" / "metrics.jsonl").read_text().splitlines()]
    for key, name in (("bound", "bound"), ("test_iwae64", "iwae_64")):
        found = lines(figure.axes[0], name)
        assert list(found) == ["VAE, demo-vae", "IWAE, demo_iwae"]
        np.testing.assert_array_equal(found["VAE, demo-vae"].get_ydata(), [row[key] for row in rows])
        np.testing.assert_array_equal(found["VAE, demo-vae"].get_xdata(), [row["epoch"] for row in rows])
    thin, thick = (lines(figure.axes[0], name)["VAE, demo-vae"].get_linewidth() for name in ("bound", "iwae_64"))
    assert thin < thick
    # The evaluation of the last step gives a point of log p.
    assert [list(line.get_xdata()) for line in lines(figure.axes[1], "log_p").values()] == [[40], [40]]
    assert_readable(figure)


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


def test_many_runs_are_readable(tmp_path):
    for index in range(12):
        make_run(tmp_path, f"iwae-seed-{index}-with-a-name-much-longer-than-a-label-may-be", "iwae", epochs=3 + index)
        config = tmp_path / f"iwae-seed-{index}-with-a-name-much-longer-than-a-label-may-be" / "config.toml"
        config.write_text(config.read_text().replace("batch_size = 20", f"batch_size = {index + 1}"))
    drawing = drawn(tmp_path)
    assert drawing.data["line"].nunique() == style.MOST_LINES
    assert_readable(drawing.figure)


@pytest.mark.parametrize("text", [None, "", '{"epoch": 1, "bound": NaN}\n'])
def test_nothing_to_draw(runs, text):
    folder = runs / "demo-vae"
    (folder / "evaluation.json").unlink()
    (folder / "metrics.jsonl").unlink()
    if text is not None:
        (folder / "metrics.jsonl").write_text(text)
    found = drawn(folder)
    assert isinstance(found, Missing)
    assert "snrkit train" in found.reason
