"""Negative log-likelihoods and active units, VAE and IWAE, one and two stochastic layers."""

import itertools
import math
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.burda2016.sections.runs import Runs, scores
from snrkit.runs.orders import Order, decide, pooled

# (data, binarisation) -> {(layers, k, estimator): (negative log-likelihood, active units)}; one run each.
PUBLISHED = {
    ("mnist", "dynamic"): {
        (1, 1, "vae"): (86.76, "19"), (1, 5, "vae"): (86.47, "20"), (1, 50, "vae"): (86.35, "20"),
        (1, 5, "iwae"): (85.54, "22"), (1, 50, "iwae"): (84.78, "25"),
        (2, 1, "vae"): (85.33, "16+5"), (2, 5, "vae"): (85.01, "17+5"), (2, 50, "vae"): (84.78, "17+5"),
        (2, 5, "iwae"): (83.89, "21+5"), (2, 50, "iwae"): (82.90, "26+7"),
    },
    ("omniglot", "dynamic"): {
        (1, 1, "vae"): (108.11, "28"), (1, 5, "vae"): (107.62, "28"), (1, 50, "vae"): (107.80, "28"),
        (1, 5, "iwae"): (106.12, "34"), (1, 50, "iwae"): (104.67, "41"),
        (2, 1, "vae"): (107.58, "28+4"), (2, 5, "vae"): (106.31, "30+5"), (2, 50, "vae"): (106.30, "30+5"),
        (2, 5, "iwae"): (104.79, "38+6"), (2, 50, "iwae"): (103.38, "44+7"),
    },
    ("mnist", "fixed"): {
        (1, 1, "vae"): (88.71, "19"), (1, 5, "vae"): (88.83, "19"), (1, 50, "vae"): (89.05, "20"),
        (1, 5, "iwae"): (87.63, "22"), (1, 50, "iwae"): (87.10, "24"),
        (2, 1, "vae"): (88.08, "16+5"), (2, 5, "vae"): (87.63, "17+5"), (2, 50, "vae"): (87.86, "17+6"),
        (2, 5, "iwae"): (86.17, "21+5"), (2, 50, "iwae"): (85.32, "24+7"),
    },
}  # fmt: skip

Cell = tuple[str, str, int, int, str]


def run(settings: dict[str, Any], runs: Runs, _results: Path) -> tuple[str, dict[str, pd.DataFrame]]:
    """The table published | ours, and the order of VAE and IWAE in every cell."""
    own = settings["likelihoods"]
    measured: dict[Cell, pd.DataFrame] = {}
    for data, (layers, model), K in itertools.product(own["data"], settings["models"].items(), own["K"]):
        # With one sample the two are the same estimator.
        for estimator in ("vae",) if K == 1 else ("vae", "iwae"):
            name = f"{data['name']}-{data['binarise']}-{layers}"
            each = [runs.get(name, data, model, estimator, K, seed) for seed in own["seeds"]]
            cell = data["name"], data["binarise"], int(layers), K, estimator
            measured[cell] = pd.DataFrame([_figures(scores(run)) for run in each])
    counts = settings["evaluation"]
    text = (
        "### Likelihoods and active units\n\n"
        f"-log p̂(x) in nats, the bound with {counts['samples']} samples on {counts['points'] or 'all'} test points, and "
        f"active units, layer by layer from the data upwards, on {counts['active_points'] or 'all'}: mean over "
        f"{len(own['seeds'])} seeds ± its standard error from the spread between seeds, pooled over the cells of a data "
        "set. All runs see the same test points; the last column is what choosing them at random adds to a level, but "
        "hardly to a difference. Published: one run each. At k = 1 VAE and IWAE are one.\n\n"
        "Second table: IWAE less VAE of the same seed, which begin alike and see the same images in the same order; "
        "standard error from the spread of these differences between seeds, pooled over the rows of a quantity. An order "
        "holds (or does not) if the difference lies above (or below) 0 at the 95 % level of Student's t."
    )
    tables = [_compared(measured, data["name"], data["binarise"]) for data in own["data"]]
    return text, {"": pd.concat([t for t, _ in tables]), "_orders": pd.concat([o for _, o in tables])}


def _figures(found: dict[str, tuple[float, float]]) -> dict[str, float]:
    active = {metric: value for metric, (value, _) in found.items() if metric.startswith("active_units")}
    return {"nll": -found["log_p"][0], "points": found["log_p"][1], **active}


def _compared(measured: dict[Cell, pd.DataFrame], data: str, binarise: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    cells = {cell[2:]: table for cell, table in measured.items() if cell[:2] == (data, binarise)}
    nll_se = _level_error([table.nll for table in cells.values()])
    active_se = _level_error([_total(table) for table in cells.values()])
    published = PUBLISHED.get((data, binarise), {})
    rows = [
        {
            "data": f"{data}, {binarise}", "layers": layers, "k": K, "estimator": estimator,
            "published": published.get((layers, K, estimator), (float("nan"), ""))[0],
            "ours": table.nll.mean(), "ours se": nll_se,
            "active units, published": published.get((layers, K, estimator), (0, ""))[1],
            "active units, ours": " + ".join(f"{count:g}" for count in _active(table).mean()),
            "their sum": _total(table).mean(), "their sum se": active_se,
            "se over points": table.points.mean(),
        }
        for (layers, K, estimator), table in cells.items()
    ]  # fmt: skip
    pairs = {cell[:2]: (cells[(*cell[:2], "vae")], table) for cell, table in cells.items() if cell[2] == "iwae"}
    gains = {
        "log p̂, nats": {at: vae.nll - iwae.nll for at, (vae, iwae) in pairs.items()},
        "active units": {at: _total(iwae) - _total(vae) for at, (vae, iwae) in pairs.items()},
    }
    orders = []
    for what, each in gains.items():
        claims = [Order((*at, "iwae"), (*at, "vae"), gain.to_numpy()) for at, gain in each.items()]
        for at, found in zip(each, decide(claims), strict=True):
            orders.append((f"{data}, {binarise}", *at, what, found.difference, found.error, found.verdict))
    columns = ["data", "layers", "k", "quantity", "IWAE - VAE", "IWAE - VAE se", "IWAE above VAE"]
    return pd.DataFrame(rows), pd.DataFrame(orders, columns=columns)


def _active(table: pd.DataFrame) -> pd.DataFrame:
    return table.filter(like="active_units")


def _total(table: pd.DataFrame) -> pd.Series:
    return _active(table).sum(axis=1)


def _level_error(cells: list[pd.Series]) -> float:
    """Standard error of a cell's mean over seeds, from the variance between seeds pooled over cells; nan with one seed."""
    variance, freedom = pooled([values.to_numpy() for values in cells])
    return math.sqrt(variance / len(cells[0])) if freedom else math.nan
