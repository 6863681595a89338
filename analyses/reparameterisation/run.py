"""Gradient variance against minibatch size: shared weight noise, local reparameterisation, and the score function.

    python -m analyses.reparameterisation.run [--settings FILE.toml] [--out FOLDER]

Writes results/variance.csv and its figure, results/variance_parts.csv, and RESULTS.md.
"""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

import snrkit
from analyses.common.report import Analysis, Place
from analyses.reparameterisation import text
from analyses.reparameterisation.chart import LOOK, draw
from analyses.reparameterisation.classifier import Layers, OwnWeights, RandomMinibatch, SharedWeights
from analyses.reparameterisation.gradients import Pathwise, Score
from snrkit.core.streams import Streams
from snrkit.report.drawing import Drawing
from snrkit.report.save import Destination, save_drawing

WEIGHTS = {"shared": SharedWeights, "own": OwnWeights}
ESTIMATORS = {"pathwise": Pathwise(), "score": Score()}
BLOCKS = {"all": "all", "bias": "layers.output.bias_mean"}
_ROWS_PER_PASS = 20_000
CPU = torch.device("cpu")


def run(place: Place) -> tuple[str, dict[str, pd.DataFrame]]:
    """Measure and compare; the measured variances are the figure's twin."""
    data = odd_digits()
    layers = trained(place.settings, data)
    parts, table = measured(place.settings, layers, data)
    drawing = Drawing(draw(table, parts), table, CAPTION, CAPTION)
    command = ("python", "-m", "analyses.reparameterisation.run")
    save_drawing("variance", drawing, (), Destination(place.results, command, LOOK))
    size = sum(parameter.numel() for parameter in layers.parameters())
    return text.of_tables(place.settings, size, table, parts), {"_parts": parts}


CAPTION = (
    "Trace of the covariance of the gradient of the mean log-likelihood of a minibatch of M points drawn with replacement. "
    "Points: measured; lines: (1/M) Var[L_i] + ((M - 1)/M) Cov[L_i, L_j] from separate draws; dashed: Cov alone."
)


def odd_digits() -> Tensor:
    """Rows (is the digit odd?, 64 grey values) of all digits of the ``digits`` data with a label, ``[1797, 65]``."""
    from sklearn.datasets import load_digits

    found = load_digits()
    label, pixels = torch.from_numpy(found.target % 2), torch.from_numpy(found.data) / 16
    return torch.cat([label[:, None], pixels], dim=1).float()


def trained(settings: dict[str, Any], data: Tensor) -> Layers:
    """Layers some way into fitting q(w): ascent on N mean log p - KL(q || N(0, I)), local reparameterisation."""
    streams = Streams(settings["seed"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings["seed"])
        layers = Layers(data.shape[1] - 1, settings["hidden"], settings["initial_scale"])
    model = RandomMinibatch(OwnWeights(layers), data)
    adam = torch.optim.Adam(model.parameters(), lr=settings["lr"], maximize=True)
    x = torch.zeros(settings["batch"], 1)
    for step in range(settings["train_steps"]):
        shape = (len(x), 1, 1, *model.noise_shape(x))
        noise = streams.normal("train", (step,), shape, dtype=torch.float32, device=CPU)
        adam.zero_grad()
        (model(x, noise).log_p.mean() - layers.divergence() / len(data)).backward()
        adam.step()
    return layers


def measured(settings: dict[str, Any], layers: Layers, data: Tensor) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Var, Cov and its check per system; and the variance at each M beside what they say it is."""
    parts, rows = [], []
    for weights, kind in WEIGHTS.items():
        for name, estimator in ESTIMATORS.items():
            print(f"{weights} weights, {name} ...", flush=True)
            model, draws, seed = RandomMinibatch(kind(layers), data), settings[name], settings["seed"]
            single = variances(model, torch.zeros(1, 1), estimator, draws["variance"], seed + 1)
            pair = variances(model, torch.zeros(2, 1), estimator, draws["pairs"], seed + 2)
            # Given the noise that points share, two of them are independent, so Cov = Var(E[L_i | shared noise]).
            shared = kind is SharedWeights
            common = variances(kind(layers), data, estimator, draws["covariance"], seed + 3, "") if shared else {}
            for block, (var, var_error) in single.items():
                cov, cov_error = common.get(block, (0.0, 0.0))
                two, two_error = pair[block]
                check = 2 * two - var, (4 * two_error**2 + var_error**2) ** 0.5
                parts.append((weights, name, block, var, var_error, cov, cov_error, *check))
            for M, count in zip(settings["M"], draws["minibatch"], strict=True):
                found = variances(model, torch.zeros(M, 1), estimator, count, seed + 4)
                rows += [(weights, name, block, M, count, *pair) for block, pair in found.items()]
    columns = ["weights", "estimator", "block", "var", "var_stderr", "cov", "cov_stderr", "pair_cov", "pair_cov_stderr"]
    known = pd.DataFrame(parts, columns=columns)
    table = pd.DataFrame(rows, columns=["weights", "estimator", "block", "M", "draws", "measured", "stderr"])
    return known, compared(table, known)


def variances(
    model: Any, x: Tensor, estimator: Any, draws: int, seed: int, prefix: str = "model."
) -> dict[str, tuple[float, float]]:
    """Block to the (variance, standard error) of the minibatch gradient, by ``snrkit.measure`` with direct draws."""
    names = {block: name if name == "all" else prefix + name for block, name in BLOCKS.items()}
    table = snrkit.measure(
        model, x, [estimator], K=[1], draws=draws, seed=seed,
        engine="vmap", direct=True, chunk=max(1, min(400, _ROWS_PER_PASS // len(x))), blocks=list(names.values()),
    )  # fmt: skip
    found = table[table.metric == "variance"].set_index("block")
    return {block: (found.loc[name, "value"], found.loc[name, "stderr"]) for block, name in names.items()}


def compared(table: pd.DataFrame, parts: pd.DataFrame) -> pd.DataFrame:
    """The measured variances beside (1/M) Var + ((M - 1)/M) Cov, with the distance in standard errors of both."""
    joined = table.merge(parts, on=["weights", "estimator", "block"])
    M = joined.M
    joined["formula"] = joined["var"] / M + (M - 1) / M * joined["cov"]
    joined["formula_stderr"] = ((joined.var_stderr / M) ** 2 + ((M - 1) / M * joined.cov_stderr) ** 2) ** 0.5
    joined["z"] = (joined.measured - joined.formula) / (joined.stderr**2 + joined.formula_stderr**2) ** 0.5
    return joined[[*table.columns, "formula", "formula_stderr", "z"]]


ANALYSIS = Analysis(Path(__file__).parent, {"variance": run}, scaled=False, shown=False)

if __name__ == "__main__":
    ANALYSIS.main()
