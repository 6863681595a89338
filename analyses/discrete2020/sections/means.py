"""Means of 200,000 draws against sums over all triples of latents."""

import math

import pandas as pd
import torch

from analyses.common.report import Place
from analyses.discrete2020.listed import Gradients, Listed, Tuples, built, k_sample
from snrkit.core.bounds import elbo
from snrkit.core.objective import NETWORKS
from snrkit.core.streams import Streams
from snrkit.diagnostics.engines.base import PassSize
from snrkit.diagnostics.engines.vmap import VmapEngine
from snrkit.diagnostics.problem import Problem
from snrkit.diagnostics.tables import title
from snrkit.estimators.base import Estimator

K, PIXELS, WIDTHS = 3, 3, (3, 2)
# Between a draw's mean and what it should be, in standard errors.
BAR = 4


def run(place: Place) -> tuple[str, pd.DataFrame]:
    """One row for each estimator and network of bits."""
    own = place.settings["means"]
    rows = []
    for seed in own["networks"]:
        model, x = _network(seed, own["factor"])
        exact = {"L_3": Tuples(model, x, 3).bound(k_sample), "L_2": Tuples(model, x, 2).bound(k_sample)}
        exact["ELBO"] = Tuples(model, x, 3).bound(elbo)
        for estimator in built(place.settings["estimators"]):
            print(f"  network {seed}, {title(estimator)}", flush=True)
            rows.append(_row(model, x, estimator, exact, own["draws"], seed))
    table = pd.DataFrame(rows)
    unbiased = table[table["mean of φ"] != "its own, listed"]
    worst = max(unbiased[["φ: s.e. from it", "θ: s.e. from it"]].max())
    listed = max(table[["φ: s.e. from it", "θ: s.e. from it"]].max())
    text = (
        f"## Means against enumeration\n\n{PIXELS} pixels, latents {WIDTHS[0]} and {WIDTHS[1]}, K = {K}: sums over all "
        f"32,768 triples of latents, {own['draws']:,} unit draws. Largest distance of any coordinate, in standard errors of "
        "the mean: from the gradient of the bound where it is that, else from the listed mean of the estimator itself; and "
        "always from the gradient of the 3-sample bound. The bar is "
        f"{BAR}: the largest distance is {worst:.2f} from the gradient of a bound, and {listed:.2f} from any.\n"
    )
    return text, table


def _network(seed: int, factor: float) -> tuple[Listed, torch.Tensor]:
    """A network away from where it begins, and a data point."""
    model, streams = Listed(PIXELS, WIDTHS, seed), Streams(seed)
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            noise = streams.normal("shift", (index,), parameter.shape, dtype=torch.float64, device=parameter.device)
            parameter.mul_(factor).add_(0.3 * noise)
    return model, torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64)


def _targets(estimator: Estimator) -> tuple[str, str]:
    """Of which bounds the means in (phi, theta) are the gradients; empty: of none."""
    bound = estimator.same_bound or estimator
    own = "ELBO" if bound.name in ("vae", "wake-sleep") else "L_3" if bound.name == "iwae" else ""
    phi = (
        "L_2"
        if estimator.name == "ovis-mc"
        else own
        if estimator.unbiased[0] and estimator.name != "wake-sleep"
        else ""
    )
    return phi, own if estimator.unbiased[1] else ""


def _row(
    model: Listed, x: torch.Tensor, estimator: Estimator, exact: dict[str, Gradients], draws: int, seed: int
) -> dict[str, object]:
    found, listed = _drawn(model, x, estimator, draws, seed), Tuples(model, x, K).mean(estimator)
    names = dict(zip(NETWORKS, _targets(estimator), strict=True))
    row: dict[str, object] = {"network": seed, "estimator": title(estimator)}
    for letter, network in zip("φθ", NETWORKS, strict=True):
        name = names[network]
        target = exact[name][network] if name else listed[network]
        row[f"mean of {letter}"] = f"∇{name}" if name else "its own, listed"
        row[f"{letter}: s.e. from it"] = _distance(found[network], target)
        row[f"{letter}: s.e. from ∇L_3"] = _distance(found[network], exact["L_3"][network])
        apart = (listed[network] - exact["L_3"][network]).norm() / exact["L_3"][network].norm()
        row[f"{letter}: listed bias to ∇L_3, relative"] = float(apart)
    row["trace of var φ"] = float(found["inference"].var(dim=0).sum())
    return row


def _distance(found: torch.Tensor, target: torch.Tensor) -> float:
    stderr = found.std(dim=0) / math.sqrt(len(found))
    return float(((found.mean(dim=0) - target).abs() / stderr).nan_to_num(0).max())


def _drawn(model: Listed, x: torch.Tensor, estimator: Estimator, draws: int, seed: int) -> Gradients:
    """Unit draws ``[draws, P]`` of each network."""
    problem = Problem.units(model, x, K, Streams(seed), dreams=estimator.needs.sleep)
    portions = VmapEngine().gradients(problem, estimator, range(1), range(draws), PassSize(10_000, 10**6))
    tensors = [torch.cat(parts)[:, 0].flatten(1) for parts in zip(*portions, strict=True)]
    by_name = dict(zip(problem.layout.names, tensors, strict=True))
    owners = model.networks(x)
    return {n: torch.cat([by_name[name] for name in owners if owners[name] == n], dim=1) for n in NETWORKS}
