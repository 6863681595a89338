"""Every figure from a small fixed table: what is drawn is the table, and it can be read on every page format."""

import dataclasses
import functools
import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from snrkit.errors import SpecError
from snrkit.report import style, width
from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, Missing
from snrkit.report.figures import FIGURES
from snrkit.report.save import render
from snrkit.report.style import COLUMNS
from snrkit.runs.kinds import KINDS
from tests.report.reading import assert_readable, lines
from tests.support.results import all_frames, trained_as

pytestmark = pytest.mark.slow

EMPTY = Tables({})


def draw(name, frames=None, column="icml"):
    return from_all(name, column) if frames is None else from_frames(name, frames, column)


@functools.cache
def from_all(name, column):
    return from_frames(name, all_frames(), column)


def from_frames(name, frames, column):
    look = COLUMNS[column]
    with style.context(look):
        return FIGURES.load(name).draw(Tables({}, frames), look)


def test_formats_offered_are_those_there_are():
    assert tuple(COLUMNS) == width.PAGES
    assert {column: look.column for column, look in COLUMNS.items()}["icml"] == 3.25


@pytest.mark.parametrize("name", FIGURES.names)
def test_says_what_it_is(name):
    kind = FIGURES.load(name)
    assert set(kind.needs) <= set(KINDS.names)
    assert kind.command.startswith("snrkit ")
    assert "\n" not in kind.command
    assert kind.definition.endswith(".")
    assert kind.uncertainty.endswith(".")


@pytest.mark.parametrize("name", FIGURES.names)
def test_without_data_names_the_command(name):
    with style.context(COLUMNS["icml"]):
        found = FIGURES.load(name).draw(EMPTY, COLUMNS["icml"])
    assert isinstance(found, Missing)
    assert FIGURES.load(name).command.partition(",")[0] in found.reason
    assert "\n" not in found.reason


# The narrowest column for all; of each way to lay a figure out one on the other pages.
PAGES = [
    *((name, "icml") for name in FIGURES.names),
    *itertools.product(("snr_vs_k", "ess"), ("neurips", "a4", "slide")),
]


@pytest.mark.parametrize(("name", "column"), PAGES)
def test_figures_are_readable(name, column):
    drawing = draw(name, column=column)
    assert isinstance(drawing, Drawing)
    assert drawing.figure.get_figwidth() == COLUMNS[column].column
    assert_readable(drawing.figure)
    for axes in (axes for axes in drawing.figure.axes if axes.axison):
        named = axes.get_xlabel() or not axes.xaxis.get_tick_params()["labelbottom"]
        assert named, "an x axis without a name"


@pytest.mark.parametrize("name", FIGURES.names)
def test_words_and_data_go_with_it(name):
    drawing = draw(name)
    assert len(drawing.data)
    assert drawing.data.columns.is_unique
    assert len(drawing.alt) > 60
    assert "nan" not in drawing.alt
    assert "nan" not in drawing.caption
    assert drawing.caption.endswith(".")


@pytest.mark.parametrize("name", FIGURES.names)
def test_drawn_again_it_is_the_same(name):
    with style.context(COLUMNS["icml"]):
        first, second = (render(draw(name, all_frames()).figure, "svg", 100) for _ in range(2))
    assert first == second


def drawn_values(figure, *gids):
    found = [line.get_ydata() for axes in figure.axes for line in axes.get_lines() if line.get_gid() in gids]
    return np.sort(np.concatenate([np.asarray(values, float) for values in found]))


@pytest.mark.parametrize(
    ("name", "gids"),
    [
        ("snr_vs_k", ("line",)), ("snr_vs_m", ("line",)), ("dsnr_vs_k", ("line",)), ("dsnr_vs_m", ("line",)),
        ("snr_training", ("line",)), ("bias_variance", ("sum", "variance", "bias_squared", "bounded")),
        ("noise_parts", ("data_variance", "monte_carlo_variance")), ("metrics_vs_m", ("line",)),
        ("metrics_vs_beta", ("line",)), ("frontier", ("settings",)), ("training", ("bound", "iwae_64", "log_p", "kl_q_p")),
    ],
)  # fmt: skip
def test_what_is_drawn_is_what_the_twin_holds(name, gids):
    drawing = draw(name)
    np.testing.assert_allclose(drawn_values(drawing.figure, *gids), np.sort(drawing.data["value"].astype(float)))


