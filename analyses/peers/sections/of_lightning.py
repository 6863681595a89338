"""Lightning: a VAE as its examples write one, measured by the callback as it is trained."""

from typing import Any

import lightning.pytorch as lightning
import pandas as pd
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from analyses.common.report import Place
from analyses.peers.comparing import compared, digits, loop, verdict
from snrkit.lightning import SNRCallback


class Vae(lightning.LightningModule):
    """Encoder, two heads and decoder; the loss is the mean squared error and a tenth of the KL divergence."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 40), nn.ReLU())
        self.fc_mu, self.fc_var = nn.Linear(40, 6), nn.Linear(40, 6)
        self.decoder = nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 64))

    def loss(self, x: Tensor) -> Tensor:
        """Of data ``[B, 64]``."""
        h = self.encoder(x)
        q = Normal(self.fc_mu(h), (0.5 * self.fc_var(h)).exp())
        error = functional.mse_loss(self.decoder(q.rsample()), x)
        kl: Tensor = kl_divergence(q, Normal(torch.zeros_like(q.loc), 1.0))
        return error + 0.1 * kl.mean()

    def training_step(self, batch: list[Tensor]) -> Tensor:
        """The loss, logged."""
        loss = self.loss(batch[0])
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """As in the examples."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def run(place: Place) -> tuple[str, pd.DataFrame]:
    """One row per block and metric."""
    own, seed = place.settings["lightning"], place.settings["seed"]
    x, data = digits(own["points"]), digits(1000)
    torch.manual_seed(seed)
    module = Vae()
    steps = own["epochs"] * len(data) // 50
    parts = {"inference": [module.encoder, module.fc_mu, module.fc_var], "generative": [module.decoder]}
    networks: dict[str, list[Tensor]] = {
        name: [parameter for part in own_parts for parameter in part.parameters()] for name, own_parts in parts.items()
    }
    watch = SNRCallback(batch=[x], every=steps, draws=own["draws"], budget=None, seed=seed, groups=networks)
    fitted(module, data, own["epochs"], watch)
    by_hand = loop(lambda: module.loss(x).backward(), networks, own["draws"], seed + 1)
    table = pd.DataFrame(compared(f"VAE after {steps} steps", watch.monitor.table, by_hand))
    more = (
        "A `LightningModule` trained by its `Trainer` with `SNRCallback`, which measures at the last step on points held "
        "fixed; by hand: its loss on the same points after `fit`. "
    )
    return verdict("Lightning", lightning.__version__, table, own["draws"], more), table


def fitted(module: Vae, data: Tensor, epochs: int, callback: Any) -> None:
    """Train in batches of 50."""
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(data), 50, shuffle=True)
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, callbacks=[callback], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, loader)
