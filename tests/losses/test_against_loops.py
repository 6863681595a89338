"""Readings of losses of every kind, against plain loops, within four standard errors."""

import numpy as np
import pytest
import torch
from torch import nn

import snrkit
from snrkit.losses import drawing
from snrkit.losses.asked import asked
from snrkit.losses.measure import carried_out
from tests.losses import zoo
from tests.strangers.models import agrees

DRAWS = 300
STATES, IMAGES = zoo.data(16, 4), zoo.data(12, 3)
LABELLED = zoo.data(10, 6), torch.arange(10) % 3
WHOLE = {
    "diffusion": (zoo.diffusion, lambda: zoo.mlp(4, 8, 3), IMAGES),
    "policy gradient": (zoo.reinforce, lambda: zoo.mlp(4, 8, 2), STATES),
    "fivo": (zoo.fivo, zoo.Filter, zoo.data(5)),
    "dropout and batch normalisation": (zoo.classify, zoo.Dropped, LABELLED),
}


@pytest.mark.rest_slow
@pytest.mark.parametrize("name", WHOLE)
def test_a_loss_reads_as_a_plain_loop(name):
    loss, build, batch = WHOLE[name]
    model = zoo.made(build)
    table = snrkit.measure_loss(loss, model, batch, draws=DRAWS)
    own = zoo.loop(loss, model.parameters(), 2 * DRAWS, model, batch)
    agrees(table, {"all": own})
    variance = table[(table.metric == "variance") & (table.block == "all")].iloc[0]
    traces = torch.stack([part.var(dim=0).sum() for part in own.split(30)])
    error = float(traces.std() / len(traces) ** 0.5)
    assert abs(variance.value - float(traces.mean())) < 4 * (variance.stderr**2 + error**2) ** 0.5
    assert set(table["mode"]) == {"training"}


def test_the_mean_gradient_goes_down_the_loss():
    model = zoo.made(lambda: zoo.mlp(4, 8, 2))
    what = asked(zoo.reinforce, model, batch=STATES, draws=DRAWS)
    down = carried_out(what).mean_gradient()
    own = zoo.loop(zoo.reinforce, model.parameters(), DRAWS, model, STATES)
    found = torch.cat([torch.from_numpy(part).flatten() for part in down.values()])
    assert [part.shape for part in down.values()] == [p.shape for p in model.parameters()]
    error = (own.var(dim=0) * 2 / DRAWS).sqrt()
    assert bool(((found + own.mean(dim=0)).abs() <= 5 * error + 1e-9).all())


def test_losses_of_groups_are_each_differentiated_in_their_own():
    model = zoo.made(zoo.ActorCritic)
    table = snrkit.measure_loss(zoo.actor_critic, model, STATES, draws=DRAWS)
    own = {
        group: zoo.loop(lambda group=group: zoo.actor_critic(model, STATES)[group], part.parameters(), 2 * DRAWS)
        for group, part in (("actor", model.actor), ("critic", model.critic))
    }
    agrees(table, own)


def test_a_loss_that_calls_backward_itself():
    model = zoo.made(zoo.TwoNetworks)
    table = snrkit.measure_loss(zoo.rws, model, IMAGES, draws=DRAWS)
    own = zoo.loop(zoo.rws_parts, model.parameters(), 2 * DRAWS, model, IMAGES)
    boundary = sum(p.numel() for p in model.encoder.parameters())
    agrees(table, {"encoder": own[:, :boundary], "decoder": own[:, boundary:], "all": own})
    assert all(p.grad is None for p in model.parameters())


def test_two_networks_against_each_other_as_a_dict():
    networks = {"generator": zoo.made(lambda: zoo.mlp(2, 6, 3)), "discriminator": zoo.made(lambda: zoo.mlp(3, 6, 1), 1)}
    table = snrkit.measure_loss(zoo.gan, networks, IMAGES, draws=DRAWS)
    for group, part in networks.items():
        own = zoo.loop(lambda group=group: zoo.gan(networks, IMAGES)[group], part.parameters(), 2 * DRAWS)
        agrees(table, {group: own})


def noisy(model, x, noise):
    return (model(x + 0.3 * noise)).square().mean()


def test_noise_as_an_argument_is_drawn_at_once_and_reads_the_same():
    model = zoo.made(lambda: zoo.mlp(3, 8, 2))
    table = snrkit.measure_loss(noisy, model, IMAGES, draws=DRAWS, noise=IMAGES.shape)
    assert set(table.engine) == {"vmap"}
    own = zoo.loop(lambda: noisy(model, IMAGES, torch.randn_like(IMAGES)), model.parameters(), 2 * DRAWS)
    agrees(table, {"all": own})

    def unbatched(model, x, noise):
        float(noise.sum())  # vmap cannot
        return noisy(model, x, noise)

    one_by_one = snrkit.measure_loss({"noisy": unbatched}, model, IMAGES, draws=DRAWS, noise=IMAGES.shape)
    assert set(one_by_one.engine) == {"loop"}
    assert "vmap cannot draw it" in " ".join(one_by_one.attrs["remarks"])
    assert torch.allclose(torch.tensor(one_by_one.value), torch.tensor(table.value), rtol=1e-3, equal_nan=True)


def test_repetitions_average():
    model = zoo.made(lambda: zoo.mlp(4, 8, 2))
    table = snrkit.measure_loss(zoo.reinforce, model, STATES, draws=DRAWS, M=[1, 5])

    def five():
        return torch.stack([zoo.reinforce(model, STATES) for _ in range(5)]).mean()

    agrees(table, {"all": zoo.loop(five, model.parameters(), DRAWS)}, M=5)


POINTS = zoo.data(400, 4)