@pytest.mark.parametrize(("name", "metric"), [("snr_vs_k", "snr_mean"), ("dsnr_vs_k", "dsnr")])
def test_rates_show_the_table(name, metric):
    frame = all_frames()["snr"]
    wanted = frame.query("metric == @metric and step == 600 and M == 1 and scope == 'minibatch'")
    drawing = draw(name)
    assert sorted(drawing.data["value"]) == sorted(wanted["value"])
    assert sorted(drawing.data["ci_low"]) == sorted(wanted["ci_low"])
    for axes in drawing.figure.axes:
        floors = [line for line in axes.get_lines() if line.get_gid() == "floor"]
        block = axes.get_title().partition(" ")[0]
        expected = wanted[wanted["block"] == block]["floor"].iloc[0]
        np.testing.assert_allclose(floors[0].get_ydata(), expected)


def test_m_axis_shows_every_m_and_a_rising_floor():
    drawing = draw("snr_vs_m")
    axes = drawing.figure.axes[0]
    assert all(list(line.get_xdata()) == [1, 3, 9] for line in lines(axes).values())
    floor = next(line for line in axes.get_lines() if line.get_gid() == "floor")
    np.testing.assert_allclose(floor.get_ydata() / floor.get_ydata()[0], np.sqrt([1, 3, 9]))


def test_fitted_slopes_stand_in_the_legend_and_the_twin():
    drawing = draw("snr_vs_k")
    legend = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert "IWAE, slope −0.500 ± 0.027 | 0.500 ± 0.027" in legend
    rows = drawing.data.query("estimator == 'iwae' and block == 'inference'")
    assert set(rows["slope"]) == {-0.5}


def test_no_slope_is_claimed_by_readings_in_two_precisions():
    frames = all_frames()
    readings = frames["snr"]
    both = pd.concat([readings.assign(dtype="float32"), readings.assign(dtype="float64")], ignore_index=True)
    drawing = draw("snr_vs_k", frames | {"snr": both})
    assert drawing.data["slope"].isna().all()
    assert not any("slope" in text.get_text() for text in drawing.figure.legends[0].get_texts())
    alone = draw("snr_vs_k", frames | {"snr": readings.assign(dtype="float64")})
    assert set(alone.data.query("estimator == 'iwae' and block == 'inference'")["slope"]) == {-0.5}


def test_bias_that_may_be_zero_is_an_upper_end():
    data = draw("bias_variance").data
    bounded = data[data["bounded"]]
    assert set(bounded["K"]) == {1000}
    np.testing.assert_allclose(bounded["value"], bounded["ci_high"])
    whole = data[(data["K"] == 10) & (data["line"] == "IWAE") & (data["block"] == "inference")].set_index("part")[
        "value"
    ]
    assert whole["sum"] == pytest.approx(whole["variance"] + whole["bias_squared"])


def test_histograms_are_the_draws():
    frame = all_frames()["draws"]
    drawing = draw("histograms")
    for axes, coordinate in zip(drawing.figure.axes, ("b[3]", "mu[3]"), strict=True):
        own_draws = frame[frame["coordinate"] == coordinate]
        steps = {each.get_label(): each for each in axes.collections if each.get_gid() == "histogram"}
        for k in (1, 10, 100):
            twin_rows = drawing.data[(drawing.data["coordinate"] == coordinate) & (drawing.data["K"] == k)]
            edges = [*twin_rows["low"], twin_rows["high"].iloc[-1]]
            own = own_draws[own_draws["K"] == k]["value"]
            counts, _ = np.histogram(own, edges)
            np.testing.assert_allclose(twin_rows["density"] * np.diff(edges) * len(own), counts)
            place, height = steps[f"K = {k}"].get_paths()[0].vertices.T
            for low, density in zip(twin_rows["low"], twin_rows["density"], strict=True):
                assert np.isclose(height[np.isclose(place, low)], density).any()
        (zero,) = [line for line in axes.get_lines() if line.get_gid() == "zero"]
        # At large K a histogram is as narrow as a line: it must stay visible on the mark of zero.
        assert zero.get_zorder() < min(step.get_zorder() for step in steps.values())
        assert zero.get_linewidth() < min(float(step.get_linewidth()[0]) for step in steps.values())


def test_violins_show_quartiles_of_the_points():
    drawing = draw("ess")
    axes = drawing.figure.axes[0]
    marks = [line.get_xdata()[0] for line in axes.get_lines() if line.get_gid() == "median"]
    points = all_frames()["points"]
    assert points["folder"].nunique() > points["setting"].nunique()  # two seeds are one violin
    np.testing.assert_allclose(marks, points.groupby("setting", sort=False)["ess_64"].median() / 64)


