"""A kind of result of another package is found, read, merged and told apart like our own."""

import subprocess
import sys

import pandas as pd
import pytest

from snrkit.errors import ResultsError
from snrkit.report.collect import collect
from snrkit.runs.kinds import KINDS
from tests.support.plugin import install

OWN = """
from snrkit.runs.kinds.base import RUN, number
from snrkit.runs.kinds.parquet import ParquetKind

NORMS = ParquetKind(
    name="norms", pattern="*.norms.parquet", columns={**RUN, "norm": number("of the weights", 0.0)}, remedy="weigh again",
    key=("run", "step"),
)
"""


@pytest.fixture
def norms(tmp_path, monkeypatch):
    """The kind of a package that is installed."""
    place = tmp_path / "site"
    monkeypatch.syspath_prepend(place)
    install(place, "own-kinds", "1.0", {"snrkit.kinds": {"norms": "own_kinds:NORMS"}}, own_kinds=OWN)
    yield KINDS.load("norms")
    sys.modules.pop("own_kinds", None)


def test_a_kind_of_another_package(norms, tmp_path):
    path = tmp_path / "runs" / "snr.norms.parquet"
    for step, norm in ((1, 2.0), (2, 3.0), (2, 4.0)):
        norms.merge(path, pd.DataFrame([{"run": "a", "step": step, "data": "d", "norm": norm}]))
    found = collect([tmp_path / "runs"])
    assert found["norms"]["norm"].tolist() == [2.0, 4.0]
    assert found["snr"].empty
    pd.DataFrame([{"run": "a", "step": 1, "data": "d", "norm": -1.0}]).to_parquet(path)
    with pytest.raises(ResultsError, match="column 'norm' holds -1, and must be at least 0; weigh again"):
        norms.read(path)


def test_a_list_of_kinds_that_nobody_reads_to_the_end_ends_without_a_traceback():
    command = f"{sys.executable} -m snrkit.runs.kinds | true"
    ended = subprocess.run(["bash", "-c", command], check=False, capture_output=True, text=True)
    assert ended.stderr == ""
