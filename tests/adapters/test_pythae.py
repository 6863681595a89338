"""Models of pythae: what is measured is what pythae's own loss, differentiated in a loop by hand, gives."""

import pytest
import torch
from torch import nn

import snrkit
from snrkit.errors import CapabilityError
from tests.support.extras import library
from tests.support.loops import assert_agree, snr_by_hand

library("pythae", "pythae")
pytestmark = [pytest.mark.extra, pytest.mark.filterwarnings("ignore")]

X = (torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.4).float()
SIZES = {"number_gradient_estimates": 2, "number_samples": 4}
MODELS = {
    "VAE": ({}, "vae-analytic (beta=1) at M=1, K=1"),
    "BetaVAE": ({"beta": 2.0}, "vae-analytic (beta=2) at M=1, K=1"),
    "IWAE": ({"number_samples": 8}, "iwae at M=1, K=8"),
    "CIWAE": ({"number_samples": 8, "beta": 0.5}, "ciwae (beta=0.5) at M=1, K=8"),
    "MIWAE": (SIZES, "miwae at M=4, K=2"),
    "PIWAE": (SIZES, "pythae-piwae (groups=2) at M=1, K=8"),
    "VAMP": ({"number_components": 5}, "vae at M=1, K=1"),
    "VAE_IAF": ({}, "vae at M=1, K=1"),
}


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(16, 9), nn.Tanh(), nn.Linear(9, 6))

    def forward(self, x):
        from pythae.models.base.base_utils import ModelOutput

        mean, log_variance = self.net(x.reshape(len(x), -1)).chunk(2, dim=-1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


def build(name, loss="bce"):
    import pythae.models

    config = getattr(pythae.models, f"{name}_Config" if "_" in name else f"{name}Config")
    torch.manual_seed(0)
    settings, _ = MODELS.get(name, ({}, ""))
    model = getattr(pythae.models, name)(
        config(input_dim=(1, 4, 4), latent_dim=3, reconstruction_loss=loss, **settings)
    )
    model.encoder = Encoder()
    return model


def by_hand(model, adapted, draws):
    """The step of pythae's trainers: of PIWAE that of its coupled optimisers."""
    from pythae.data.datasets import DatasetOutput

    named, owners = dict(adapted.named_parameters()), adapted.networks(X)
    networks = {
        own: [named[name] for name, owner in owners.items() if owner == own] for own in ("inference", "generative")
    }

    def step():
        out = model(DatasetOutput(data=X))
        if model.model_name != "PIWAE":
            out.loss.backward()
            return
        out.encoder_loss.backward(retain_graph=True)
        for parameter in networks["generative"]:
            parameter.grad = None
        out.decoder_loss.backward()

    return snr_by_hand(step, networks, draws)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_measured_is_what_pythae_trains_with(name):
    model = build(name)
    adapted = snrkit.from_pythae(model)
    assert str(adapted.trains) == MODELS[name][1]
    setting, draws = adapted.trains, 400
    table = snrkit.measure(
        adapted, X, setting.estimator, K=setting.K, M=setting.M, draws=draws, blocks=["inference", "generative"]
    )
    assert table.attrs["remarks"] == []
    assert_agree(table, by_hand(model, adapted, draws))


def test_where_name_and_training_differ_it_is_said():
    for name, says in (("MIWAE", "miwae at M=2, K=4"), ("PIWAE", "piwae at M=2, K=4")):
        adapted = snrkit.from_pythae(build(name))
        assert str(adapted.says) == says
        assert "miwae at M=4, K=2" in adapted.remarks[0]
    square = build("MIWAE")
    square.gradient_n_estimates = square.n_samples = 3
    assert snrkit.from_pythae(square).remarks == []
    assert snrkit.from_pythae(build("IWAE")).trains == snrkit.from_pythae(build("IWAE")).says


def test_its_loss_can_be_measured_as_it_is():
    model = build("IWAE", loss="mse")
    adapted = snrkit.from_pythae(model)
    parts = {"inference": model.encoder, "generative": model.decoder}
    loss = snrkit.measure_loss(adapted.loss, model, X, draws=200, groups=parts)
    table = snrkit.measure(adapted, X, "iwae", K=8, draws=200)
    assert_agree(table, {row.block: row.value for row in loss[loss.metric == "snr_mean"].itertuples()})


def test_a_flow_has_its_density_and_its_path():
    adapted = snrkit.from_pythae(build("VAE_IAF"))
    posterior, noise = adapted.proposal(X), torch.randn(4, 2, 3, 3)
    draw = posterior.draw(noise, path=True)
    torch.testing.assert_close(posterior.log_prob(draw.z), draw.log_q, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(draw.log_q_path, draw.log_q, rtol=1e-4, atol=1e-4)
    assert set(snrkit.measure(adapted, X, "dreg", K=2, draws=8, blocks=["inference"])["estimator"]) == {"dreg"}


def test_what_is_none_of_these_is_named():
    with pytest.raises(CapabilityError, match=r"INFOVAE_MMD is none of VAE, .*measure_loss"):
        snrkit.from_pythae(build("INFOVAE_MMD"))
