import copy
import html.parser
import pickle

import pandas as pd
import pytest

import snrkit
from snrkit.runs.tidy import TidyTable, summarised
from tests.support.results import readings, table
from tests.zoo import toy


class Text(html.parser.HTMLParser):
    """What a reader sees, and which tags were left open."""

    def __init__(self, text):
        super().__init__()
        self.words, self.open = [], []
        self.feed(text)

    def handle_data(self, data):
        self.words.append(data)

    def handle_starttag(self, tag, attrs):
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def shown(frame):
    text = Text(frame._repr_html_().replace("<style scoped>", "<style>"))
    assert text.open == []
    return " ".join(text.words)


@pytest.fixture
def tidy():
    rows = table("demo", ["iwae"])
    noise = (rows["block"] == "inference") & (rows["K"] >= 100)
    rows.loc[noise, "ci_low"] = rows["floor"]
    return TidyTable(rows)


def test_a_notebook_is_shown_readings_and_verdicts(tidy):
    words = shown(tidy)
    assert (
        "iwae, inference: a signal, but at K = 100, 1000 it cannot be told from noise; it falls with K, from" in words
    )
    assert "iwae, generative: a signal at every K; it rises with K, from" in words
    assert words.count(" noise") >= 2
    assert "16 rows" in words


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"ci_low": 0.0}, "iwae, inference: cannot be told from noise at any K."),
        ({"value": 0.5, "ci_low": 0.4, "ci_high": 0.6}, "no change with K beyond the intervals, from 0.5 at K = 1"),
        ({"ci_low": float("nan")}, "iwae, inference: a signal at every K"),
        ({"ci_low": float("nan"), "value": 0.01}, "iwae, inference: cannot be told from noise at any K"),
        ({"floor": float("nan")}, "iwae, inference: no floor, so that signal and noise cannot be told apart"),
    ],
)
def test_a_verdict_is_what_the_intervals_say(tidy, change, verdict):
    assert verdict in shown(TidyTable(tidy.assign(**change)))


def test_a_single_reading_has_no_trend(tidy):
    words = shown(tidy[tidy["K"] == 1])
    assert "iwae, inference: a signal." in words
    assert "with K" not in words


def test_names_are_told_apart_and_escaped(tidy):
    both = pd.concat([tidy, tidy.assign(run="<b>other</b>")])
    assert "run <b>other</b>, iwae, inference" in shown(both)
    assert "<b>" not in both._repr_html_()


@pytest.mark.parametrize("change", [{"parameters": "b"}, {"seed": 1}, {"data": "other"}, {"mode": "training"}])
def test_readings_of_one_name_that_differ_are_all_shown(tidy, change):
    first = tidy.assign(parameters="a", seed=0, data="own", mode="evaluation")
    other = first.assign(value=0.777, stderr=0.1, ci_low=0.7, ci_high=0.8, **change)
    words = shown(pd.concat([first, other]))
    ((name, told),) = change.items()
    assert words.count("0.777 ± 0.1") == 2 * tidy["K"].nunique()
    assert f"{name} {told}, iwae, inference: a signal at every K; no change with K" in words
    assert f"{name} {first[name].iloc[0]}, iwae, inference: a signal, but at K = 100, 1000" in words


def test_what_a_name_tells_already_is_not_told_twice(tidy):
    words = shown(pd.concat([tidy.assign(parameters="a"), tidy.assign(run="other", parameters="b")]))
    assert "run other, iwae, inference" in words


def test_categories_and_columns_of_one_name_are_shown(tidy):
    assert "iwae, inference" in shown(tidy.astype({"estimator": "category", "block": "category", "run": "category"}))
    twice = pd.concat([tidy, tidy], axis=1)
    assert twice._repr_html_() == pd.DataFrame(twice)._repr_html_()


def test_remarks_stand_below(tidy):
    tidy.attrs["remarks"] = ["the model is always in evaluation mode & so on"]
    assert "the model is always in evaluation mode & so on" in shown(tidy)


def test_many_settings_are_cut_and_counted():
    words = shown(TidyTable(readings()))
    assert "The first 24 of 72 settings." in words


def test_a_part_is_one_too_until_it_lacks_what_the_summary_needs(tidy):
    part = tidy.query("K > 1").sort_values("value")
    assert "Verdicts" in shown(part)
    for rest in (tidy[["K", "value"]], tidy[tidy["metric"] == "snr_median"], tidy.head(0)):
        assert rest._repr_html_() == pd.DataFrame(rest)._repr_html_()
    assert type(tidy["K"]) is pd.Series


def test_it_is_a_data_frame_in_all_else(tidy, tmp_path):
    plain = pd.DataFrame(tidy)
    assert type(plain) is pd.DataFrame
    assert repr(tidy) == repr(plain)
    pd.testing.assert_frame_equal(tidy, plain)
    for twin in (pickle.loads(pickle.dumps(tidy)), copy.deepcopy(tidy), pd.concat([tidy])):
        pd.testing.assert_frame_equal(twin, plain)
    tidy.to_parquet(tmp_path / "tidy.parquet")
    plain.to_parquet(tmp_path / "plain.parquet")
    assert (tmp_path / "tidy.parquet").read_bytes() == (tmp_path / "plain.parquet").read_bytes()
    assert tidy.to_csv() == plain.to_csv()


def test_a_measurement_gives_one_and_says_what_was_remarked():
    model, x = toy()
    found = snrkit.measure(model, x, "iwae", K=[1, 5], draws=40)
    assert isinstance(found, TidyTable)
    found.attrs["remarks"] = ["of the toy"]
    assert "of the toy" in shown(found[found["metric"] == "snr_mean"])


def test_readings_that_differ_in_how_they_were_drawn_are_both_shown():
    rows = table("demo", ["iwae"], (8,), outer=(1,)).query("metric == 'snr_mean' and block == 'inference'")
    both = pd.concat([rows, rows.assign(nested=True, method="nested units", value=7.0)])
    shown = summarised(both)
    assert "nested units" in shown
    assert shown.count("7 ±") == 1
    assert "nested units" not in summarised(rows)
