"""Every figure from a small fixed table: what is drawn is the table, and it can be read on every page format."""

import functools
import itertools

import numpy as np
import pandas as pd
import pytest

from snrkit.cli.report import COLUMNS as OFFERED
from snrkit.report import style
from snrkit.report.collect import KINDS, Tables
from snrkit.report.drawing import Drawing, Missing
from snrkit.report.figures import FIGURES
from snrkit.report.page import SECTIONS
from snrkit.report.save import render
from snrkit.report.style import COLUMNS

from .conftest import all_frames
from .reading import assert_readable, lines

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
    assert tuple(COLUMNS) == OFFERED
    assert {column: look.column for column, look in COLUMNS.items()}["icml"] == 3.25


@pytest.mark.parametrize("name", FIGURES.names)
def test_says_what_it_is(name):
    kind = FIGURES.load(name)
    assert kind.section in SECTIONS
    assert set(kind.needs) <= set(KINDS)
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
        steps = {patch.get_label(): patch for patch in axes.patches if patch.get_gid() == "histogram"}
        for k in (1, 10, 100):
            values, edges, _ = steps[f"K = {k}"].get_data()
            own = own_draws[own_draws["K"] == k]["value"]
            counts, _ = np.histogram(own, edges)
            np.testing.assert_allclose(values * np.diff(edges) * len(own), counts)
        (zero,) = [line for line in axes.get_lines() if line.get_gid() == "zero"]
        # At large K a histogram is as narrow as a line: it must stay visible on the mark of zero.
        assert zero.get_zorder() < min(step.get_zorder() for step in steps.values())
        assert zero.get_linewidth() < min(step.get_linewidth() for step in steps.values())


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
@pytest.mark.parametrize("name", [name for name in FIGURES.names if name != "reconstructions"])
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
