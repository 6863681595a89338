"""VAE: the plain ELBO gradient, averaged over all samples."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snrkit.core import bounds
from snrkit.estimators.base import Estimator, Theory


@dataclass(frozen=True)
class Vae(Estimator):
    """Mean over all M K samples of grad log w, both networks (Kingma & Welling 2014)."""

    name: ClassVar[str] = "vae"

    def bound(self, log_w: Tensor) -> Tensor:
        """ELBO."""
        return bounds.elbo(log_w)

    @property
    def theory(self) -> Theory:
        """SNR ~ (M K)^(1/2) in both networks: an average of M K independent terms."""
        return Theory((0.5, 0.5), (0.5, 0.5), "ELBO", "Rainforth et al. 2018, section 3")