def test_matrix_cells_are_the_evaluations():
    drawing = draw("generalisation")
    texts = [text.get_text() for text in drawing.figure.axes[0].texts]
    assert len(texts) == drawing.data.query("metric == 'log_p'").shape[0]
    assert "−19.460 ± 0.020" in texts


def crossed(**changes):
    """Evaluations of three settings on two data sets; changes are of the third setting's rows."""
    frame = all_frames()["evaluations"].query("estimator in ('iwae', 'vae', 'miwae') and seed == 0")
    third = frame["estimator"] == "miwae"
    return pd.concat([frame[~third], frame[third].assign(**changes)], ignore_index=True)


def cells(axes):
    """Texts of a matrix by (label of the row, label of the column)."""
    down, across = ([tick.get_text() for tick in ticks] for ticks in (axes.get_yticklabels(), axes.get_xticklabels()))
    return {
        (down[int(text.get_position()[1])].replace("\n", " "), across[int(text.get_position()[0])]): text.get_text()
        for text in axes.texts
    }


def twin(drawing, metric):
    """The same from the twin."""
    rows = drawing.data[drawing.data["metric"] == metric].to_dict("records")
    return {
        (r["setting_label"], r["tested_on"]): f"{r['value']:.3f} ± {r['stderr']:.3f}".replace("-", "−") for r in rows
    }


def test_matrix_with_a_metric_missing_keeps_values_in_their_rows():
    frame = crossed()
    frame = frame[(frame["estimator"] != "iwae") | (frame["metric"] != "ssim")]
    drawing = draw("generalisation", only("evaluations", frame))
    for axes, metric in zip(drawing.figure.axes, ("log_p", "ssim"), strict=True):
        assert cells(axes) == twin(drawing, metric)
    assert len(cells(drawing.figure.axes[1])) == 4


def test_matrix_has_a_row_for_each_setting():
    twins = {"estimator": "vae", "M": 1, "K": 64}
    for changes, label in (
        ({"K": 9, "M": 1, "estimator": "vae"}, "VAE, K = 9, digits"),
        (twins | {"rest": "update.order=random"}, "VAE, update.order = random, digits"),
        (twins, "VAE, miwae, digits"),
    ):
        drawing = draw("generalisation", only("evaluations", crossed(**changes)))
        assert label in drawing.data["setting_label"].tolist()
        assert len(cells(drawing.figure.axes[0])) == 6
        assert cells(drawing.figure.axes[0]) == twin(drawing, "log_p")


def test_matrix_shows_the_test_set_that_most_share():
    frame = crossed()
    more = frame[(frame["estimator"] == "vae") & frame["data"].str.startswith("digits")]
    both = pd.concat([more.assign(data="digits:test[0:900] seed 0", value=more["value"] - 50), frame])
    drawing = draw("generalisation", only("evaluations", both))
    alone = draw("generalisation", only("evaluations", frame))
    pd.testing.assert_frame_equal(drawing.data.reset_index(drop=True), alone.data)
    assert "test[0:900]" in drawing.notes[0]
    assert "test[0:900]" not in drawing.caption


def test_seeds_are_one_line_with_a_band():
    drawing = draw("training")
    iwae = drawing.data.query("estimator == 'iwae' and metric == 'iwae_64'")
    assert set(iwae["runs"]) == {2}
    frame = all_frames()["metrics"].query("estimator == 'iwae' and epoch == 7")
    assert iwae.query("epoch == 7")["value"].item() == pytest.approx(frame["test_iwae64"].mean())
    assert iwae.query("epoch == 7")["spread"].item() == pytest.approx(frame["test_iwae64"].std())


def test_budget_lines_end_in_iwae_and_vae():
    data = draw("metrics_vs_m").data.query("metric == 'log_p' and line == 'MIWAE'").sort_values("x")
    assert data["x"].tolist() == [1, 8, 64]
    beta = draw("metrics_vs_beta").data.query("metric == 'log_p'").sort_values("x")
    assert beta["x"].tolist() == [0, 0.05, 0.5, 1]


def test_settings_that_differ_in_more_than_m_are_lines_of_their_own():
    frame = all_frames()["evaluations"]
    other = frame[frame["estimator"].isin(["miwae", "iwae"])]
    other = other.assign(setting=other["setting"] + "'", run=other["run"] + "-r", folder=other["folder"] + "'",
                         rest="update.order=random", value=other["value"] + 1)  # fmt: skip
    alone = frame[frame["estimator"] == "piwae"].assign(
        setting="p'", folder="p'", run="p", rest="update.samples=separate"
    )
    drawing = draw("metrics_vs_m", only("evaluations", pd.concat([frame, other, alone], ignore_index=True)))
    assert set(drawing.data["line"]) == {"MIWAE", "MIWAE, update.order = random", "PIWAE"}
    assert not drawing.data.duplicated(["line", "metric", "x"]).any()
    assert drawing.notes == ("1 settings are left out: no other run is like them in all but what is varied",)


