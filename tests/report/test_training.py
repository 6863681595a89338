"""Training curves: what is drawn, what is left out, and labels at the ends."""

import json

import numpy as np
import pytest

from snrkit.report import style
from snrkit.report.collect import collect
from snrkit.report.drawing import Missing
from snrkit.report.figures import training

from .conftest import make_run
from .test_snr_vs_k import assert_readable


def drawn(path):
    with style.context():
        return training.draw(collect([path]))


def test_curves_are_the_metrics(runs):
    drawing = drawn(runs)
    axes = drawing.figure.axes[0]
    rows = [json.loads(line) for line in (runs / "demo-vae" / "metrics.jsonl").read_text().splitlines()]
    for bound, width in (("bound", 0.7), ("test_iwae64", 1.7)):
        found = [line for line in axes.get_lines() if line.get_gid() == bound]
        assert [line.get_linewidth() for line in found] == [width, width]
        np.testing.assert_array_equal(found[0].get_ydata(), [row[bound] for row in rows])
        np.testing.assert_array_equal(found[0].get_xdata(), [row["epoch"] for row in rows])
    assert [text.get_text() for text in axes.texts] == [
        "demo-vae\nVAE, M = 1, K = 64",
        "demo_iwae\nIWAE, M = 1, K = 64",
    ]
    assert "below the axis" in drawing.caption


def test_unfinished_run_without_test_bound_or_config(runs):
    folder = runs / "demo-vae"
    (folder / "config.toml").unlink()
    (folder / "status.json").write_text('{"state": "failed", "why": "NaN"}')
    (folder / "metrics.jsonl").write_text('{"epoch": 1, "bound": -9.0}\n{"epoch": 2, "bound": NaN}\n')
    drawing = drawn(folder)
    assert [text.get_text() for text in drawing.figure.axes[0].texts] == ["demo-vae\nfailed"]
    assert drawing.data["value"].tolist() == [-9.0]
    assert drawing.notes == ("1 bounds are not finite and not drawn",)
    assert_readable(drawing.figure)


def test_many_runs_are_readable(tmp_path):
    for index in range(12):
        make_run(tmp_path, f"iwae-seed-{index}-with-a-name-much-longer-than-a-label-may-be", "iwae", epochs=3 + index)
    assert_readable(drawn(tmp_path).figure)


@pytest.mark.parametrize("text", [None, "", '{"epoch": 1, "bound": NaN}\n'])
def test_nothing_to_draw(runs, text):
    folder = runs / "demo-vae"
    (folder / "metrics.jsonl").unlink()
    if text is not None:
        (folder / "metrics.jsonl").write_text(text)
    found = drawn(folder)
    assert isinstance(found, Missing)
    assert "snrkit train" in found.reason
