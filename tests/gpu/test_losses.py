"""Losses and monitors on an NVIDIA GPU."""

import pytest
import torch

import snrkit
from tests.losses import zoo
from tests.strangers.models import agrees

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


def on_gpu(model, batch):
    x, labels = batch
    return zoo.classify(model, (x + 0.1 * torch.randn_like(x), labels))


def batch():
    return zoo.data(10, 6).cuda(), (torch.arange(10) % 3).cuda()


def test_a_loss_reads_as_a_plain_loop():
    model = zoo.made(zoo.Dropped).cuda()
    table = snrkit.measure_loss(on_gpu, model, batch(), draws=300)
    own = zoo.loop(on_gpu, model.parameters(), 600, model, batch()).cpu()
    agrees(table, {"all": own})
    assert "cpu" not in set(table.device)


def test_noise_as_an_argument_is_drawn_at_once():
    model, x = zoo.made(lambda: zoo.mlp(3, 8, 2)).cuda(), zoo.data(12, 3).cuda()

    def noisy(model, x, noise):
        return model(x + 0.3 * noise).square().mean()

    table = snrkit.measure_loss(noisy, model, x, draws=300, noise=x.shape)
    assert set(table.engine) == {"vmap"}
    own = zoo.loop(lambda: noisy(model, x, torch.randn_like(x)), model.parameters(), 600).cpu()
    agrees(table, {"all": own})


def test_a_monitor_leaves_the_training_as_it_is_to_the_bit():
    def training(watched):
        torch.manual_seed(0)
        model, data = zoo.made(zoo.Dropped).cuda(), batch()
        optimiser = torch.optim.Adam(model.parameters(), 1e-2)
        watch = snrkit.Monitor(on_gpu, model, data, every=3, draws=8, budget=None) if watched else None
        for step in range(1, 10):
            optimiser.zero_grad()
            on_gpu(model, data).backward()
            optimiser.step()
            if watch is not None:
                watch(step)
        return [*model.state_dict().values(), torch.cuda.get_rng_state().cuda(), torch.get_rng_state().cuda()]

    assert all(torch.equal(a, b) for a, b in zip(training(False), training(True), strict=True))
