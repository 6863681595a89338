"""The evaluation table: rounding, formats, gaps."""

import csv
import io
import json

import pytest

from snrkit.report.collect import collect
from snrkit.report.drawing import Missing
from snrkit.report.tables import evaluation_table, rounded


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
    sheet = evaluation_table(collect([runs]))
    first, second = csv.DictReader(io.StringIO(sheet.texts["csv"]))
    assert (first["run"], first["iwae_64"], first["iwae_64_stderr"]) == ("demo-vae", "-20.1", "0.3")
    assert (second["run"], second["log_p"]) == ("demo_iwae", "-18.77")
    markdown = sheet.texts["md"].splitlines()
    assert markdown[0] == "| run | trained with | IWAE-64 | log p̂(x) | active units |"
    assert markdown[2] == "| demo-vae | VAE, M = 1, K = 64 | -20.1 ± 0.3 | -19.57 ± 0.04 | 14 ± 0 |"
    assert "- log p̂(x): 5000-sample bound, nats" in markdown
    assert r"demo\_iwae & IWAE, M = 1, K = 64 & $-19.3 \pm 0.3$ &" in sheet.texts["tex"]
    assert r"\toprule" in sheet.texts["tex"]


def test_gaps_and_unknown_metrics(runs):
    path = runs / "demo-vae" / "evaluation.json"
    content = json.loads(path.read_text())
    content["rows"] = [{"metric": "my_metric", "value": 1.0, "stderr": float("nan"), "definition": "mine"}]
    path.write_text(json.dumps(content))
    sheet = evaluation_table(collect([runs]))
    assert "| demo-vae | VAE, M = 1, K = 64 | – | – | – | 1 |" in sheet.texts["md"]
    assert r"my\_metric" in sheet.texts["tex"]


def test_no_evaluation(runs):
    (runs / "demo-vae" / "evaluation.json").unlink()
    assert isinstance(evaluation_table(collect([runs / "demo-vae"])), Missing)
