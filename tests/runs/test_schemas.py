"""Each kind of result is checked column by column: one error that names file and column, whatever is in the file."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snrkit.errors import ResultsError
from snrkit.runs import schemas
from snrkit.runs.schemas import require_evaluation
from snrkit.runs.tables import (
    COLUMNS,
    COMPARISON_KEY,
    KEPT_KEY,
    SLOPE_KEY,
    merge_kept,
    merge_table,
    read_frame,
    read_table,
    write_table,
)
from tests.support.tables import table


def put(path, name, values):
    """A sound table with another column in place of one, and its metadata as they were."""
    write_table(path, table())
    sound = pq.read_table(path)
    column = values if isinstance(values, pa.Array) else pa.array([values] * 3)
    pq.write_table(sound.set_column(sound.column_names.index(name), name, column), path)


@pytest.mark.parametrize(
    ("name", "values", "problem"),
    [
        ("K", -3, "holds -3, and must be at least 1"),
        ("K", 0, "at least 1"),
        ("M", 1.5, "something else than whole numbers"),
        ("M", pa.array([2**63] * 3, pa.uint64()), "something else"),
        ("draws", 0, "at least 1"),
        ("step", -1, "at least 0"),
        ("seed", "7", "something else"),
        ("stderr", -1.0, "at least 0"),
        ("seconds", -0.5, "at least 0"),
        ("value", "high", "something else than numbers"),
        ("value", pa.array([[1.0]] * 3), "something else"),
        ("run", pa.array([None] * 3, pa.string()), "empty in 3 rows"),
        ("estimator", pa.array(["a", None, "b"]), "empty in 1 rows"),
        ("metric", pa.array(["a", "", "b"]), "empty in 1 rows"),
        ("block", 3, "something else than texts"),
        ("options", b"\xff", "something else"),
        ("K", pa.array([1, None, 2]), "empty in 1 rows"),
        ("complete", "yes", "something else than truth values"),
        ("n_dropped", True, "something else"),
    ],
)
def test_a_column_of_measurements_that_cannot_be(tmp_path, name, values, problem):
    path = tmp_path / "snr.parquet"
    put(path, name, values)
    before = path.read_bytes()
    for use in (read_table, lambda path: merge_table(path, table())):
        with pytest.raises(ResultsError, match=problem) as caught:
            use(path)
        assert caught.value.argument == str(path)
        assert f"column '{name}'" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "values",
    [pa.array([None, np.nan, np.inf]), pa.array([1, 2, 3], pa.int32()), pa.array([1.0, 2.0, 3.0], pa.float32())],
)
def test_what_can_be_is_read(tmp_path, values):
    put(tmp_path / "a.parquet", "stderr", values)
    expected = [np.nan if value is None else value for value in values.to_pylist()]
    np.testing.assert_array_equal(read_table(tmp_path / "a.parquet")["stderr"], expected)


def test_columns_that_are_there_twice(tmp_path):
    path = tmp_path / "a.parquet"
    write_table(path, table())
    sound = pq.read_table(path)
    pq.write_table(sound.append_column("K", sound["K"]), path)
    with pytest.raises(ResultsError, match="columns twice: K"):
        read_table(path)


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ({"snrkit_schema": "9" * 5000}, "not a table of snrkit"),
        ({"snrkit_schema": "0"}, "not a table of snrkit"),
        ({"snrkit_schema": "²"}, "not a table of snrkit"),
        ({"snrkit_schema": "1", "pandas": "no json"}, ""),
        ({"snrkit_schema": "1", "pandas": '{"index_columns": ["nowhere"], "columns": 3}'}, ""),
    ],
)
def test_foreign_metadata(tmp_path, metadata, problem):
    path = tmp_path / "a.parquet"
    write_table(path, table())
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
    if problem:
        with pytest.raises(ResultsError, match=problem):
            read_table(path)
    else:
        assert read_table(path)["K"].tolist() == [1, 10, 100]


def test_a_folder_named_like_a_partition_adds_no_column(tmp_path):
    path = tmp_path / "K=77" / "snr.parquet"
    write_table(path, table())
    assert read_table(path)["K"].tolist() == [1, 10, 100]


DRAWS = pd.DataFrame(
    {"run": "r", "step": 1, "data": "d", "estimator": "e", "options": "", "M": 1, "K": 2, "coordinate": "a[0]",
     "draw": [0, 1], "seed": 0, "method": "units", "value": 0.5}
)  # fmt: skip


@pytest.mark.parametrize("change", [{"K": -3}, {"draw": -1}, {"value": "x"}, {"estimator": None}, {"coordinate": 7}])
def test_kept_draws_that_cannot_be_are_not_merged_with(tmp_path, change):
    path = tmp_path / "a.draws.parquet"
    merge_kept(path, DRAWS)
    merge_kept(path, DRAWS.assign(seed=1))
    assert len(read_frame(path, KEPT_KEY, "", schemas.DRAWS)) == 4
    DRAWS.assign(**change).to_parquet(path)
    with pytest.raises(ResultsError, match=f"column '{next(iter(change))}'"):
        merge_kept(path, DRAWS)


SCORE = {"metric": "log_p", "value": -84.0, "stderr": 0.1, "definition": "d"}
EVALUATION = {"schema": 1, "step": 0, "points": 2, "samples": 128, "data": "d", "rows": [SCORE]}


@pytest.mark.parametrize(
    "content",
    [
        [], None, {}, EVALUATION | {"step": -1}, EVALUATION | {"step": True}, EVALUATION | {"points": 0},
        EVALUATION | {"samples": 1e999}, EVALUATION | {"schema": "1"}, EVALUATION | {"rows": {}}, EVALUATION | {"rows": [3]},
        EVALUATION | {"data": None}, EVALUATION | {"rows": [SCORE | {"stderr": -1}]},
        EVALUATION | {"rows": [SCORE | {"value": "x"}]}, EVALUATION | {"rows": [SCORE | {"metric": None}]},
    ],
)  # fmt: skip
def test_an_evaluation_that_cannot_be(tmp_path, content):
    from snrkit.report.collect import KINDS

    require_evaluation(EVALUATION, tmp_path)
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ResultsError, match="not an evaluation") as caught:
        KINDS["evaluations"].read(path)
    assert "\n" not in str(caught.value)


def test_every_column_has_its_rule():
    assert set(schemas.SNR) == set(COLUMNS)
    assert set(schemas.DRAWS) == {*KEPT_KEY, "value"}
    assert set(SLOPE_KEY) <= set(schemas.SLOPES)
    assert set(COMPARISON_KEY) <= set(schemas.COMPARISONS)