def drawn_anew():
    return POINTS[torch.randint(len(POINTS), (8,))]


def test_batches_drawn_anew_are_told_apart_from_the_noise_within():
    model = zoo.made(lambda: zoo.mlp(4, 8, 2))
    table = snrkit.measure_loss(zoo.reinforce, model, drawn_anew, draws=600)
    assert set(table.draws) == {300}
    agrees(table, {"all": zoo.loop(lambda: zoo.reinforce(model, drawn_anew()), model.parameters(), 600)})
    parts = table[(table.block == "all") & (table.scope == "dataset")].set_index("metric")
    within, means = [], []
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for _ in range(150):
            batch = drawn_anew()
            rows = zoo.loop(zoo.reinforce, model.parameters(), 8, model, batch, seed=int(torch.randint(10**6, ())))
            within.append(rows.var(dim=0).sum())
            means.append(rows.mean(dim=0))
    noise = torch.stack(within)
    found = parts.loc["monte_carlo_variance"]
    assert abs(found.value - float(noise.mean())) < 4 * (found.stderr**2 + float(noise.var()) / 150) ** 0.5
    traces = torch.stack([part.var(dim=0).sum() for part in torch.stack(means).split(15)]) - noise.mean() / 8
    found = parts.loc["data_variance"]
    assert abs(found.value - float(traces.mean())) < 4 * (found.stderr**2 + float(traces.var()) / 10) ** 0.5
    total = table[(table.block == "all") & (table.metric == "variance")].iloc[0]
    both = parts.loc["data_variance"].value + parts.loc["monte_carlo_variance"].value
    assert abs(total.value - both) < 4 * total.stderr
    assert parts.loc["critical_M"].value == pytest.approx(
        parts.loc["monte_carlo_variance"].value / parts.loc["data_variance"].value
    )


def test_without_data_variance_its_part_is_signed_and_covers_zero():
    model = zoo.made(lambda: zoo.mlp(4, 8, 2))
    table = snrkit.measure_loss(zoo.reinforce, model, lambda: STATES, draws=400)
    part = table[(table.block == "all") & (table.metric == "data_variance")].iloc[0]
    assert part.ci_low < 0 < part.ci_high


def test_one_draw_of_each_batch_gives_the_total_alone():
    model = zoo.made(lambda: zoo.mlp(4, 8, 2))
    table = snrkit.measure_loss(zoo.reinforce, model, drawn_anew, draws=300, repeats=1)
    agrees(table, {"all": zoo.loop(lambda: zoo.reinforce(model, drawn_anew()), model.parameters(), 600)})
    assert set(table.scope) == {"minibatch"}


@pytest.mark.slow
def test_dsnr_of_groups_is_that_of_the_draws():
    model = zoo.made(zoo.TwoNetworks)
    table = snrkit.measure_loss(zoo.rws_parts, model, IMAGES, draws=DRAWS, dsnr=True, M=[1, 4])
    found = table[table.metric == "dsnr"]
    assert set(found.block) == {"encoder", "decoder", "all"}
    own = zoo.loop(zoo.rws_parts, model.parameters(), 4 * DRAWS, model, IMAGES)
    for M in (1, 4):
        draws = own.view(-1, M, own.shape[1]).mean(dim=1)
        along = draws @ (own.mean(dim=0) / own.mean(dim=0).norm())
        ratios = along.abs() / (draws.square().sum(dim=1) - along**2).sqrt()
        (row,) = found[(found.block == "all") & (found.M == M)].itertuples()
        assert abs(row.value - float(ratios.mean())) < 4 * (row.stderr**2 + float(ratios.var()) / len(ratios)) ** 0.5


def test_several_losses_see_the_same_seeds():
    model = zoo.made(lambda: zoo.mlp(4, 8, 2))
    both = {
        "plain": zoo.reinforce,
        "twice": lambda m, x: 2 * zoo.reinforce(m, x),
        "other": lambda m, x: m(x + torch.randn_like(x)).mean(),
    }
    found = snrkit.diagnose_loss(both, model, STATES, draws=100)
    verdicts = found.comparisons[found.comparisons.block == "all"].set_index(["first", "second"])
    same = verdicts.loc[("plain", "twice")]
    assert abs(same.log_ratio) < 1e-5
    assert abs(same.stderr) < 1e-5
    assert verdicts.loc[("plain", "other")].verdict in ("plain is larger", "other is larger")
    assert set(found.table.estimator) == set(both)


def test_it_is_saved_and_read_as_any_measurement(tmp_path):
    from snrkit.runs.kinds.snr import SNR

    model = zoo.made(lambda: nn.Linear(4, 2))
    found = carried_out(asked(zoo.reinforce, model, batch=STATES, draws=40))
    path = found.save(tmp_path / "loss.parquet")
    assert len(SNR.read(path)) == len(found.table)
    found.save(path)
    assert len(SNR.read(path)) == len(found.table)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_averages_for_the_dsnr_do_not_depend_on_how_many_draws_are_held(monkeypatch, dtype):
    def noisy(model, x):
        return (model(x) + torch.randn(len(x), 1, dtype=dtype)).square().mean()

    torch.manual_seed(0)
    model, x = torch.nn.Linear(3, 1, dtype=dtype), torch.randn(7, 3, dtype=dtype)
    found = []
    for most in (64, 4):
        # Three do not divide four: of every portion some wait for the next.
        monkeypatch.setattr(drawing, "_MOST", most)
        table = snrkit.measure_loss(noisy, model, x, draws=400, M=[3], dsnr=True, threads=1)
        found.append(table[table.metric == "dsnr"].set_index("block").value)
    assert len(found[0])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5 if dtype == torch.float32 else 1e-12)
