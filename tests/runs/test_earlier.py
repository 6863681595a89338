"""Results of schema 1: what they say in words is in the columns that came later, and nothing else of them changes."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from snrkit.report.find import find
from snrkit.runs.kinds import KINDS
from snrkit.runs.kinds.advice import ADVICE
from snrkit.runs.kinds.evaluation import EVALUATION
from snrkit.runs.kinds.slopes import SLOPES
from snrkit.runs.kinds.snr import SNR
from tests.support.tables import slopes, table

ROOT = Path(__file__).parents[2]
OLD = ROOT / "tests" / "golden" / "old"
FOUND = find([OLD, *sorted((ROOT / "analyses").glob("*/results"))])
RUN = OLD / "mlp-iwae-joint"


@pytest.mark.rest_slow
@pytest.mark.parametrize("name", [name for name, files in FOUND.items() if files])
def test_every_file_that_is_kept_is_read_as_it_is(name):
    kind = KINDS.load(name)
    for path in FOUND[name]:
        read = kind.read(path)
        assert not kind.missing(list(read.columns)), path
        if path.suffix == ".parquet":
            raw = pd.read_parquet(path)
            same = [
                column for column in read if column in raw and kind.own([column])[column].content != "list of numbers"
            ]
            pd.testing.assert_frame_equal(read[same], raw[same], check_dtype=False)


def test_how_draws_were_made():
    rows = SNR.read(RUN / "snr.parquet").drop_duplicates("method").set_index("method")
    assert rows["direct"].to_dict() == {method: method == "direct" for method in rows.index}
    assert rows["nested"].to_dict() == {method: "nested" in method for method in rows.index}
    assert rows.loc["units, nested, mean from dreg", "mean_from"] == "dreg"


def test_what_a_definition_says():
    rows = SNR.read(RUN / "snr.parquet")
    assert (rows["pulled"] == rows["definition"].str.contains("pulled towards")).all()
    assert rows["pulled"].any()
    biased = rows["metric"].str.startswith("bias_")
    assert (rows["target"] != "").equals(biased)
    assert all(row.definition.endswith(f"; target: {row.target}") for row in rows[biased].itertuples())


def test_what_the_label_of_data_says_and_a_count_of_units():
    rows = EVALUATION.read(OLD / "hierarchical-dreg-joint" / "evaluation.json").set_index("metric")
    first = rows.iloc[0]
    assert (first["data_name"], first["part"], first["binarised"]) == ("digits", "test[0:4]", "dynamic seed 0")
    assert rows["layer"].dropna().to_dict() == {"active_units_1": 1, "active_units_2": 2}
    assert rows["dimensions"].dropna().to_dict() == {"active_units_1": 4, "active_units_2": 3}
    assert EVALUATION.read(RUN / "evaluation.json").set_index("metric").loc["active_units", "layer"] == 0


def test_what_was_advised(tmp_path):
    content = json.loads((RUN / "advice.json").read_text())
    content.pop("checksum")
    content["table"][0]["estimator"] = "ciwae (beta=0.5)"
    content["recommendations"][0]["setting"] = "ciwae (beta=0.5) M=1 K=6"
    (tmp_path / "advice.json").write_text(json.dumps(content))
    read = ADVICE.read(tmp_path / "advice.json")
    assert (read["name"][0], read["options"][0], read["best_for"][0]) == ("ciwae", "beta=0.5", "inference network")
    assert read["advised_inference"].tolist() == [True] + [False] * (len(read) - 1)
    told = [answer["setting"] for answer in content["recommendations"]][1]
    name, M, K = re.fullmatch(r"(\S+) M=(\d+) K=(\d+)", told).groups()
    [row] = read[read["advised_generative"]].to_dict("records")
    assert (row["name"], row["M"], row["K"]) == (name, int(M), int(K))


def test_rows_merged_into_an_old_table_leave_it_as_it_is(tmp_path):
    old, small = (shutil.copy(RUN / name, tmp_path) for name in ("snr.parquet", "snr.slopes.csv"))
    before, lines = SNR.read(old), Path(small).read_text().splitlines()
    pd.testing.assert_frame_equal(SNR.merge(Path(old), table()).iloc[: len(before)], before, check_dtype=False)
    SLOPES.merge(Path(small), slopes())
    # A row begins as it did: its checksum has moved behind the new columns.
    merged = Path(small).read_text().splitlines()
    assert len(merged) == len(lines) + 1
    assert all(new.startswith(line.rpartition(",")[0] + ",") for line, new in zip(lines, merged, strict=False))
