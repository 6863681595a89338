"""``snrkit beta`` as a user meets it."""

import json

import pandas as pd

FEW = ["--K", 4, "--draws", 40, "--data-points", 3, "--device", "cpu"]


def test_writes_and_shows_the_curve(snrkit, toy_run):
    result = snrkit("beta", "--ckpt", toy_run, *FEW, "--quiet")
    assert (result.code, result.err) == (0, "")
    assert "no beta shows a signal above noise" in result.out
    assert "highest snr_pooled" not in result.out  # there is none to name
    table = pd.read_csv(toy_run / "beta.csv")
    assert sorted(table.beta.unique()) == [i / 20 for i in range(21)]
    assert set(table.data) == {"gaussian:test[0:3] none seed 0"}
    assert {"snr_mean", "snr_median", "snr_pooled", "cosine"} <= set(table.metric)


def test_json_is_one_object(snrkit, toy_run):
    found = json.loads(snrkit("beta", "--ckpt", toy_run, *FEW, "--json", "--quiet").out, parse_constant=str)
    assert len(found["rows"]) == len(pd.read_csv(toy_run / "beta.csv"))
    assert set(found) == {"path", "best", "told_apart", "remarks", "rows"}


def test_refused(snrkit, toy_run):
    snrkit("beta", "--ckpt", toy_run, "--K", 1).refused("--K")
    snrkit("beta", "--ckpt", toy_run, *FEW, "--block", "nothing").refused("no block 'nothing'")
    assert not (toy_run / "beta.csv").exists()
