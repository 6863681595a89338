"""Pyro: the VAE of its tutorial under four of its losses, and the coin of its SVI tutorials."""

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pyro
import torch
from pyro import distributions as dist
from pyro import infer
from pyro.distributions.testing.fakes import NonreparameterizedBeta
from torch import Tensor, nn
from torch.distributions import constraints

import snrkit
from analyses.common.report import Place
from analyses.peers.comparing import compared, digits, loop, verdict


def run(place: Place) -> tuple[str, pd.DataFrame]:
    """One row per model, loss, block and metric."""
    own, seed = place.settings["pyro"], place.settings["seed"]
    rows = [*vae_rows(own, seed), *coin_rows(own["coin_draws"], seed)]
    more = (
        "The VAE of the tutorial of that name (softplus, one hidden layer), under `Trace_ELBO`, `TraceMeanField_ELBO` and "
        "`RenyiELBO(alpha=0)` by `from_pyro`, and under `ReweightedWakeSleep`, half wake and half sleep, by `pyro_loss` (it "
        "has no tutorial of its own in this version); the coin of SVI part I (a Beta guide, ten tosses), of part II (a "
        "plate of which 5 are drawn) and of part III (`TraceGraph_ELBO`, a Beta without a path, no baseline), all by "
        f"`pyro_loss`, {own['coin_draws']} draws of each. "
    )
    table = pd.DataFrame(rows)
    return verdict("Pyro", pyro.__version__, table, own["draws"], more), table


class Vae(nn.Module):
    """The tutorial's: encoder, decoder, model and guide.

    Args:
        hidden: units of the layer of each network.
        latent: dimensions of z.
    """

    def __init__(self, hidden: int, latent: int) -> None:
        super().__init__()
        self.latent = latent
        self.encoder = nn.Sequential(nn.Linear(64, hidden), nn.Softplus(), nn.Linear(hidden, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.Softplus(), nn.Linear(hidden, 64), nn.Sigmoid())

    def model(self, x: Tensor) -> None:
        """p(x, z) of data ``[B, 64]``."""
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[-2]):
            zero = torch.zeros(x.shape[-2], self.latent)
            z = pyro.sample("latent", dist.Normal(zero, torch.ones_like(zero)).to_event(1))
            pyro.sample("obs", dist.Bernoulli(self.decoder(z), validate_args=False).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        """q(z|x) of data ``[B, 64]``."""
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[-2]):
            mean, log_scale = self.encoder(x).chunk(2, dim=-1)
            pyro.sample("latent", dist.Normal(mean, log_scale.exp()).to_event(1))


def rws_rows(vae: Vae, x: Tensor, networks: dict[str, list[Tensor]], elbo: Any, draws: int, seed: int) -> Iterator[Any]:
    """Those of reweighted wake-sleep, whose programs are given their data by the name ``observations``."""

    def model(observations: dict[str, Tensor]) -> None:
        vae.model(observations["obs"])

    def guide(observations: dict[str, Tensor]) -> None:
        vae.guide(observations["obs"])

    data = {"observations": {"obs": x}}
    pyro.clear_param_store()
    loss = snrkit.pyro_loss(model, guide, elbo)
    table = snrkit.measure_loss(loss, vae, data, draws=draws, seed=seed, groups=networks)
    by_hand = loop(lambda: elbo.loss_and_grads(model, guide, **data), networks, draws, seed + 1)
    yield from compared(f"VAE, ReweightedWakeSleep, {elbo.num_particles} particles", table, by_hand)


def vae_rows(own: dict[str, Any], seed: int) -> Iterator[dict[str, Any]]:
    """The comparisons of the VAE."""
    torch.manual_seed(seed)
    x, K, draws = digits(own["points"]), own["particles"], own["draws"]
    vae = Vae(own["hidden"], own["latent"])
    networks = {"inference": list(vae.encoder.parameters()), "generative": list(vae.decoder.parameters())}
    many: dict[str, Any] = {"num_particles": K, "vectorize_particles": True, "max_plate_nesting": 1}

    def by_hand(elbo: Any) -> dict[str, Tensor]:
        pyro.clear_param_store()
        return loop(lambda: elbo.loss_and_grads(vae.model, vae.guide, x), networks, draws, seed + 1, 1 / len(x))

    for elbo, estimator, samples in (
        (infer.Trace_ELBO(), "vae", 1),
        (infer.TraceMeanField_ELBO(), "vae-analytic", 1),
        (infer.RenyiELBO(alpha=0, **many), "iwae", K),
    ):
        adapted = snrkit.from_pyro(vae.model, vae.guide)
        table = snrkit.measure(adapted, x, estimator, K=samples, draws=draws, seed=seed, blocks=list(networks))
        name = f"VAE, {type(elbo).__name__}: {estimator} at K={samples}"
        yield from compared(name, table, by_hand(elbo))
    yield from rws_rows(vae, x, networks, infer.ReweightedWakeSleep(insomnia=0.5, **many), draws, seed)
    pyro.clear_param_store()


def coin(beta: Callable[..., Any], size: int | None = None) -> tuple[Callable[..., None], Callable[..., None]]:
    """Model and guide of a coin's fairness.

    Args:
        beta: the guide's distribution.
        size: of the tosses that are drawn at a time; None: all.
    """

    def model(tosses: Tensor) -> None:
        fairness = pyro.sample("latent_fairness", dist.Beta(10.0, 10.0))
        with pyro.plate("data", len(tosses), subsample_size=size) as chosen:
            pyro.sample("obs", dist.Bernoulli(fairness), obs=tosses[chosen])

    def guide(tosses: Tensor) -> None:  # noqa: ARG001 (a guide is called as its model)
        a = pyro.param("alpha_q", torch.tensor(15.0), constraint=constraints.positive)
        b = pyro.param("beta_q", torch.tensor(15.0), constraint=constraints.positive)
        pyro.sample("latent_fairness", beta(a, b))

    return model, guide


def coin_rows(draws: int, seed: int) -> Iterator[dict[str, Any]]:
    """The comparisons of the coin."""
    tosses = torch.tensor([1.0] * 6 + [0.0] * 4)
    for name, elbo, beta, size in (
        ("SVI I, Trace_ELBO", infer.Trace_ELBO(), dist.Beta, None),
        ("SVI II, Trace_ELBO, 5 of 10 tosses", infer.Trace_ELBO(), dist.Beta, 5),
        ("SVI III, TraceGraph_ELBO", infer.TraceGraph_ELBO(), NonreparameterizedBeta, None),
    ):
        pyro.clear_param_store()
        model, guide = coin(beta, size)
        guide(tosses)
        networks = {name: [pyro.param(name).unconstrained()] for name in ("alpha_q", "beta_q")}
        loss = snrkit.pyro_loss(model, guide, elbo)
        parameters = [parameter for own in networks.values() for parameter in own]
        table = snrkit.measure_loss(loss, parameters, tosses, draws=draws, seed=seed, groups=networks)
        by_hand = loop(
            lambda elbo=elbo, model=model, guide=guide: elbo.loss_and_grads(model, guide, tosses),
            networks,
            draws,
            seed + 1,
        )
        yield from compared(name, table, by_hand)
    pyro.clear_param_store()
