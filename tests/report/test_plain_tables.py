"""``snrkit report`` of a table that pandas wrote: the same lines as of our own files, or a line that says why not."""

import pandas as pd
import pytest

from snrkit.cli.main import main
from tests.support.results import readings

pytestmark = pytest.mark.usefixtures("svg_alone")


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = readings()
    return table[table["step"] == 600]


def refused(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(["report", *words])
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    return said


@pytest.mark.slow
def test_csv_and_parquet_of_pandas_are_drawn_alike(table, capsys):
    table.to_csv("t.csv", index=False)
    table.to_parquet("t.parquet")
    for name in ("t.csv", "t.parquet"):
        main(["report", name, "--figure", "snr_vs_k", "--out", f"out-{name}"])
    one, other = (pd.read_csv(f"out-{name}/snr_vs_k.csv") for name in ("t.csv", "t.parquet"))
    assert len(one) > 4
    pd.testing.assert_frame_equal(one, other)
    capsys.readouterr()


def test_what_a_table_lacks_is_said(table, capsys):
    table[["run", "metric", "value", "estimator", "M", "K", "block", "scope"]].to_csv("few.csv")
    main(["report", "few.csv", "--figure", "snr_vs_k"])
    said = capsys.readouterr().err
    assert "few.csv: lacks stderr (no error bars), floor (no floor, so that signal" in said
    assert "Unnamed: 0" in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.assign(K="many"), "column 'K' holds something else"),
        (lambda t: t.drop(columns="metric"), "has no column metric"),
        (lambda t: pd.concat([t, t.assign(value=t["value"] + 1)]), "two different readings of 'snr_mean' (run demo"),
    ],
)
def test_what_cannot_be_read_is_a_line(table, capsys, change, words):
    change(table).to_csv("t.csv", index=False)
    assert words in refused(capsys, "t.csv")


def test_a_csv_that_is_met_in_a_folder_is_passed_over(table, capsys, tmp_path):
    (tmp_path / "folder").mkdir()
    table.to_csv("folder/t.csv", index=False)
    assert "no results there" in refused(capsys, "folder")
