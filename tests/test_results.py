"""Tables, run directories and atomic writes: a whole file or the old one, never something between."""

import json
import math
import os
import resource
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snrkit import results
from snrkit.errors import OutputError, ResultsError
from snrkit.results import (
    COLUMNS,
    KEY,
    RunDir,
    merge_table,
    read_table,
    require_same_parameters,
    require_writable,
    write_bytes,
    write_table,
)


def table(**columns):
    """Three rows that differ in K, with a NaN among the numbers."""
    rows = pd.DataFrame(
        {
            name: ["text"] * 3 if pa.types.is_string(kind) else np.arange(3).astype(kind.to_pandas_dtype())
            for name, (kind, _) in COLUMNS.items()
        }
    )
    rows["floor"] = [0.5, math.nan, 0.25]
    return rows.assign(**{"options": "", "K": [1, 10, 100], "M": 1, "draws": [4, 5, 6]} | columns)


@pytest.fixture
def full_disk():
    """A device that takes 4,096 bytes of a file and no more, as far as this process can tell."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_table_round_trip(tmp_path):
    path = tmp_path / "deep" / "er" / "snr.parquet"
    write_table(path, table())
    again = read_table(path)
    assert list(again.columns) == list(COLUMNS)
    pd.testing.assert_frame_equal(again, table()[list(COLUMNS)], check_dtype=False)
    assert (again.dtypes["K"], again.dtypes["value"]) == (np.int64, np.float64)
    assert names(path.parent) == ["snr.parquet"]


def test_column_order_does_not_matter_on_writing(tmp_path):
    write_table(tmp_path / "a.parquet", table()[list(COLUMNS)[::-1]])
    assert list(read_table(tmp_path / "a.parquet").columns) == list(COLUMNS)


def test_a_table_from_before_a_column_can_be_written(tmp_path):
    path = tmp_path / "a.parquet"
    write_table(path, table().drop(columns=["mode", "parameters"]))
    found = read_table(path)
    assert set(found["mode"]) == {"evaluation"}
    assert set(found["parameters"]) == {""}


@pytest.mark.parametrize("wrong", [table().drop(columns="floor"), table(extra=1)], ids=["missing", "extra"])
def test_write_refuses_other_columns(tmp_path, wrong):
    with pytest.raises(ResultsError, match=r"floor|extra"):
        write_table(tmp_path / "a.parquet", wrong)
    assert names(tmp_path) == []


def test_merge_replaces_rows_measured_again_and_keeps_the_others(tmp_path):
    path = tmp_path / "snr.parquet"
    assert len(merge_table(path, table(value=1.0))) == 3
    again = table(value=2.0, draws=77).iloc[[1]]
    other = table(value=3.0, estimator="vae").iloc[[1]]
    returned = merge_table(path, pd.concat([again, other]))
    stored = read_table(path)
    pd.testing.assert_frame_equal(returned, stored, check_dtype=False)
    assert sorted(zip(stored.estimator, stored.K, stored.value, strict=True)) == [
        ("text", 1, 1.0), ("text", 10, 2.0), ("text", 100, 1.0), ("vae", 10, 3.0),
    ]  # fmt: skip
    assert not stored.duplicated(KEY).any()


@pytest.mark.parametrize("column", ["M", "block", "metric", "data", "step", "run", "options", "scope"])
def test_every_key_column_keeps_rows_apart(tmp_path, column):
    path = tmp_path / "snr.parquet"
    merge_table(path, table())
    changed = "other" if pa.types.is_string(COLUMNS[column][0]) else 55
    assert len(merge_table(path, table().assign(**{column: changed}))) == 6


def stamped(version):
    schema = results.arrow_schema().with_metadata({"snrkit_schema": version} if version else None)
    return pa.Table.from_pandas(table()[list(COLUMNS)], schema=schema, preserve_index=False).replace_schema_metadata(
        schema.metadata
    )


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (lambda path: pq.write_table(stamped("2"), path), "newer"),
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
        read_table(path)
    assert caught.value.argument == str(path)


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_table_is_refused_and_merge_leaves_it_alone(tmp_path, keep):
    path = tmp_path / "a.parquet"
    write_table(path, table())
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    before = path.read_bytes()
    with pytest.raises(ResultsError):
        merge_table(path, table())
    assert path.read_bytes() == before


def test_a_write_that_fails_leaves_the_old_file_and_no_temporary_one(tmp_path, full_disk):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    with pytest.raises(OutputError, match="cannot be written") as caught:
        write_bytes(path, b"new" * 10_000)
    assert caught.value.argument == str(path)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_a_table_that_fails_to_be_written_leaves_the_old_one(tmp_path, full_disk):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"old")
    many = pd.concat([table().assign(definition=str(i) * 400) for i in range(400)])
    with pytest.raises(OutputError):
        write_table(path, many)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.parquet"]


def test_a_full_disk_is_called_so(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"no space left on device\); free some space"):
        write_bytes(tmp_path / "a", b"x")
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_any_exception_within_the_block_cleans_up(tmp_path, error):
    with pytest.raises(error), results.atomic_path(tmp_path / "a") as temporary:  # noqa: PT012
        temporary.write_bytes(b"half")
        raise error
    assert names(tmp_path) == []


def test_a_path_below_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    for attempt in (lambda path: write_bytes(path, b""), require_writable):
        with pytest.raises(OutputError, match="--out"):
            attempt(tmp_path / "file" / "a.json")


def test_require_writable(tmp_path):
    require_writable(tmp_path / "new" / "a.json")
    assert names(tmp_path / "new") == []
    with pytest.raises(OutputError, match="is a directory"):
        require_writable(tmp_path / "new")


def test_written_files_have_the_permissions_of_any_new_file(tmp_path):
    write_bytes(tmp_path / "atomic", b"")
    (tmp_path / "plain").touch()
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("atomic", "plain")}
    assert len(modes) == 1


def test_metrics_round_trip_and_replace(tmp_path):
    run = RunDir(tmp_path / "run")
    assert run.read_metrics() == []
    run.write_metrics([{"epoch": 1}])
    run.append_metrics({"epoch": 2, "bound": 0.1 + 0.2})
    assert run.read_metrics() == [{"epoch": 1}, {"epoch": 2, "bound": 0.1 + 0.2}]
    run.write_metrics([{"epoch": 5}])
    assert run.read_metrics() == [{"epoch": 5}]


def test_a_metrics_line_cut_short_is_left_out(tmp_path):
    run = RunDir(tmp_path)
    run.metrics.write_text('{"epoch": 1}\n{"epo')
    assert run.read_metrics() == [{"epoch": 1}]


@pytest.mark.parametrize("line", ["nonsense", "[1]", '{"bound": 1}', ""])
def test_a_damaged_metrics_line_is_named(tmp_path, line):
    run = RunDir(tmp_path)
    run.metrics.write_text(f'{{"epoch": 1}}\n{line}\n{{"epoch": 3}}\n')
    with pytest.raises(ResultsError, match="line 2"):
        run.read_metrics()


def test_status(tmp_path):
    run = RunDir(tmp_path / "run")
    assert run.state() == ""
    run.set_status("failed", "why not")
    assert run.state() == "failed"
    assert json.loads(run.status.read_text()) == {"state": "failed", "why": "why not"}
    run.status.write_text("{")
    assert run.state() == ""


def test_name_of_a_run_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert RunDir(Path()).name == tmp_path.name


def test_tables_from_before_the_parameters_were_noted(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(stamped("1").drop_columns(["parameters"]), path)
    assert read_table(path).parameters.tolist() == ["", "", ""]
    require_same_parameters(path, "text", 0, "abc")
    merge_table(path, table(parameters="abc"))
    assert read_table(path).parameters.tolist() == ["abc"] * 3


def test_rows_of_other_parameters_are_told_by_run_and_step(tmp_path):
    path = tmp_path / "a.parquet"
    require_same_parameters(path, "text", 0, "abc")
    write_table(path, table(parameters="abc"))
    for run, step, digest in (("text", 0, "abc"), ("other", 0, "x"), ("text", 7, "x")):
        require_same_parameters(path, run, step, digest)
    with pytest.raises(ResultsError, match="other parameters at step 0"):
        require_same_parameters(path, "text", 0, "x")
