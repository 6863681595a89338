import copy
import pickle

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

import snrkit
from snrkit import plot
from snrkit.errors import SpecError
from snrkit.files import write_text
from snrkit.report import style
from snrkit.report.build import build
from snrkit.report.collect import collect
from snrkit.report.figures import FIGURES
from snrkit.report.save import Destination
from snrkit.report.style import COLUMNS
from snrkit.runs.kinds.snr import SNR
from tests.support.results import draws, make_run, readings, slopes

NAMED = ["snr_vs_k", "snr_vs_m", "dsnr_vs_k", "dsnr_vs_m", "bias_variance", "noise_parts", "snr_training"]


@pytest.fixture(scope="module")
def table():
    return readings()


@pytest.mark.rest_slow
@pytest.mark.parametrize("name", NAMED)
def test_each_figure_of_a_measurement_gives_its_axes(name, table):
    panels = getattr(plot, name)(table)
    assert panels
    assert all(isinstance(axes, Axes) and axes.figure is panels.figure for axes in panels)
    assert panels[0].get_title().startswith("inference")
    assert len(panels.data)
    assert len(panels.alt) > 60


def test_every_figure_that_the_tidy_table_alone_makes_has_a_function():
    drawn_of = {name for name in FIGURES.names if set(FIGURES.load(name).needs) <= {"snr", "slopes", "metrics"}}
    assert drawn_of - {"training", "learned_beta"} == set(NAMED)  # these two are of a run's metrics alone
    assert set(NAMED) < set(plot.__all__)
    assert snrkit.plot is plot


def test_a_figure_is_the_reports_own(tmp_path):
    files = make_run(tmp_path / "runs", "demo", "iwae", measured=["iwae", "vae"])
    build([files.path], Destination(tmp_path / "out", ("snrkit",), COLUMNS["a4"]), figures=["snr_vs_k"])
    twin = pd.read_csv(tmp_path / "out" / "snr_vs_k.csv")
    panels = plot.snr_vs_k(SNR.read(files.snr))
    alike = ["block", "M", "K", "value", "ci_low", "ci_high", "floor", "on_floor"]
    pd.testing.assert_frame_equal(twin[alike], panels.data[alike].reset_index(drop=True), check_dtype=False)
    with style.context(COLUMNS["a4"]):
        drawn = FIGURES.load("snr_vs_k").draw(collect([files.path]), COLUMNS["a4"])
    assert [axes.get_ylim() for axes in drawn.figure.axes] == [axes.get_ylim() for axes in panels]


def test_slopes_stand_in_the_legend(table):
    def legend(panels):
        return " ".join(text.get_text() for own in panels.figure.legends for text in own.get_texts())

    assert "slope" not in legend(plot.snr_vs_k(table))
    assert "slope −0.5" in legend(plot.snr_vs_k(table, slopes().drop(columns="source"))).replace("\n", " ")


def test_any_figure_by_its_name_and_the_tables_that_it_needs():
    panels = plot.figure("histograms", {"draws": draws()}, column="slide")
    assert panels.figure.get_figwidth() == COLUMNS["slide"].column


def test_a_table_written_by_hand_needs_ten_columns(table):
    needed = ["estimator", "M", "K", "block", "metric", "value", "ci_low", "ci_high", "floor", "draws"]
    first = table[(table["step"] == 600) & (table["scope"] == "minibatch")]
    assert plot.snr_vs_k(first[needed])
    for name in needed:
        with pytest.raises(SpecError, match=f"table: lacks the columns {name};"):
            plot.snr_vs_k(first[needed].drop(columns=name))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda t: plot.dsnr_vs_k(t[t["metric"] != "dsnr"]), "nothing for 'dsnr_vs_k'.*--dsnr"),
        (lambda t: plot.snr_vs_m(t[t["M"] == 1]), "nothing for 'snr_vs_m'"),
        (lambda t: plot.snr_training(t[t["step"] == 600]), "nothing for 'snr_training'.*--snr-every"),
        (lambda t: plot.snr_vs_k(t["value"]), "must be a pandas DataFrame, got Series"),
        (lambda t: plot.snr_vs_k(t, column="folio"), "no page is called 'folio'; choose from icml"),
        (lambda t: plot.figure("snr_vs_q", {"snr": t}), "snr_vs_q"),
        (lambda t: plot.figure("snr_vs_k", {"readings": t}), "readings"),
        (lambda t: plot.figure("histograms", {"draws": t}), "'histograms' cannot be drawn.*coordinate"),
        (lambda t: plot.snr_vs_k(t.assign(value="much")), "column 'value' holds something else than numbers"),
        (
            lambda t: plot.snr_vs_k(pd.concat([t, t.assign(value=2 * t["value"])])),
            "two different readings of.*run='mine'",
        ),
        (lambda t: plot.snr_vs_k(t.assign(parameters=t["estimator"])), "3 models under the name 'demo'"),
    ],
)
def test_what_is_missing_is_named(call, words, table):
    with pytest.raises(SpecError, match=words):
        call(table)


