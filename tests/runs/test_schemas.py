"""Each kind of result is checked column by column: one error that names file and column, whatever is in the file."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snrkit.errors import ResultsError
from snrkit.runs.kinds import KINDS
from snrkit.runs.kinds.__main__ import lines
from snrkit.runs.kinds.draws import DRAWS
from snrkit.runs.kinds.evaluation import EVALUATION
from snrkit.runs.kinds.snr import SNR
from tests.support.tables import kept, table


def put(path, name, values):
    """A sound table with another column in place of one, and its metadata as they were."""
    SNR.write(path, table())
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
    for use in (SNR.read, lambda path: SNR.merge(path, table())):
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
    np.testing.assert_array_equal(SNR.read(tmp_path / "a.parquet")["stderr"], expected)


def test_columns_that_are_there_twice(tmp_path):
    path = tmp_path / "a.parquet"
    SNR.write(path, table())
    sound = pq.read_table(path)
    pq.write_table(sound.append_column("K", sound["K"]), path)
    with pytest.raises(ResultsError, match="columns twice: K"):
        SNR.read(path)


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
    SNR.write(path, table())
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
    if problem:
        with pytest.raises(ResultsError, match=problem):
            SNR.read(path)
    else:
        assert SNR.read(path)["K"].tolist() == [1, 10, 100]


def test_a_folder_named_like_a_partition_adds_no_column(tmp_path):
    path = tmp_path / "K=77" / "snr.parquet"
    SNR.write(path, table())
    assert SNR.read(path)["K"].tolist() == [1, 10, 100]


@pytest.mark.parametrize("change", [{"K": -3}, {"draw": -1}, {"value": "x"}, {"estimator": None}, {"coordinate": 7}])
def test_kept_draws_that_cannot_be_are_not_merged_with(tmp_path, change):
    path = tmp_path / "a.draws.parquet"
    DRAWS.merge(path, kept())
    DRAWS.merge(path, kept(seed=1))
    assert len(DRAWS.read(path)) == 4
    kept(**change).to_parquet(path)
    with pytest.raises(ResultsError, match=f"column '{next(iter(change))}'"):
        DRAWS.merge(path, kept())


SCORE = {"metric": "log_p", "value": -84.0, "stderr": 0.1, "definition": "d"}
SCORES = {"schema": 1, "step": 0, "points": 2, "samples": 128, "data": "d", "rows": [SCORE]}


@pytest.mark.parametrize(
    "content",
    [
        [], None, {}, SCORES | {"step": -1}, SCORES | {"step": True}, SCORES | {"points": 0},
        SCORES | {"samples": 1e999}, SCORES | {"schema": "1"}, SCORES | {"rows": {}}, SCORES | {"rows": [3]},
        SCORES | {"data": None}, SCORES | {"rows": [SCORE | {"stderr": -1}]},
        SCORES | {"rows": [SCORE | {"value": "x"}]}, SCORES | {"rows": [SCORE | {"metric": None}]},
    ],
)  # fmt: skip
def test_an_evaluation_that_cannot_be(tmp_path, content):
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(SCORES))
    assert len(EVALUATION.read(path)) == 1
    path.write_text(json.dumps(content))
    with pytest.raises(ResultsError, match="not an evaluation") as caught:
        EVALUATION.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", KINDS.names)
def test_a_kind_is_whole(name):
    kind = KINDS.load(name)
    assert kind.name == name
    assert set(kind.key) <= set(kind.columns)
    assert all(column.meaning for column in kind.columns.values())
    assert {column.since for column in kind.columns.values()} <= set(range(1, kind.version + 1))
    assert (kind.later is None) == (kind.version == 1)


@pytest.mark.parametrize("name", KINDS.names)
def test_every_column_is_listed(name):
    found = "\n".join(lines(name))
    assert all(f"| `{column}` | " in found for column in KINDS.load(name).columns)
