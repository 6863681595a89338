"""The loops that other libraries' readings are held against, and what was found."""

import pandas as pd
import pytest
import torch

from analyses.peers.comparing import BAR, METRICS, compared, loop, readings
from analyses.peers.run import ANALYSIS
from tests.strangers.models import pooled
from tests.support.extras import library

RESULTS = ANALYSIS.home / "results" / "cpu"


def test_readings_are_those_of_all_draws_with_a_jackknife():
    rows = 0.3 + torch.randn(400, 7, generator=torch.Generator().manual_seed(0))
    found = readings(rows)
    assert found["variance"][0] == pytest.approx(float(rows.double().var(dim=0).sum()))
    assert found["snr_pooled_squared"] == pytest.approx(pooled(rows.double()), rel=1e-6)
    assert abs(found["variance"][0] - 7) < 4 * found["variance"][1]


def test_a_wrong_factor_is_seen():
    rows = {"all": 0.3 + torch.randn(400, 7, generator=torch.Generator().manual_seed(0))}
    own = readings(rows["all"])
    table = pd.DataFrame(
        [
            {"block": "all", "metric": name, "scope": "minibatch", "value": own[name][0], "stderr": own[name][1]}
            for name in METRICS
        ]
    )
    assert all(row["z"] == 0 for row in compared("", table, rows))
    assert any(abs(row["z"]) > BAR for row in compared("", table, {"all": 1.5 * rows["all"]}))


def test_a_loop_leaves_no_gradient_of_the_draw_before():
    weight = torch.nn.Parameter(torch.ones(3))
    rows = loop(lambda: (weight * torch.randn(3)).sum().backward(), {"all": [weight]}, 5, seed=1, scale=2.0)["all"]
    torch.manual_seed(1)
    torch.testing.assert_close(rows, 2 * torch.stack([torch.randn(3) for _ in range(5)]))


@pytest.mark.parametrize("section", ANALYSIS.sections)
def test_what_was_found_is_within_the_bar(section):
    table = pd.read_csv(RESULTS / f"{section}.csv")
    assert set(table["metric"]) == set(METRICS)
    assert (table[["measured se", "by hand se"]] > 0).all(axis=None)
    assert table["z"].abs().max() < BAR


@pytest.mark.extra
@pytest.mark.parametrize(("section", "needs"), [("pythae", "pythae"), ("pyro", "pyro"), ("lightning", "lightning")])
def test_a_section_can_be_run_again(section, needs, tmp_path, monkeypatch):
    library(needs, needs)
    monkeypatch.chdir(tmp_path)
    settings = (ANALYSIS.home / "cpu.toml").read_text()
    few = tmp_path / "few.toml"
    few.write_text(settings.replace("draws = 400", "draws = 40").replace("coin_draws = 1000", "coin_draws = 40"))
    ANALYSIS.main([section, "--settings", str(few), "--out", str(tmp_path / "out")])
    table = pd.read_csv(tmp_path / "out" / "results" / "few" / f"{section}.csv")
    committed = pd.read_csv(RESULTS / f"{section}.csv")
    assert list(table["what"]) == list(committed["what"])
