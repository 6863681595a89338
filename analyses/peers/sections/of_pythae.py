"""pythae: the models that its examples train, with an encoder and a decoder of one's own, as its examples have them."""

from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import pandas as pd
import torch
from pythae import models
from pythae.data.datasets import DatasetOutput
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from torch import Tensor, nn

import snrkit
from analyses.common.report import Place
from analyses.peers.comparing import compared, digits, loop, verdict

_NETWORKS = "inference", "generative"


def run(place: Place) -> tuple[str, pd.DataFrame]:
    """One row per model, block and metric."""
    own, seed = place.settings["pythae"], place.settings["seed"]
    x = digits(own["points"]).reshape(-1, 1, 8, 8)
    table = pd.DataFrame([row for name in options(own) for row in rows_of(name, own, x, seed)])
    more = (
        f"Models by pythae's names, with an encoder and a decoder of one layer of {own['hidden']} units. What each is "
        "measured as is what pythae *trains* (`adapted.trains`); by hand: its `loss`, of PIWAE the two losses as its "
        "coupled optimisers take them. "
    )
    return verdict("pythae", version("pythae"), table, own["draws"], more), table


class Encoder(BaseEncoder):
    """One layer, and a mean and a log variance.

    Args:
        hidden: units.
        latent: dimensions of z.
    """

    def __init__(self, hidden: int, latent: int) -> None:
        super().__init__()
        self.latent_dim = latent
        self.layer = nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU())
        self.embedding, self.log_var = nn.Linear(hidden, latent), nn.Linear(hidden, latent)

    def forward(self, x: Tensor) -> ModelOutput:
        """Of images ``[B, 1, 8, 8]``."""
        h = self.layer(x)
        return ModelOutput(embedding=self.embedding(h), log_covariance=self.log_var(h))


class Decoder(BaseDecoder):
    """One layer, and the mean of each pixel.

    Args:
        hidden: units.
        latent: dimensions of z.
    """

    def __init__(self, hidden: int, latent: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, 64), nn.Sigmoid())

    def forward(self, z: Tensor) -> ModelOutput:
        """Of z ``[B, D]``."""
        return ModelOutput(reconstruction=self.layers(z).reshape(-1, 1, 8, 8))


def options(own: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each model's own, by its name."""
    grouped = {"number_gradient_estimates": own["groups"], "number_samples": own["group_samples"]}
    samples = {"number_samples": own["number_samples"]}
    return {
        "VAE": {}, "BetaVAE": {"beta": 2.0}, "IWAE": samples, "CIWAE": {**samples, "beta": 0.5}, "MIWAE": grouped,
        "PIWAE": grouped, "VAMP": {"number_components": 10}, "VAE_IAF": {"n_made_blocks": 2},
    }  # fmt: skip


def built(name: str, own: dict[str, Any], seed: int) -> Any:
    """A model of pythae, initialised."""
    config = getattr(models, f"{name}_Config" if "_" in name else f"{name}Config")
    torch.manual_seed(seed)
    shape = {"input_dim": (1, 8, 8), "latent_dim": own["latent"], "reconstruction_loss": "bce"}
    sizes = own["hidden"], own["latent"]
    return getattr(models, name)(
        config(**shape, **options(own)[name]), encoder=Encoder(*sizes), decoder=Decoder(*sizes)
    )


def rows_of(name: str, own: dict[str, Any], x: Tensor, seed: int) -> Iterator[dict[str, Any]]:
    """The comparisons of a model."""
    model = built(name, own, seed)
    adapted = snrkit.from_pythae(model)
    setting = adapted.trains
    table = snrkit.measure(
        adapted, x, setting.estimator, K=setting.K, M=setting.M, draws=own["draws"], seed=seed, blocks=list(_NETWORKS)
    )
    named, owners = dict(adapted.named_parameters()), adapted.networks(x)
    networks = {network: [named[key] for key, owner in owners.items() if owner == network] for network in _NETWORKS}
    by_hand = loop(stepping(model, x, networks["generative"]), networks, own["draws"], seed + 1)
    yield from compared(f"{name}: {setting}", table, by_hand)


def stepping(model: Any, x: Tensor, decoder: list[Tensor]) -> Callable[[], None]:
    """The backward pass of one step of pythae's trainers."""

    def step() -> None:
        out = model(DatasetOutput(data=x))
        if model.model_name != "PIWAE":
            out.loss.backward()
            return
        out.encoder_loss.backward(retain_graph=True)
        for parameter in decoder:
            parameter.grad = None
        out.decoder_loss.backward()

    return step
