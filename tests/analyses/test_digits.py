"""The digits analysis end to end at a tiny size: its tables are what the report draws."""

import pytest

from analyses.digits import run as digits
from snrkit.report.collect import collect

TINY = """
[train]
data = {name = "digits"}
model.options = {hidden = [3], latent = 2}
epochs = 2
batch_size = 500
keep_every = 1
eval_points = 2

[watch]
every = 2
draws = 4

[runs]
iwae = {estimator = {name = "iwae", K = 2}, K = [1, 2]}

[evaluate]
samples = 128
points = 3

[measure]
K = [1, 2, 3]
draws = 4
data_points = 2

[advise]
budget = 2
draws = 4
data_points = 1
"""


@pytest.mark.slow
def test_tables_of_every_kind(monkeypatch, tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY)
    monkeypatch.setattr(digits, "HERE", tmp_path)
    monkeypatch.setattr("sys.argv", ["run.py", str(tmp_path / "tiny.toml")])
    digits.main()
    found = collect([tmp_path / "results"])
    for kind in ("snr", "slopes", "metrics", "evaluations", "points", "advice"):
        assert len(found[kind]), kind
    assert found["evaluations"]["step"].nunique() == 2
    assert not list((tmp_path / "results").rglob("*.pt"))
