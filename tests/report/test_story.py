"""The sentences of the page: what they count, name and leave out."""

import pandas as pd

from snrkit.report.collect import Tables
from snrkit.report.story import story
from tests.support.results import evaluations, trained_as


def bound(frame):
    return story(Tables({}, {"evaluations": frame}))["bound"]


def test_looseness_by_setting_on_its_own_data():
    (sentence,) = bound(evaluations())
    assert "on digits:test[0:300] seed 0, KL(Q‖P) in nats" in sentence
    assert "omniglot" not in sentence
    told = sentence.partition("first: ")[2].split("; ")
    assert told[0] == "CIWAE (β = 0.5) 0.220 ± 0.020"
    # Two seeds, 0.40 and 0.37.
    assert told[-1] == "IWAE 0.385 ± 0.015."
    assert len(told) == 6


def test_test_sets_are_not_mixed():
    frame = evaluations()
    other = frame[frame["run"] == "vae"].assign(data="digits:test[0:900] seed 0", data_name="digits", value=3.0)
    first, second = bound(pd.concat([frame, other], ignore_index=True))
    assert "VAE 0.340" in first
    assert second.endswith(
        "test[0:900] seed 0, KL(Q‖P) in nats (0 would be a perfect proposal), smallest first: VAE 3.000 ± 0.020."
    )


def test_a_long_list_is_cut_short():
    frame = evaluations().query("run == 'vae' and step == 300")
    many = [frame.assign(**trained_as(f"run-{i}", "vae", i + 1, 4), value=1.0 + i) for i in range(40)]
    (sentence,) = bound(pd.concat(many, ignore_index=True))
    told = sentence.partition("first: ")[2].split("; ")
    assert len(told) == 9
    assert told[0].startswith("VAE, M = 1 1.00")
    assert told[-2:] == ["… (32 more in the table below)", "VAE, M = 40 40.000 ± 0.020."]


def test_without_a_looseness_nothing_is_said():
    assert bound(evaluations().query("metric == 'log_p'")) == []
    assert bound(evaluations().assign(value=float("nan"))) == []
