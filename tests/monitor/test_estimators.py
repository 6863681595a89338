"""Estimators of a model along a training: it stays the unmonitored one, and readings are those of ``measure``."""

import random

import numpy as np
import pytest
import torch
from torch import nn

import snrkit
from snrkit.errors import CapabilityError, SpecError
from snrkit.runs.kinds.snr import SNR

X = (torch.rand(40, 9, generator=torch.Generator().manual_seed(1)) < 0.4).float()
WATCHED = X[:4]


class VAE(nn.Module):
    """A plain module with all that a measurement could disturb: dropout, and a buffer that moves in training."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(9, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 4))
        self.decoder = nn.Linear(2, 9)

    def encode(self, x):
        mean, log_scale = self.encoder(x).chunk(2, -1)
        return torch.distributions.Normal(mean, log_scale.exp())

    def log_joint(self, x, z):
        return snrkit.standard_normal_log_prob(z) + snrkit.bernoulli_log_prob(x, self.decoder(z))


def made():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VAE()


def training(monitor=None, steps=12):
    """One's own loop; returns all that it leaves, and the monitor."""
    model = made()
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    watch = None if monitor is None else monitor(model)
    for step in range(1, steps + 1):
        x = X[torch.randint(len(X), (8,))] * float(np.random.rand() < 0.9 + random.random())
        q = model.encode(x)
        z = q.rsample((5,))
        log_w = model.log_joint(x[:, None, None], z.movedim(0, 1)[:, None])[:, 0] - q.log_prob(z).sum(-1).T
        optimiser.zero_grad()
        (-torch.logsumexp(log_w, -1).mean()).backward()
        optimiser.step()
        if watch is not None:
            watch(step)
    state = optimiser.state_dict()["state"]
    left = [*model.state_dict().values(), *(v for s in state.values() for v in s.values()), torch.get_rng_state()]
    left += [p.grad for p in model.parameters()]
    return left, (np.random.get_state()[1].tolist(), random.getstate(), model.training), watch


def monitor(**options):
    options = {"every": 4, "draws": 8, "budget": None, "K": [1, 5]} | options
    return lambda model: snrkit.Monitor(["iwae", "dreg"], model, WATCHED, **options)


@pytest.fixture(scope="module")
def watched():
    return training(monitor())


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["evaluation", "training"])
def test_a_monitored_training_is_the_unmonitored_one_to_the_bit(watched, mode):
    plain, found = training(), watched if mode == "evaluation" else training(monitor(mode=mode), steps=12)
    assert all(torch.equal(a, b) for a, b in zip(plain[0], found[0], strict=True))
    assert plain[1] == found[1]
    assert sorted(set(found[2].table["step"])) == [4, 8, 12]
    assert set(found[2].table["mode"]) == {mode}


def test_its_readings_are_those_of_measure_at_that_step():
    seen = {}

    def beside(model):
        def call(step):
            if step == 8:
                seen[step] = snrkit.measure(model, WATCHED, ["iwae", "dreg"], K=[1, 5], draws=8)

        return call

    training(beside, steps=8)
    own = training(monitor(every=8), steps=8)[2].table
    assert set(own["step"]) == {8}
    timeless = [column for column in SNR.columns if column not in ("step", "seconds")]
    assert own[timeless].reset_index(drop=True).equals(seen[8][timeless].reset_index(drop=True))


def test_rows_go_to_a_file_and_a_writer_and_a_picture(tmp_path):
    told = {}
    out = tmp_path / "monitor.parquet"
    watch = training(monitor(out=out, writer=lambda values, step: told.update({step: values}), M=[1, 3]), 8)[2]
    assert len(SNR.read(out)) == len(watch.table)
    assert set(told) == {4, 8}
    row = watch.table.query("step == 4 and estimator == 'dreg' and M == 3 and K == 5 and block == 'inference'")
    value = row[row["metric"] == "snr_mean"]["value"].iloc[0]
    assert told[4]["snr/dreg/inference/snr_mean/M=3/K=5"] == value
    over_points = row[(row["metric"] == "data_variance") & (row["scope"] == "dataset")]["value"].iloc[0]
    assert told[4]["snr/dreg/inference/data_variance/M=3/K=5"] == over_points
    panels = snrkit.plot.snr_training(watch.table)
    assert set(panels.data["K"]) == {5}
    assert panels[0].get_xlabel() == "optimiser step"


