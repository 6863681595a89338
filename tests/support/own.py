"""Files of a user's own that hold models."""

SOURCE = """
import torch
import torch.nn.functional as F
from torch import nn
from beside import WIDTH


class MyVAE(nn.Module):
    def __init__(self, latent, pixels=64):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(pixels, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2 * latent))
        self.decoder = nn.Linear(latent, pixels)

    def encode(self, x):
        mean, log_scale = self.encoder(x).chunk(2, dim=-1)
        return torch.distributions.Normal(mean, log_scale.exp())

    def log_joint(self, x, z):
        prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
        logits = self.decoder(z)
        return prior - F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)


class Half(nn.Module):
    def encode(self, x):
        return x


class Raises(MyVAE):
    def __init__(self):
        super().__init__(3)
        self.table = {}["missing"]


class Drops(MyVAE):
    def encode(self, x):
        return super().encode(F.dropout(x, 0.2, self.training))


def small():
    return MyVAE(2)


made = small()


class Keeps(MyVAE):
    # Numbers of its own, other ones for every seed, that no parameter or buffer holds.

    def __init__(self, latent=2):
        super().__init__(latent)
        self.shift = torch.randn(64)

    def encode(self, x):
        return super().encode(x + self.shift)
"""


def write(folder):
    """``vae.py`` and what it imports, in a folder; the file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "beside.py").write_text("WIDTH = 5\n")
    file = folder / "vae.py"
    file.write_text(SOURCE)
    return file