@pytest.mark.parametrize(("name", "at", "change"), [
    ("metrics_vs_m", 1, {"estimator": "miwae", "M": 1, "K": 64}),
    ("metrics_vs_beta", 0, {"estimator": "ciwae", "options": "beta=0", "beta_start": 0.0}),
])  # fmt: skip
def test_a_run_of_the_lines_own_goes_before_one_that_is_the_same_bound(name, at, change):
    frame = all_frames()["evaluations"]
    vae = frame[frame["estimator"] == "vae"]
    extra = vae.assign(setting="new", folder="new", run="new", **change)
    drawing = draw(name, only("evaluations", pd.concat([frame, extra], ignore_index=True)))
    line = "MIWAE" if name == "metrics_vs_m" else "CIWAE"
    rows = drawing.data[(drawing.data["line"] == line) & (drawing.data["metric"] == "log_p")].set_index("x")
    assert rows.index.is_unique
    assert rows["value"][at] == vae.query("metric == 'log_p' and data.str.startswith('digits')")["value"].iloc[-1]
    assert "left out where" in drawing.notes[0]


def test_intervals_stand_side_by_side():
    axes = draw("metrics_vs_m").figure.axes[0]
    at_one = [line.get_transform().transform((1, line.get_ydata()[0]))[0] for line in lines(axes).values()]
    bars = [bar.get_transform().transform((1, 0))[0] for bar in axes.collections]
    assert np.diff(at_one) > 0.5 * mpl.rcParams["lines.markersize"]
    np.testing.assert_allclose(at_one, bars)


def counted(frame):
    """The evaluations with how many latent dimensions there are."""
    return only("evaluations", frame.assign(dimensions=12))


def test_active_units_of_seeds_are_marks_without_an_interval():
    drawing = draw("active_units", counted(all_frames()["evaluations"]))
    axes = drawing.figure.axes[0]
    iwae, vae, *_ = drawing.data.to_dict("records")
    marks = [line for line in axes.get_lines() if line.get_gid() == "seed"]
    assert [list(line.get_xdata()) for line in marks] == [[10.0, 11.0]]
    assert (iwae["line"], iwae["value"], iwae["seeds"]) == ("IWAE", 10.5, "10, 11")
    assert np.isnan(iwae["ci_low"])
    assert vae["ci_low"] == pytest.approx(12 - 1.959964 * 0.02)
    assert len(axes.collections) == len(drawing.data) - 1


def test_active_units_stay_between_none_and_all():
    frame = all_frames()["evaluations"].assign(stderr=30.0)
    drawing = draw("active_units", counted(frame))
    low, high = drawing.figure.axes[0].get_xlim()
    assert low == 0
    assert 12 < high < 20
    alone = drawing.data[drawing.data["runs"] == 1]
    assert set(alone["ci_low"]) == {0}
    ends = [bar.get_segments()[0][1, 0] for bar in drawing.figure.axes[0].collections]
    np.testing.assert_allclose(ends, alone["ci_high"])
    assert ends[0] == 12


def test_learned_beta_has_a_shade_for_its_start_and_dashes_for_its_way():
    frame = all_frames()["metrics"].query("run == 'ciwae-5'")
    runs = [(1.0, "bounded"), (0.05, "free"), (1e-05, "free"), (0.05, "bounded")]
    parts = [
        frame.assign(**trained_as(f"run-{i}", "ciwae", 1, 64, options=f"beta={start:g}", learnt=way))
        for i, (start, way) in enumerate(runs)
    ]
    drawing = draw("learned_beta", only("metrics", pd.concat(parts, ignore_index=True)))
    assert [text.get_text() for text in drawing.figure.legends[0].get_texts()] == [
        "CIWAE (β = 1e-05)", "CIWAE (β = 0.05)", "CIWAE (β = 1)", "learnt within (0, 1)", "learnt freely",
    ]  # fmt: skip
    drawn = lines(drawing.figure.axes[0], "beta")
    looks = {name: (line.get_color(), line._dash_pattern) for name, line in drawn.items()}
    assert list(looks) == [
        "CIWAE (β = 1e-05, learnt free)", "CIWAE (β = 0.05, learnt bounded)", "CIWAE (β = 0.05, learnt free)",
        "CIWAE (β = 1, learnt bounded)",
    ]  # fmt: skip
    free, bounded = looks["CIWAE (β = 0.05, learnt free)"], looks["CIWAE (β = 0.05, learnt bounded)"]
    assert free[0] == bounded[0]
    assert free[1] != bounded[1]
    assert len({colour for colour, _ in looks.values()}) == 3
    assert all(line.get_marker() == "None" for line in drawn.values())


