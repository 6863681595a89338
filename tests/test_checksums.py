"""What is written bears a checksum that any flipped bit contradicts, and other programs read it as before."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from snrkit import checksums
from snrkit.checksums import ChecksumError, checked, signed, unsealed
from snrkit.errors import ResultsError
from snrkit.files import read_json, write_json
from snrkit.runs.folder import RunDir
from snrkit.runs.kinds.slopes import SLOPES
from snrkit.runs.kinds.snr import SNR
from tests.support.tables import slopes, table


def zipped():
    buffer = io.BytesIO()
    np.savez(buffer, a=np.arange(5.0))
    return checksums.seal_zip(buffer.getvalue())


def columnar():
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": np.arange(5.0), "b": list("vwxyz")}), buffer)
    return checksums.seal_parquet(buffer.getvalue())


@pytest.mark.parametrize("made", [zipped, columnar])
def test_every_single_bit_counts(made):
    content = made()
    assert checksums.verify(content)
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(ChecksumError):
            checksums.verify(bytes(flipped))


def test_other_programs_read_sealed_files(tmp_path):
    assert np.load(io.BytesIO(zipped()))["a"].tolist() == [0, 1, 2, 3, 4]
    (tmp_path / "a.parquet").write_bytes(columnar())
    assert pd.read_parquet(tmp_path / "a.parquet")["b"].tolist() == list("vwxyz")
    buffer = io.BytesIO()
    torch.save({"a": torch.arange(3.0)}, buffer)
    (tmp_path / "a.pt").write_bytes(checksums.seal_zip(buffer.getvalue()))
    for how in ({}, {"mmap": True}):
        assert torch.load(tmp_path / "a.pt", weights_only=True, **how)["a"].tolist() == [0, 1, 2]


def test_files_without_a_seal_are_read_and_noted(tmp_path):
    path = tmp_path / "a.parquet"
    table().to_parquet(path)
    with unsealed() as found:
        assert SNR.read(path)["K"].tolist() == [1, 10, 100]
        SNR.write(tmp_path / "b.parquet", table(K=3))
        assert SNR.read(tmp_path / "b.parquet")["K"].tolist() == [3] * 3
    assert list(found) == [str(path)]


def test_another_digit_in_json(tmp_path):
    path = tmp_path / "evaluation.json"
    write_json(path, signed({"rows": [{"value": -84.25, "stderr": 0.1}]}))
    assert read_json(path) == {"rows": [{"value": -84.25, "stderr": 0.1}]}
    path.write_text(path.read_text().replace("84.25", "84.35"))
    with pytest.raises(ResultsError, match="checksum differs"):
        read_json(path)


def test_numbers_that_json_knows_in_its_own_way_keep_their_checksum():
    record = {"a": float("nan"), "b": [0.1 + 0.2, 1e-300, 10**17], "c": None, "d": "ü\u2028"}
    again = checked(json.loads(json.dumps(signed(record))))
    assert json.dumps(again) == json.dumps(record)


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line.replace("0.25", "0.75"),
        lambda line: line.replace("bound", "bount"),
        lambda line: line[:-1] + "J",
    ],
    ids=["value", "name", "end"],
)
def test_another_character_in_the_metrics(tmp_path, damage):
    run = RunDir(tmp_path)
    run.append_metrics({"epoch": 1, "bound": 0.25})
    run.append_metrics({"epoch": 2, "bound": 0.5})
    first, second = run.metrics.read_text().splitlines(keepends=True)
    run.metrics.write_text(damage(first) + second)
    with pytest.raises(ResultsError, match="line 1 is"):
        run.read_metrics()


def test_the_last_line_end_of_the_metrics(tmp_path):
    run = RunDir(tmp_path)
    run.append_metrics({"epoch": 1, "bound": 0.25})
    text = run.metrics.read_text()
    for rest in ("J", ""):  # another character; not yet written when the process was killed
        run.metrics.write_text(text[:-1] + rest)
        if rest:
            with pytest.raises(ResultsError, match="line 1"):
                run.read_metrics()
        else:
            assert run.read_metrics() == []


def test_a_small_table_is_merged_to_the_last_bit_and_any_changed_character_is_found(tmp_path):
    path = tmp_path / "a.slopes.csv"
    SLOPES.merge(path, slopes())
    SLOPES.merge(path, slopes(block="b"))
    SLOPES.merge(path, slopes(block="b", slope=2.0))
    with path.open() as stream:
        found = list(csv.DictReader(stream))
    assert [float(row["slope"]) for row in found] == [0.1 + 0.2, 2.0]
    assert [float(row["ci_high"]) for row in found] == [1 / 3] * 2
    assert SLOPES.read(path)["run"].tolist() == ["NA"] * 2
    assert "checksum" not in SLOPES.read(path)
    text = path.read_text()
    for old, new in (("0.01", "0.11"), ("iwae", "iwaf"), ("stderr", "stdfrr"), ("agrees", "agreet")):
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(ResultsError, match="checksum differs"):
            SLOPES.read(path)
        with pytest.raises(ResultsError):
            SLOPES.merge(path, slopes())
