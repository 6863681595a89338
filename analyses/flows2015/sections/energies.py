"""Four densities in the plane that are known up to a constant: how near a flow comes, with log Z by quadrature."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import softplus

from analyses.common.report import Place
from snrkit.core.streams import Streams
from snrkit.models.densities import DiagonalNormal
from snrkit.models.draw import Draw, drawn
from snrkit.models.flows import FlowNormal, Layer, Planar, Radial

KINDS: dict[str, type[Layer]] = {"planar": Planar, "radial": Radial}
# The plane as far as any of the densities reaches, and as far as it is drawn.
_REACH, _SHOWN = 8.0, 4.0
_PIXELS = 120


def _line(z: Tensor) -> Tensor:
    return torch.sin(math.pi * z[..., 0] / 2)


def _two_normals(first: Tensor, second: Tensor) -> Tensor:
    """-log(exp(-first^2 / 2) + exp(-second^2 / 2))."""
    return -torch.logaddexp(-0.5 * first.square(), -0.5 * second.square())


def _wall(z: Tensor) -> Tensor:
    """Without it the last three go on for ever along the first axis, and have no Z."""
    return 0.5 * ((z[..., 0].abs() - 4).clamp_min(0) / 0.4).square()


def ring(z: Tensor) -> Tensor:
    """U1 of z ``[..., 2]``: a ring of radius 2, strongest at its left and right."""
    sides = _two_normals((z[..., 0] - 2) / 0.6, (z[..., 0] + 2) / 0.6)
    return 0.5 * ((z.square().sum(-1).sqrt() - 2) / 0.4).square() + sides


def wave(z: Tensor) -> Tensor:
    """U2: a band along a sine."""
    return 0.5 * ((z[..., 1] - _line(z)) / 0.4).square() + _wall(z)


def fork(z: Tensor) -> Tensor:
    """U3: the band parts in the middle."""
    off = z[..., 1] - _line(z)
    bump = 3 * torch.exp(-0.5 * ((z[..., 0] - 1) / 0.6).square())
    return _two_normals(off / 0.35, (off + bump) / 0.35) + _wall(z)


def step(z: Tensor) -> Tensor:
    """U4: the band parts and stays so."""
    off = z[..., 1] - _line(z)
    return _two_normals(off / 0.4, (off + 3 * torch.sigmoid((z[..., 0] - 1) / 0.3)) / 0.35) + _wall(z)


ENERGIES: dict[str, Callable[[Tensor], Tensor]] = {"U1": ring, "U2": wave, "U3": fork, "U4": step}


def log_z(energy: Callable[[Tensor], Tensor], cells: int) -> float:
    """log of the integral of exp(-U), by the rule of midpoints on ``cells`` x ``cells`` squares, nats."""
    side = 2 * _REACH / cells
    axis = -_REACH + side * (torch.arange(cells, dtype=torch.float64) + 0.5)
    rows = [torch.logsumexp(-energy(torch.stack([axis, y.expand(cells)], -1)), 0) for y in axis]
    return float(torch.logsumexp(torch.stack(rows), 0)) + 2 * math.log(side)


@dataclass(frozen=True)
class Fit:
    """Proposals ``[E S]`` of every energy (E) from several starts (S), energies first."""

    kind: str
    layers: int
    loc: Tensor
    raw_scale: Tensor
    raw: Tensor

    @classmethod
    def begun(cls, kind: str, layers: int, starts: int) -> "Fit":
        """Near the standard normal, with layers of small random parameters."""
        count = len(ENERGIES) * starts
        noise = Streams(0).normal(
            f"start {kind}",
            (layers,),
            (count, layers, KINDS[kind].size(2)),
            dtype=torch.float32,
            device=torch.device("cpu"),
        )
        return cls(
            kind, layers, torch.zeros(count, 2).requires_grad_(), torch.full((count, 2), 0.5).requires_grad_(),
            (0.3 * noise).requires_grad_(),
        )  # fmt: skip

    @property
    def proposal(self) -> FlowNormal | DiagonalNormal:
        """As it stands."""
        scale = softplus(self.raw_scale)
        return (
            FlowNormal(self.loc, scale, self.raw, KINDS[self.kind]) if self.layers else DiagonalNormal(self.loc, scale)
        )

    @property
    def parameters(self) -> list[Tensor]:
        """What is fitted."""
        return [self.loc, self.raw_scale, *([self.raw] if self.layers else [])]

    def draw(self, purpose: str, index: int, samples: int) -> tuple[Draw, Tensor]:
        """A draw ``[E S, 1, samples]`` and the energies there."""
        shape = len(self.loc), 1, samples, 2
        noise = Streams(1).normal(purpose, (index,), shape, dtype=torch.float32, device=torch.device("cpu"))
        found = drawn(self.proposal, noise, path=False)
        each = zip(ENERGIES.values(), found.z.chunk(len(ENERGIES)), strict=True)
        return found, torch.cat([energy(z) for energy, z in each])


def fitted(kind: str, layers: int, own: dict[str, Any]) -> Fit:
    """Adam on KL(q, p), whose energy is let in slowly over the first half."""
    fit = Fit.begun(kind, layers, own["starts"])
    optimiser = torch.optim.Adam(fit.parameters, lr=own["lr"])
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, own["steps"])
    for number in range(own["steps"]):
        found, energy = fit.draw("fit", number, own["samples"])
        weight = min(1.0, 0.05 + 2 * number / own["steps"])
        optimiser.zero_grad()
        (found.log_q + weight * energy).mean(dim=(1, 2)).sum().backward()
        optimiser.step()
        rates.step()
    return fit


def divergences(fit: Fit, own: dict[str, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """E_q[log q + U] of each proposal with its standard error, ``[E, S]`` each, nats: KL(q, p) less log Z."""
    parts = []
    for number in range(own["portions"]):
        with torch.no_grad():
            found, energy = fit.draw("divergence", number, own["portion"])
        parts.append((found.log_q + energy)[:, 0])
    values = torch.cat(parts, dim=1).double().view(len(ENERGIES), own["starts"], -1)
    return values.mean(-1).numpy(), (values.std(-1) / math.sqrt(values.shape[-1])).numpy()


def run(place: Place) -> tuple[str, pd.DataFrame]:
    """Fit every energy with every flow and draw the best ones."""
    own = place.settings["energies"]
    constants = {name: log_z(energy, own["cells"]) for name, energy in ENERGIES.items()}
    halved = max(abs(log_z(ENERGIES[name], own["cells"] // 2) - value) for name, value in constants.items())
    cells = [("planar", 0), *itertools.product(KINDS, own["layers"])]
    rows, shown = [], {}
    for kind, layers in cells:
        fit = fitted(kind, layers, own)
        means, errors = divergences(fit, own)
        label = f"{kind} {layers}" if layers else "none"
        for number, name in enumerate(ENERGIES):
            best = int(means[number].argmin())
            values = means[number] + constants[name]
            row = {"energy": name, "layers": label, "KL, best": values[best], "KL, best se": errors[number, best]}
            rows.append(row | {"KL, worst": values.max(), "log Z": constants[name]})
            shown[label, name] = _density(fit, number * own["starts"] + best)
        print(f"  {label}: {[round(float(row['KL, best']), 3) for row in rows[-4:]]}", flush=True)
    _draw(shown, [label for label, name in shown if name == "U1"], constants).savefig(
        place.results / "energies.png", metadata={}
    )
    table = pd.DataFrame(rows).sort_values(["energy"], kind="stable")
    return _text(own, halved), table


def _grid() -> Tensor:
    axis = torch.linspace(-_SHOWN, _SHOWN, _PIXELS)
    return torch.stack([axis.expand(_PIXELS, -1), -axis[:, None].expand(-1, _PIXELS)], -1).reshape(1, 1, -1, 2)


def _density(fit: Fit, number: int) -> np.ndarray[Any, Any]:
    """q of one proposal on the grid that is drawn."""
    proposal = fit.proposal
    parts = {"loc": proposal.loc, "scale": proposal.scale}
    own = {name: part[number : number + 1].detach() for name, part in parts.items()}
    with torch.no_grad():
        if isinstance(proposal, FlowNormal):
            one: Any = FlowNormal(own["loc"], own["scale"], fit.raw[number : number + 1], proposal.kind)
        else:
            one = DiagonalNormal(own["loc"], own["scale"])
        return np.asarray(one.log_prob(_grid()).exp().view(_PIXELS, _PIXELS).numpy())


def _draw(shown: dict[tuple[str, str], np.ndarray[Any, Any]], labels: list[str], constants: dict[str, float]) -> Figure:
    figure = Figure(figsize=(1.1 * (len(labels) + 1), 1.15 * len(ENERGIES)), dpi=110, layout="constrained")
    axes = figure.subplots(len(ENERGIES), len(labels) + 1)
    for row, (name, energy) in zip(axes, ENERGIES.items(), strict=True):
        truth = (-energy(_grid()) - constants[name]).exp().view(_PIXELS, _PIXELS).numpy()
        images = [truth, *(shown[label, name] for label in labels)]
        for place, image in zip(row, images, strict=True):
            # One scale for a row: what is brighter than p is cut.
            place.imshow(image, cmap="viridis", vmin=0, vmax=truth.max(), extent=(-_SHOWN, _SHOWN, -_SHOWN, _SHOWN))
            place.set_xticks([])
            place.set_yticks([])
        row[0].set_ylabel(name, fontsize=8)
    for place, title in zip(axes[0], ["p", *labels], strict=True):
        place.set_title(title, fontsize=8)
    return figure


def _text(own: dict[str, Any], halved: float) -> str:
    return (
        "## Four energies in the plane\n\n"
        "KL(q, p) in nats, p = exp(-U)/Z, q a normal with independent coordinates and layers of a flow behind it, their "
        f"parameters fitted by Adam ({own['steps']} steps of {own['samples']} samples) from {own['starts']} starts each. "
        f"log Z by the rule of midpoints on {own['cells']} x {own['cells']} squares (half as many a side: at most "
        f"{halved:.0e} nats away); E_q by {own['portions'] * own['portion']} samples, hence the standard error. Best and "
        "worst of the starts. U2 to U4 have no Z over the whole plane; here a wall stands at |z1| = 4, "
        "((|z1| - 4)/0.4)^2/2 beyond it, which is ours. Pictures: p and the best q, one scale of colours for a row.\n\n"
        "![p and the best q](results/cpu/energies.png)"
    )