def test_frontier_is_what_nothing_cheaper_beats():
    data = draw("frontier").data.query("network == 'inference'").sort_values("milliseconds")
    best = -np.inf
    for row in data.to_dict("records"):
        assert row["frontier"] == (row["value"] > best)
        best = max(best, row["value"])


def only(kind, frame):
    return all_frames() | {kind: frame}


@pytest.mark.parametrize("name", FIGURES.names)
def test_one_estimator_only(name):
    frames = {
        kind: frame[frame["estimator"].isin(["ciwae", "iwae"] if name == "metrics_vs_beta" else ["iwae", "miwae"])]
        if "estimator" in frame and name != "learned_beta"
        else frame
        for kind, frame in all_frames().items()
    }
    assert isinstance(draw(name, frames), Drawing)


@pytest.mark.parametrize(
    "name", ["snr_vs_k", "dsnr_vs_k", "bias_variance", "noise_parts", "snr_training", "histograms"]
)
def test_one_k_only(name):
    frames = all_frames()
    drawing = draw(name, frames | {kind: frames[kind][frames[kind]["K"] == 10] for kind in ("snr", "draws")})
    assert isinstance(drawing, Drawing)
    assert_readable(drawing.figure)


# Images have no numbers to be told apart from none.
PICTURES = ("reconstructions", "samples", "interpolations", "canvases")


@pytest.mark.parametrize("name", [name for name in FIGURES.names if name not in PICTURES])
def test_numbers_that_are_none(name):
    """Some NaN are left out, NaN alone is no figure; never a traceback."""
    frames = all_frames()
    numbers = ["value", "ci_low", "ci_high", "stderr", "bound", "test_iwae64", "beta", "ess_64", "snr_inference",
               "snr_generative", "snr_inference_stderr", "floor", "slope"]  # fmt: skip
    some, none = {}, {}
    numbers += ["z1", "z2"]
    for kind, frame in frames.items():
        here = [column for column in numbers if column in frame]
        some[kind], none[kind] = frame.copy(), frame.copy()
        some[kind].loc[some[kind].index[::7], here] = np.nan
        none[kind][here] = np.nan
    assert isinstance(draw(name, some), Drawing)
    assert isinstance(draw(name, none), Missing)


def test_more_lines_than_can_be_told_apart_are_left_out_and_said():
    frame = all_frames()["snr"]
    many = pd.concat([frame.assign(run=f"run-{i}", source=f"{i}.parquet") for i in range(8)])
    drawing = draw("snr_vs_k", only("snr", many))
    assert drawing.data["line"].nunique() == style.MOST_LINES
    assert "left out" in drawing.notes[-1]
    assert_readable(drawing.figure)


def test_parts_of_the_noise_are_told_apart_at_a_single_k():
    frame = all_frames()["snr"].query("K == 10")
    drawing = draw("noise_parts", {"snr": frame})
    fills = {line.get_gid(): line.get_markerfacecolor() for line in drawing.figure.axes[0].get_lines()}
    assert fills["monte_carlo_variance"] == "white" != fills["data_variance"]
    assert drawing.figure.axes[0].collections  # intervals


def test_snr_along_training_marks_readings_on_the_floor():
    frame = all_frames()["snr"]
    means = frame["metric"] == "snr_mean"
    frame.loc[means, "ci_low"] = np.where(frame[means]["step"] == 300, 0.0, frame[means]["floor"] + 1)
    drawing = draw("snr_training", {"snr": frame})
    hollow = [line for line in drawing.figure.axes[0].get_lines() if line.get_gid() == "on floor"]
    assert {x for line in hollow for x in line.get_xdata()} == {300.0}
    legend = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert {"floor: pure noise", "on the floor"} <= set(legend)


def test_a_figure_that_no_part_of_the_page_would_show_is_refused():
    with pytest.raises(SpecError, match="no part of the story is 'somewhere'; choose from training, bound, gradients"):
        dataclasses.replace(FIGURES.load("ess"), section="somewhere")
