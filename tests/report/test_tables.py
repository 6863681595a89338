"""Tables: rounding, formats, gaps, what is bold, and published values."""

import csv
import io
import json
import shutil

import pandas as pd
import pytest

from snrkit.report.collect import Tables, collect
from snrkit.report.drawing import Missing
from snrkit.report.gradients import gradients
from snrkit.report.sheets import evaluation, slopes
from snrkit.report.tables import rounded
from snrkit.runs.kinds.published import PUBLISHED
from snrkit.runs.kinds.snr import SNR
from tests.support.results import all_frames, make_run
from tests.support.results import evaluation as evaluation_of


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (-20.1234, 0.312, ("-20.1", "0.3")),
        (-20.1234, 0.0123, ("-20.123", "0.012")),
        (-20.1234, 0.0299, ("-20.12", "0.03")),
        (-20.1234, 0.096, ("-20.12", "0.10")),
        (1234.5, 23.4, ("1234", "23")),
        (1234.5, 456.0, ("1200", "500")),
        (14.0, 0.0, ("14", "0")),
        (14.25, float("nan"), ("14.25", "")),
        (float("nan"), 0.1, ("", "")),
    ],
)
def test_rounding(value, error, expected):
    assert rounded(value, error) == expected


def test_formats(runs):
    sheet = evaluation(collect([runs]))
    first, second = csv.DictReader(io.StringIO(sheet.texts["csv"]))
    assert (first["run"], first["iwae_64"], first["iwae_64_error"]) == ("demo-vae", "-20.1", "0.3")
    assert (second["run"], second["log_p"]) == ("demo_iwae", "-18.77")
    markdown = sheet.texts["md"].splitlines()
    assert markdown[0] == "| trained with | data | IWAE-64 | log p̂(x) | active units |"
    assert markdown[2] == "| VAE, M = 1, K = 64 | digits | -20.1 ± 0.3 | -19.57 ± 0.04 | 14 ± 0 |"
    assert "- log p̂(x): 5000-sample bound, nats" in markdown
    assert r"IWAE, M = 1, K = 64 & digits & $-19.3 \pm 0.3$ &" in sheet.texts["tex"]
    for rule in ("toprule", "midrule", "bottomrule"):
        assert rf"\{rule}" in sheet.texts["tex"]


def test_bold_only_where_intervals_are_apart(runs):
    sheet = evaluation(collect([runs]))
    column = sheet.head.index("log p̂(x)")
    # IWAE-64 differs by 0.8 ± 0.4, log p by 0.8 ± 0.06.
    assert sheet.bold == {(1, column)}
    assert "**-18.77 ± 0.04**" in sheet.texts["md"]
    assert r"$\mathbf{-18.77 \pm 0.04}$" in sheet.texts["tex"]
    alone = evaluation(collect([runs / "demo_iwae"]))
    assert not alone.bold


def test_lower_is_better_for_kl():
    frame = all_frames()["evaluations"].query("data.str.startswith('digits')")
    sheet = evaluation(Tables({}, {"evaluations": frame[frame["metric"] == "kl_q_p"]}))
    values = [float(row[2].split(" ")[0].replace("−", "-")) for row in sheet.rows]
    assert all(values[row] == min(values) for row, _ in sheet.bold)


def test_seeds_are_one_row_with_the_error_between_them():
    sheet = evaluation(Tables({}, {"evaluations": all_frames()["evaluations"]}))
    row = next(row for row in sheet.rows if row[sheet.head.index("seeds")] == "2")
    assert row[0].startswith("IWAE, ")
    assert "iwae (2 seeds)" in sheet.texts["csv"]
    # Values -20.0 and -19.9: mean -19.95, standard error 0.05.
    assert row[sheet.head.index("seeds") + 1] == "−19.95 ± 0.05"


def test_published_values_stand_beside_ours(runs):
    rows = [
        ["digits", "iwae", "", 1, 64, "log_p", -18.5, 0.02, "A 2018"],
        ["mnist", "vae", "", 1, 64, "log_p", -86.2, 0.2, "A"],
    ]
    pd.DataFrame(rows, columns=list(PUBLISHED.columns)).to_csv(runs / "some.published.csv", index=False)
    sheet = evaluation(collect([runs]))
    place = sheet.head.index("log p̂(x)") + 1
    assert sheet.head[place] == "published"
    assert [row[place] for row in sheet.rows] == ["–", "−18.5 ± 0.02"]


def test_settings_of_one_estimator_are_told_apart(runs):
    for name, order in (("demo-vae", "joint"), ("demo-vae-random", "random")):
        if name != "demo-vae":
            shutil.copytree(runs / "demo-vae", runs / name)
        config = runs / name / "config.toml"
        config.write_text(config.read_text().replace('order = "joint"', f'order = "{order}"'))
    other = evaluation_of("demo-vae") | {"data": "digits:test[0:200] seed 0"}
    (runs / "demo-vae" / "again.evaluation.json").write_text(json.dumps(other))
    rows = [row[:2] for row in evaluation(collect([runs])).rows]
    assert rows == [
        ("VAE, M = 1, K = 64", "digits, test[0:200]"),
        ("VAE, M = 1, K = 64", "digits, test[0:300]"),
        ("VAE, M = 1, K = 64, update.order = random", "digits, test[0:300]"),
        ("IWAE, M = 1, K = 64", "digits, test[0:300]"),
    ]


def test_gaps_and_unknown_metrics(runs):
    path = runs / "demo-vae" / "evaluation.json"
    content = json.loads(path.read_text())
    content["rows"] = [{"metric": "my_metric", "value": 1.0, "stderr": float("nan"), "definition": "mine"}]
    path.write_text(json.dumps(content))
    sheet = evaluation(collect([runs]))
    assert "| VAE, M = 1, K = 64 | digits | – | – | – | 1 |" in sheet.texts["md"]
    assert r"my\_metric" in sheet.texts["tex"]


def test_slopes_once_per_line():
    frame = all_frames()["slopes"]
    sheet = slopes(Tables({}, {"slopes": pd.concat([frame, frame.assign(fixed=3, slope=frame["slope"] + 1e-16)])}))
    assert len(sheet.rows) == len(frame)
    assert sheet.rows[0][sheet.head.index("slope")] == "0.500 ± 0.013"


def test_nothing_there(runs):
    (runs / "demo-vae" / "evaluation.json").unlink()
    shutil.rmtree(runs / "demo_iwae")
    assert isinstance(evaluation(collect([runs])), Missing)
    assert isinstance(slopes(collect([runs])), Missing)


def test_gradients_are_in_the_order_of_k_and_not_of_their_measurement(tmp_path):
    run = make_run(tmp_path, "demo", "iwae", epochs=2)
    found = SNR.read(run.snr)
    largest = found["K"].max()
    SNR.write(run.snr, pd.concat([found[found["K"] == largest], found[found["K"] < largest]]))
    shown = gradients(collect([tmp_path]))
    at = shown.head.index("K")
    assert len({row[at] for row in shown.rows}) > 1
    assert [int(row[at]) for row in shown.rows] == sorted(int(row[at]) for row in shown.rows)