def test_models_measured_apart_are_lines_apart(table):
    one = table[(table["step"] == 600) & (table["estimator"] == "iwae")]
    both = pd.concat([one.assign(run="mine", parameters="a"), one.assign(run="yours", parameters="b")])
    assert plot.snr_vs_k(both).data["line"].nunique() == 2


def test_two_seeds_of_one_model_are_lines_of_their_own_and_labelled(table):
    one = table[(table["step"] == 600) & (table["estimator"] == "iwae")]
    drawn = plot.snr_vs_k(pd.concat([one, one.assign(seed=1, value=2 * one["value"])])).data
    assert {line.rpartition(", ")[2] for line in drawn["line"]} == {"seed 0", "seed 1"}
    values = drawn.groupby(["seed", "block"])["value"].sum()
    assert values.loc[1].tolist() == pytest.approx((2 * values.loc[0]).tolist())
    same = plot.snr_vs_k(pd.concat([one, one])).data
    pd.testing.assert_frame_equal(same, plot.snr_vs_k(one).data)


@pytest.mark.slow
@pytest.mark.parametrize("again", [lambda panels: pickle.loads(pickle.dumps(panels)), copy.deepcopy])
def test_panels_are_kept_and_copied_with_their_figure(table, again):
    for name in NAMED:
        panels = getattr(plot, name)(table)
        other = again(panels)
        assert all(axes.figure is other.figure and axes not in panels for axes in other)
        assert other._repr_html_() == panels._repr_html_()


def drawn_with():
    """What the user's figures are drawn with; the backend is chosen when first needed."""
    return {name: value for name, value in mpl.rcParams.items() if name != "backend"}


def test_pyplot_and_the_tables_stay_as_they_are(table):
    before, settings = table.copy(), drawn_with()
    plot.snr_vs_k(table)._repr_html_()
    assert plt.get_fignums() == []
    assert drawn_with() == settings
    pd.testing.assert_frame_equal(table, before)


def test_a_notebook_shows_the_figure_with_its_words(table):
    panels = plot.snr_vs_k(table)
    shown = panels._repr_html_()
    assert 'src="data:image/png;base64,' in shown
    assert 'alt="Line chart on log axes' in shown
    assert "<figcaption>SNR against the number K" in shown
    panels[0].set_title("mine")
    assert panels._repr_html_() != shown
    assert repr(panels).startswith("<2 panels: Line chart")


def test_a_figure_is_saved_as_its_name_ends(table, tmp_path):
    panels = plot.snr_vs_k(table, column="icml")
    for ending, start in (("pdf", b"%PDF"), ("png", b"\x89PNG"), ("svg", b"<?xml")):
        assert panels.save(tmp_path / f"figure.{ending}").read_bytes().startswith(start)
    with pytest.raises(SpecError, match="no ending of a picture; choose from"):
        panels.save(tmp_path / "figure.snr")


def test_a_file_written_with_pandas_is_drawn_too(tmp_path, table):
    write_text(tmp_path / "mine.csv", table[table["step"] == 600].to_csv(index=False))
    panels = plot.snr_vs_k(pd.read_csv(tmp_path / "mine.csv", keep_default_na=False, na_values=["nan", ""]))
    assert len(panels) == 2
