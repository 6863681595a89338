"""Tables: a whole file or the old one, never something between; rows of the same key replace each other."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snrkit.errors import OutputError, ResultsError
from snrkit.runs.kinds.snr import SNR, require_same_parameters
from tests.support.tables import table


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_table_round_trip(tmp_path):
    path = tmp_path / "deep" / "er" / "snr.parquet"
    SNR.write(path, table())
    again = SNR.read(path)
    assert list(again.columns) == list(SNR.columns)
    pd.testing.assert_frame_equal(again, table()[list(SNR.columns)], check_dtype=False)
    assert (again.dtypes["K"], again.dtypes["value"]) == (np.int64, np.float64)
    assert names(path.parent) == ["snr.parquet"]


def test_column_order_does_not_matter_on_writing(tmp_path):
    SNR.write(tmp_path / "a.parquet", table()[list(SNR.columns)[::-1]])
    assert list(SNR.read(tmp_path / "a.parquet").columns) == list(SNR.columns)


def test_a_table_from_before_a_column_can_be_written(tmp_path):
    path = tmp_path / "a.parquet"
    SNR.write(path, table().drop(columns=["mode", "parameters"]))
    found = SNR.read(path)
    assert set(found["mode"]) == {"evaluation"}
    assert set(found["parameters"]) == {""}


@pytest.mark.parametrize("wrong", [table().drop(columns="floor"), table(extra=1)], ids=["missing", "extra"])
def test_write_refuses_other_columns(tmp_path, wrong):
    with pytest.raises(ResultsError, match=r"floor|extra"):
        SNR.write(tmp_path / "a.parquet", wrong)
    assert names(tmp_path) == []


def test_merge_replaces_rows_measured_again_and_keeps_the_others(tmp_path):
    path = tmp_path / "snr.parquet"
    assert len(SNR.merge(path, table(value=1.0))) == 3
    again = table(value=2.0, draws=77).iloc[[1]]
    other = table(value=3.0, estimator="vae").iloc[[1]]
    returned = SNR.merge(path, pd.concat([again, other]))
    stored = SNR.read(path)
    pd.testing.assert_frame_equal(returned, stored, check_dtype=False)
    assert sorted(zip(stored.estimator, stored.K, stored.value, strict=True)) == [
        ("text", 1, 1.0), ("text", 10, 2.0), ("text", 100, 1.0), ("vae", 10, 3.0),
    ]  # fmt: skip
    assert not stored.duplicated(list(SNR.key)).any()


@pytest.mark.parametrize("column", ["M", "block", "metric", "data", "step", "run", "options", "scope"])
def test_every_key_column_keeps_rows_apart(tmp_path, column):
    path = tmp_path / "snr.parquet"
    SNR.merge(path, table())
    changed = "other" if SNR.columns[column].content == "text" else 55
    assert len(SNR.merge(path, table().assign(**{column: changed}))) == 6


def stamped(version):
    plain = pa.Table.from_pandas(table()[list(SNR.columns)], preserve_index=False)
    return plain.replace_schema_metadata({"snrkit_schema": version} if version else None)


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (lambda path: pq.write_table(stamped("4"), path), "newer"),
        (lambda path: pq.write_table(stamped("x"), path), "not a table of snrkit"),
        (lambda path: pq.write_table(stamped(None), path), "not a table of snrkit"),
        (lambda path: pq.write_table(stamped("1").drop_columns(["floor", "K"]), path), "columns missing: K, floor"),
        (lambda path: path.write_bytes(b"no parquet"), "not a readable Parquet"),
        (lambda path: path.write_bytes(b""), "not a readable Parquet"),
        (lambda path: None, "not a readable Parquet"),
    ],
    ids=["newer", "odd-version", "foreign", "columns", "text", "empty", "missing"],
)
def test_unusable_tables(tmp_path, write, problem):
    path = tmp_path / "a.parquet"
    write(path)
    with pytest.raises(ResultsError, match=problem) as caught:
        SNR.read(path)
    assert caught.value.argument == str(path)


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_table_is_refused_and_merge_leaves_it_alone(tmp_path, keep):
    path = tmp_path / "a.parquet"
    SNR.write(path, table())
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    before = path.read_bytes()
    with pytest.raises(ResultsError):
        SNR.merge(path, table())
    assert path.read_bytes() == before


def test_a_table_that_fails_to_be_written_leaves_the_old_one(tmp_path, full_disk):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"old")
    many = pd.concat([table().assign(definition=str(i) * 400) for i in range(400)])
    with pytest.raises(OutputError):
        SNR.write(path, many)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.parquet"]


def test_tables_from_before_the_parameters_were_noted(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(stamped("1").drop_columns(["parameters"]), path)
    assert SNR.read(path).parameters.tolist() == ["", "", ""]
    require_same_parameters(path, "text", 0, "abc")
    SNR.merge(path, table(parameters="abc"))
    assert SNR.read(path).parameters.tolist() == ["abc"] * 3


def test_rows_of_other_parameters_are_told_by_run_and_step(tmp_path):
    path = tmp_path / "a.parquet"
    require_same_parameters(path, "text", 0, "abc")
    SNR.write(path, table(parameters="abc"))
    for run, step, digest in (("text", 0, "abc"), ("other", 0, "x"), ("text", 7, "x")):
        require_same_parameters(path, run, step, digest)
    with pytest.raises(ResultsError, match="other parameters at step 0"):
        require_same_parameters(path, "text", 0, "x")
