"""The analysis of estimators for discrete latents: exact values, and that it says what it finds."""

import tomllib

import pytest
import torch

from analyses.common.report import Place
from analyses.discrete2020 import run
from analyses.discrete2020.learning import climb
from analyses.discrete2020.listed import Listed, Tuples, built, dreamt, k_sample, random_network
from snrkit.core.streams import Streams
from snrkit.estimators.base import build_estimator
from tests.support.enumeration import NETWORKS, Enumerated


@pytest.fixture(scope="module")
def network():
    return random_network(3, (3, 2), 1.0, Streams(1)), torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64)


def test_exact_values_are_those_of_the_sums(network):
    model, x = network
    log_p, log_q = Enumerated(model, x, 1).densities()
    evidence, reverse, forward = model.exact(x)
    posterior = log_p - torch.logsumexp(log_p, 0)
    assert evidence == pytest.approx(float(torch.logsumexp(log_p, 0).detach()), abs=1e-12)
    assert reverse == pytest.approx(float((log_q.exp() * (log_q - posterior)).sum().detach()), abs=1e-12)
    assert forward == pytest.approx(float((posterior.exp() * (posterior - log_q)).sum().detach()), abs=1e-12)
    assert float(model.log_marginal(x).detach()) == pytest.approx(evidence, abs=1e-12)


def test_gradients_by_tuples_are_those_of_the_tests(network):
    model, x = network
    own, other = Tuples(model, x, 2), Enumerated(model, x, 2)
    bound = other.gradient(other.mean(lambda w: k_sample(w.log_w).flatten()))
    vimco = own.mean(build_estimator("vimco", {}))
    for name in NETWORKS:
        torch.testing.assert_close(own.bound(k_sample)[name], bound[name])
        torch.testing.assert_close(vimco[name], bound[name], rtol=1e-9, atol=1e-12)


def test_climbing_comes_nearer_to_the_data(network):
    truth, _ = network
    data = dreamt(truth, 60, Streams(2))
    (estimator,) = built([{"name": "ovis-tilde", "gamma": 0}])
    model = Listed(3, (3, 2), 5)
    before = model.exact(data)[0]
    assert list(climb(model, data, estimator, {"steps": 30, "lr": 0.05, "batch": 20}, seed=1, K=5)) == list(range(31))
    assert model.exact(data)[0] > before + 0.1


TINY = """
estimators = [{name = "rws"}, {name = "vimco"}, {name = "wake-sleep"}]
[listed]
pixels = 4
latents = 3
scale = 1.0
points = 40
seed = 0
[means]
draws = 2000
networks = [1]
factor = 2.5
[snr]
estimator = {name = "ovis-tilde"}
steps = 20
lr = 0.01
batch = 10
K_trained = 4
K = [4, 8, 16]
points = 2
draws = 40
lent = [{name = "vimco"}]
[training]
steps = 6
lr = 0.01
batch = 10
K = 4
every = 3
seeds = [0, 1]
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("section", "said"),
    [("means", "Largest distance"), ("snr", "On the floor at K = 16"), ("training", "Exact values at the last step")],
)
def test_a_section_says_what_it_finds(section, said, tmp_path):
    place = Place(tmp_path / "runs", tmp_path, tomllib.loads(TINY), "tiny")
    text, tables = run.ANALYSIS.sections[section](place)
    assert said in text
    assert all(len(table) for table in (tables.values() if isinstance(tables, dict) else [tables]))
    assert (tmp_path / f"{section}.png").exists() == (section == "training")
    assert (tmp_path / "snr.parquet").exists() == (section == "snr")
