import json

import pytest

from snrkit.runs.kinds.advice import ADVICE


@pytest.fixture
def run(snrkit, tmp_path):
    snrkit("train", "--data", "gaussian", "--model", "gaussian", "--set", "data.dim=4", "--set", "data.size=9",
           "--epochs", 0, "--out", tmp_path / "toy")  # fmt: skip
    return tmp_path / "toy"


def test_table_and_recommendations(snrkit, run):
    out = snrkit("advise", "--ckpt", run, "--budget", 4, "--draws", 12, "--data-points", 3, "--quiet").out
    assert "piwae" in out
    for goal in ("inference network:", "generative network:", "both networks:"):
        assert goal in out
    assert json.loads((run / "advice.json").read_text())["budget"] == 4


def test_json(snrkit, run):
    argv = ("advise", "--ckpt", run, "--budget", 4, "--draws", 12, "--data-points", 3, "--estimator", "iwae,ciwae")
    found = json.loads(snrkit(*argv, "--option", "beta=0.25", "--json").out)
    assert {(row["estimator"], row["name"], row["options"]) for row in found["table"]} == {
        ("iwae", "iwae", ""), ("ciwae (beta=0.25)", "ciwae", "beta=0.25"),
    }  # fmt: skip
    read = ADVICE.read(run / "advice.json")
    for answer in found["recommendations"]:
        row = None if answer["row"] is None else found["table"][answer["row"]]
        assert answer["setting"] == ("" if row is None else f"{row['estimator']} M={row['M']} K={row['K']}")
        best = read[f"advised_{answer['network']}"] if answer["network"] != "both" else read["best_for"] != ""
        assert row is None or best[answer["row"]]
    assert [row["goal"] for row in found["recommendations"]] == [
        "inference network",
        "generative network",
        "both networks",
    ]


@pytest.mark.slow
def test_seconds(snrkit, run):
    found = json.loads(snrkit("advise", "--ckpt", run, "--seconds", 0.02, "--draws", 8, "--data-points", 2,
                              "--estimator", "iwae", "--json").out)  # fmt: skip
    assert found["budget"] >= 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "--budget"),
        (("--budget", 4, "--seconds", 1), "--budget"),
        (("--budget", 0), "budget"),
        (("--budget", 4, "--estimator", "iwea"), "did you mean 'iwae'"),
    ],
)
def test_bad_input(snrkit, run, more, message):
    assert snrkit("advise", "--ckpt", run, *more).refused(message)
