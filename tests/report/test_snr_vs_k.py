"""The figure shows the table: numbers, floor, guides, and labels that can be read."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from snrkit.diagnostics.metrics.dsnr import pulled
from snrkit.report import style
from snrkit.report.collect import Tables
from snrkit.report.drawing import Missing
from snrkit.report.figures import dsnr_vs_k, snr_vs_k
from snrkit.report.style import COLUMNS
from tests.report.reading import assert_readable, lines
from tests.support.results import slopes, table

LOOK = COLUMNS["icml"]


def drawn(frame):
    with style.context(LOOK):
        return snr_vs_k.draw(
            Tables({}, {"snr": frame if "source" in frame else frame.assign(source="some.parquet")}), LOOK
        )


def test_plotted_data_equal_the_table():
    frame = table("demo", ["vae", "iwae"])
    drawing, metric = drawn(frame), "snr_mean"
    for axes, block in zip(drawing.figure.axes, ("inference", "generative"), strict=True):
        found = lines(axes)
        assert list(found) == ["VAE", "IWAE"]
        for estimator in ("vae", "iwae"):
            rows = frame[(frame["block"] == block) & (frame["estimator"] == estimator) & (frame["metric"] == metric)]
            line = found[estimator.upper()]
            np.testing.assert_array_equal(line.get_xdata(), rows["K"])
            np.testing.assert_array_equal(line.get_ydata(), rows["value"])
            assert line.get_color() == style.ESTIMATORS[estimator][0].lower()
    wanted = frame[frame["metric"] == metric]
    assert sorted(drawing.data["value"]) == sorted(wanted["value"])
    assert sorted(drawing.data["ci_low"]) == sorted(wanted["ci_low"])


def test_bands_are_the_intervals():
    frame = table("demo", ["iwae"])
    band = drawn(frame).figure.axes[0].collections[0].get_paths()[0].vertices
    rows = frame.query("block == 'inference' and metric == 'snr_mean'")
    for end in ("ci_low", "ci_high"):
        for k, y in zip(rows["K"], rows[end], strict=True):
            assert np.isclose(band, [k, y]).all(axis=1).any()


def test_floor_guides_and_labels():
    frame = table("demo", ["vae", "iwae"])
    figure = drawn(frame).figure
    for axes, slope in zip(figure.axes, (-0.5, 0.5), strict=True):
        floor = next(line for line in axes.get_lines() if line.get_gid() == "floor")
        np.testing.assert_array_equal(floor.get_ydata(), frame["floor"].iloc[0])
        guide = next(line for line in axes.get_lines() if line.get_gid() == "guide")
        corners = axes.transData.inverted().transform(guide.get_transform().transform(guide.get_xydata()))
        (x0, y0), (x1, y1) = np.log(corners)
        assert (y1 - y0) / (x1 - x0) == pytest.approx(slope)
        assert axes.get_xlabel() == "samples K (M = 3)"
        assert axes.texts[0].get_text() == ("∝ K$^{-1/2}$" if slope < 0 else "∝ K$^{1/2}$")
    assert figure.axes[0].get_ylabel() == "SNR"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "floor: pure noise" in legend
    assert "on the floor" in legend


def test_readings_on_the_floor_are_hollow():
    frame = table("demo", ["vae", "iwae"])
    drawing = drawn(frame)
    hollow = [line for line in drawing.figure.axes[0].get_lines() if line.get_gid() == "on floor"]
    assert [list(line.get_xdata()) for line in hollow] == [[], [1000.0]]
    assert drawing.data.query("on_floor")[["estimator", "K"]].to_numpy().tolist() == [["iwae", 1000]]


@pytest.mark.rest_slow
@pytest.mark.parametrize(
    "frame",
    [
        table("demo", ["vae", "iwae", "ciwae", "piwae"]),
        table("demo", ["iwae"]),
        table("demo", ["vae", "iwae"], samples=(64,)),
        table("demo", ["iwae"], samples=(1, 2, 3, 4, 5, 6, 8, 10, 12, 100)),
        table("demo", ["iwae"], samples=(8, 9)),
        pd.concat([table(f"a-run-with-a-name-that-is-rather-long-for-a-legend-{i}", ["iwae"]) for i in range(9)]),
        table("cost_$5_and_$6", ["ciwae"], options="beta=0.5"),
        table("demo", ["iwae"]).query("block == 'generative'"),
    ],
)
def test_no_text_covers_another(frame):
    assert_readable(drawn(frame).figure)


def test_smallest_m_is_shown():
    drawing = drawn(pd.concat([table("a", ["vae"], outer=(2, 5)), table("b", ["vae"], outer=(3,))]))
    assert sorted(drawing.data["M"].unique()) == [2, 3]
    assert list(lines(drawing.figure.axes[0])) == ["VAE, a, M = 2", "VAE, b, M = 3"]
    floors = [line for line in drawing.figure.axes[0].get_lines() if line.get_gid() == "floor"]
    assert len(floors) == 2


def test_lines_stay_distinguishable():
    runs = [table("a", ["iwae", "vae"]), table("b", ["iwae"]), table("a", ["ciwae"], options="beta=0.05")]
    frame = pd.concat([*runs, table("a", ["ciwae"], options="beta=0.5"), table("a", ["iwae"]).assign(seed=9)])
    found = lines(drawn(frame).figure.axes[0])
    assert len(found) == 6
    looks = {(line.get_color(), line._unscaled_dash_pattern, line.get_marker()) for line in found.values()}
    assert len(looks) == 6
    assert "IWAE, a, seed 9" in found


def test_one_k_has_points_with_bars_side_by_side():
    frame = table("demo", ["vae", "iwae"], samples=(64,))
    axes = drawn(frame).figure.axes[0]
    assert len(axes.collections) == 2
    x = [line.get_xdata()[0] for line in lines(axes).values()]
    assert len(set(x)) == 2
    assert np.exp(np.log(x).mean()) == pytest.approx(64)
    assert not lines(axes, "guide")


def test_nan_and_nonpositive_values_are_left_out_and_said():
    frame = table("demo", ["iwae"])
    frame.loc[frame["K"] == 10, "value"] = np.nan
    frame.loc[frame["K"] == 100, "value"] = 0.0
    frame.loc[frame["K"] == 1, ["stderr", "ci_low", "ci_high"]] = np.nan
    drawing = drawn(frame)
    assert list(lines(drawing.figure.axes[0])["IWAE"].get_xdata()) == [1, 1000]
    assert drawing.notes == ("4 of 8 readings are NaN or not positive and not drawn",)
    assert_readable(drawing.figure)


def test_interval_below_zero_and_no_floor():
    frame = table("demo", ["iwae"]).assign(ci_low=-1.0, floor=np.nan)
    drawing = drawn(frame)
    assert drawing.figure.axes[0].get_ylim()[0] > 0.01
    assert not drawing.data["on_floor"].any()
    assert not lines(drawing.figure.axes[0], "floor")
    FigureCanvasAgg(drawing.figure).draw()


def test_nothing_to_draw():
    assert isinstance(drawn(table("demo", ["iwae"]).query("metric == 'none'")), Missing)
    assert isinstance(drawn(table("demo", ["iwae"]).assign(value=np.nan)), Missing)
    assert isinstance(drawn(table("demo", ["iwae"]).assign(block="all")), Missing)


def test_unknown_estimator_has_a_fallback():
    found = lines(drawn(table("demo", ["iwae"]).assign(estimator="mine")).figure.axes[0])
    assert list(found) == ["mine"]


def test_same_run_name_in_two_folders():
    frame = pd.concat([table("demo", ["iwae"]).assign(source=f"{place}/demo/snr.parquet") for place in "ab"])
    assert len(set(drawn(frame).data["line"])) == 2


def test_styles_are_unique():
    assert len({entry[:2] for entry in style.ESTIMATORS.values()}) == len(style.ESTIMATORS)
    many = style.assign([("iwae", f"run {i}") for i in range(14)])
    assert len(set(many)) == 14


def test_a_dsnr_pulled_towards_noise_is_hollow():
    frame = table("demo", ["vae", "iwae"]).assign(metric="dsnr")
    weak = (frame["estimator"] == "iwae") & (frame["K"] == 10) & (frame["block"] == "generative")
    frame.loc[weak, "pulled"] = True
    with style.context(LOOK):
        drawing = dsnr_vs_k.draw(Tables({}, {"snr": frame}), LOOK)
    hollow = [line for line in drawing.figure.axes[1].get_lines() if line.get_gid() == "on floor"]
    assert [list(line.get_xdata()) for line in hollow] == [[], [10.0]]
    assert "on the floor or pulled towards it" in [t.get_text() for t in drawing.figure.legends[0].get_texts()]
    assert "too few draws" in drawing.caption
    assert pulled(50.0) == ""


def test_readings_left_out_are_told():
    frame = table("demo", ["iwae"])
    drawing = drawn(frame.assign(draws=frame["draws"].where(frame["K"] != 1000, 7)))
    assert sorted(set(drawing.data["K"])) == [1, 10, 100]
    assert any(note.startswith("2 readings rest on another number of draws") for note in drawing.notes)


def test_guides_are_what_theory_expects_of_the_estimators_drawn():
    frame = table("demo", ["vae", "iwae"])
    expected = slopes().query("estimator in ['vae', 'iwae']").assign(source="some.slopes.csv")
    expected["expected"] = [0.5 if (e, b) != ("iwae", "inference") else -0.5
                            for e, b in zip(expected["estimator"], expected["block"], strict=True)]  # fmt: skip
    tables = {"snr": frame.assign(source="some.parquet"), "slopes": expected}
    with style.context(LOOK):
        figure = snr_vs_k.draw(Tables({}, tables), LOOK).figure
    assert [text.get_text() for text in figure.axes[0].texts] == ["∝ K$^{-1/2}$", "∝ K$^{1/2}$"]
    assert [text.get_text() for text in figure.axes[1].texts] == ["∝ K$^{1/2}$"]


def test_single_readings_at_different_k_get_no_guide():
    both = pd.concat([table("demo", ["vae"], (1,)), table("demo", ["iwae"], (100,))], ignore_index=True)
    drawing = drawn(both)
    assert not any(axes.texts for axes in drawing.figure.axes)
    assert "Thin lines" not in drawing.caption


def test_every_estimator_is_drawn_before_more_runs_of_one():
    names = [(f"demo-{i}", "iwae") for i in range(12)] + [("demo-vae", "vae")]
    frames = [table(run, [name]).assign(source=run) for run, name in names]
    drawing = drawn(pd.concat(frames, ignore_index=True))
    assert set(drawing.data["estimator"]) == {"vae", "iwae"}
    assert drawing.data["line"].nunique() == style.MOST_LINES