def test_estimators_with_options_are_told_apart():
    told = {}
    both = [snrkit.build_estimator("ciwae", {"beta": beta}) for beta in (0.2, 0.7)]
    watch = snrkit.Monitor(
        both, made().eval(), WATCHED, K=2, every=1, draws=8, budget=None, writer=lambda v, _: told.update(v)
    )
    watch(1)
    assert len({name.split("/")[1] for name in told}) == 2


def test_parameters_that_are_frozen_for_a_while_are_measured_on_and_stay_frozen():
    model = made().eval()
    watch = snrkit.Monitor("iwae", model, WATCHED, K=3, every=1, draws=8, budget=None)
    free = watch(1)
    model.decoder.requires_grad_(False)
    assert watch(2)["value"].equals(free["value"])
    assert not any(p.requires_grad for p in model.decoder.parameters())
    late = made().eval()
    late.decoder.bias.requires_grad_(False)
    watch = snrkit.Monitor("iwae", late, WATCHED, K=3, every=1, draws=8, budget=None)
    assert "decoder.bias" not in set(watch(1)["block"])
    late.decoder.bias.requires_grad_(True)
    assert watch(2)["value"].equals(free["value"])


def test_weights_that_are_not_finite_end_no_training(caplog):
    model = made().eval()
    with torch.no_grad():
        model.decoder.bias.fill_(float("nan"))
    watch = snrkit.Monitor("iwae", model, WATCHED, K=3, every=1, draws=8, budget=None)
    assert watch(1) is None
    assert (watch.failed, "step 1" in caplog.text) == (1, True)
    model.load_state_dict(made().state_dict())
    assert watch(2) is not None


def test_data_of_the_call_are_measured_where_some_are_given():
    watch = snrkit.Monitor("iwae", made().eval(), K=3, every=1, draws=8, budget=None)
    with pytest.raises(SpecError, match=r"batch: is missing.*monitor\(step, x\)"):
        watch(1)
    assert not watch(2, WATCHED)["value"].equals(watch(3, X[4:8])["value"])


def test_a_budget_holds_for_estimators_too():
    watch = snrkit.Monitor("iwae", made().eval(), WATCHED, K=3, every=1, draws=8, budget=1e-6)
    assert [watch(step) for step in range(3)] == [None, None, None]
    assert watch.skipped == 3


@pytest.mark.parametrize(
    ("objective", "options", "error", "words"),
    [
        ("iwae", {"K": None}, SpecError, "K: is missing"),
        ("iwea", {}, SpecError, "did you mean 'iwae'"),
        (["iwae", 3], {}, SpecError, "estimators: holds 3"),
        ("iwae", {"groups": {"a": "encoder"}}, SpecError, "groups: is of losses"),
        ("iwae", {"direction": "ascent"}, SpecError, "direction: is of losses"),
        (lambda model, x: x.sum(), {}, SpecError, "K: is of estimators"),
        (lambda model, x: x.sum(), {"K": None, "engine": "loop"}, SpecError, "engine: is of estimators"),
        ("iwae", {"engine": "warp"}, SpecError, "engine"),
        ("iwae", {"blocks": "encodr"}, SpecError, "no block 'encodr'"),
        ("vae-analytic", {}, CapabilityError, "vae-analytic"),
    ],
)
def test_what_cannot_be_is_told_before_the_training_begins(objective, options, error, words):
    with pytest.raises(error, match=words):
        snrkit.Monitor(objective, made().eval(), WATCHED, **{"K": 3, **options})
