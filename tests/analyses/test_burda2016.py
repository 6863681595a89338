"""The analysis end to end, on digits and with models of a handful of units."""

import pandas as pd
import pytest

from analyses.burda2016.run import ANALYSIS

pytestmark = pytest.mark.slow

TINY = """
[run]
batch_size = 100
epochs = 1
eval_points = 0
data = { train_limit = 100 }
[models.1]
name = "mlp"
options = { hidden = [8], latent = 4 }
[models.2]
name = "hierarchical"
options = { latents = [4, 3], hidden = [[8], [5]] }
[evaluation]
samples = 128
points = 3
active_points = 4
[likelihoods]
K = [1, 2]
seeds = [0, 1]
data = [{ name = "digits", binarise = "dynamic" }]
[latents]
K = [2]
seeds = [0, 1]
data = { name = "digits" }
model = { name = "mlp", options = { hidden = [8], latent = 2 } }
samples = 50
points = 2
[reconstructions]
k = [3]
points = 3
samples = 1
"""


@pytest.fixture
def run(capsys, tmp_path):
    """The analysis on the tiny settings; gives what it printed."""
    (tmp_path / "tiny.toml").write_text(TINY)

    def call(*sections):
        ANALYSIS.main(["--settings", str(tmp_path / "tiny.toml"), "--out", str(tmp_path), *sections])
        return capsys.readouterr().out

    return call


def test_from_settings_to_results(run, tmp_path):
    run()
    results = tmp_path / "results" / "tiny"
    table = pd.read_csv(results / "likelihoods.csv")
    assert list(zip(table.layers, table.k, table.estimator, strict=True)) == [
        (layers, k, estimator) for layers in (1, 2) for k, estimator in ((1, "vae"), (2, "vae"), (2, "iwae"))
    ]
    assert table["ours"].between(20, 64).all()  # 64 pixels; the untrained model gives each 1/2
    assert "+" in table["active units, ours"].iloc[-1]
    text = (tmp_path / "RESULTS.md").read_text()
    assert all(
        heading in text for heading in ("# Importance", "## Scale: tiny", "### Likelihoods", "### Sampling from")
    )
    assert (results / "latents.pdf").exists()
    shape = [name for name in pd.read_csv(results / "latents.csv") if "," in name and not name.endswith(" se")]
    assert shape == ["axis ratio, q", "axis ratio, posterior", "|correlation|, posterior"]
    assert set(pd.read_csv(results / "likelihoods_orders.csv").iloc[:, -1]) <= {"holds", "does not hold", "undecided"}
    assert (results / "reconstructions-2-iwae.png").exists()
    # A second time everything is there already, and comes out the same.
    trained = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("run.pt")}
    assert len(trained) == 14
    assert "log_p" not in run("likelihoods")  # nothing evaluated
    assert trained == {path: path.stat().st_mtime_ns for path in trained}
    pd.testing.assert_frame_equal(pd.read_csv(results / "likelihoods.csv"), table)
