"""Draws behind the layouts of Rainforth et al. 2018, figures 1 to 3: histograms, SNR and DSNR of the toy.

With m = A x + b, z = m + s e, u = x + mu - 2 m and s^2 = 2/3, everything follows from the noise e [N, K, D]:
log w = s e.u - (s^2 - 1/2) |e|^2 + const, and with S = sum_k w~_k e_k the gradients of one point are u - 2 s S in b,
its outer product with x in A, and m - mu + s S in mu. That is the gradient of the engines (tests/analyses compares) in
a fifth of their time, 10 ns per number of noise.

Draws are kept in blocks under runs/figures, so that an interrupted call goes on where it stopped.
"""

import functools
import math
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from analyses.toy.sections.toy import toy
from snrkit.core.streams import Streams
from snrkit.diagnostics.metrics.base import Reading, Replayed
from snrkit.diagnostics.metrics.dsnr import dsnr, noise_dsnr, pulled
from snrkit.diagnostics.metrics.strength import read
from snrkit.diagnostics.moments import BlockMoments, Moments
from snrkit.diagnostics.relations import block_means
from snrkit.diagnostics.slopes import judge
from snrkit.files import atomic_path
from snrkit.models.gaussian import PROPOSAL_VARIANCE, Gaussian
from snrkit.runs.kinds.base import HOW
from snrkit.runs.kinds.draws import DRAWS
from snrkit.runs.kinds.slopes import SLOPES
from snrkit.runs.kinds.snr import SNR

Array = npt.NDArray[Any]

HERE = Path(__file__).parent.parent
BLOCKS = 20
_SCALE = math.sqrt(PROPOSAL_VARIANCE)
# Numbers of noise held at once by one thread: they should stay in its cache.
_AT_ONCE = 2**18
_SLOPES_FROM = {"inference": 10, "generative": 30}
_LABELS = ("run", "step", "data", "seed", "method", *HOW, "estimator", "options")
_EXPECTED = {"inference": -0.5, "generative": 0.5}


def run(settings: dict[str, Any]) -> tuple[str, pd.DataFrame]:
    """Draw, read, and write results/figures.parquet, .slopes.csv and .draws.parquet; a summary of SNR as the table."""
    own = settings["figures"]
    model, x = toy(settings, settings["perturb"], settings["seed"])
    start = time.perf_counter()
    drawn = {K: _drawn(settings, model, x, K) for K in own["K"]}
    labels = {
        "run": "toy", "step": 0, "scope": "minibatch", "estimator": "iwae", "options": "", "seed": settings["seed"],
        "method": "units", "direct": False, "nested": False, "mean_from": "", "separate": False, "mode": "evaluation",
        "data": f"gaussian[0:{len(x)}] dim {settings['dim']} seed {settings['seed']}",
    }  # fmt: skip
    table = _table(drawn, own, model, labels, time.perf_counter() - start)
    results = HERE / settings.get("results", "results")
    results.mkdir(exist_ok=True)
    SNR.write(results / "figures.parquet", table)
    SLOPES.write(results / "figures.slopes.csv", _slopes(drawn, model, labels))
    kept = _kept({K: drawn[K] for K in own["kept"]}, own["coordinate"], settings["dim"], labels)
    DRAWS.write(results / "figures.draws.parquet", kept)
    shown = table[table["metric"].isin(["snr_mean", "dsnr"]) & table["block"].isin(_EXPECTED) & (table["M"] == 1)]
    text = (
        f"## Draws for the figures\n\nIWAE, {own['draws']} draws at each K, N = {len(x)} points; M by algebra (SNR) "
        "or groups of "
        "draws (DSNR). `make figures` draws them."
    )
    return text, shown[["block", "metric", "K", "value", "stderr", "floor"]]


def point_sums(u: Array, noise: Array) -> Array:
    """Sum over samples of normalised weight times noise: u ``[n, D]``, noise ``[n, K, D]`` to ``[n, D]``."""
    log_w = _SCALE * np.matmul(noise, u[:, :, None])[:, :, 0]
    log_w -= (PROPOSAL_VARIANCE - 0.5) * np.einsum("nkd,nkd->nk", noise, noise)
    weights = np.exp(log_w - log_w.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    sums: Array = np.matmul(weights[:, None, :], noise)[:, 0]
    return sums


def gradient(model: Gaussian, x: torch.Tensor, sums: Array) -> Array:
    """Gradient of the mean over the points in A, b and mu, ``[D*D + 2 D]``, from ``point_sums`` of all points."""
    data, mu, m = _known(model, x)
    of_b = data + mu - 2 * m - 2 * _SCALE * sums
    of_mu = m - mu + _SCALE * sums
    return np.concatenate([(of_b.T @ data / len(data)).ravel(), of_b.mean(axis=0), of_mu.mean(axis=0)])


def _known(model: Gaussian, x: torch.Tensor) -> tuple[Array, Array, Array]:
    with torch.no_grad():
        return x.numpy(), model.mu.numpy(), (x @ model.A.T + model.b).numpy()


def _drawn(settings: dict[str, Any], model: Gaussian, x: torch.Tensor, K: int) -> list[Array]:
    """All draws at one K in blocks of ``[draws, D*D + 2 D]``; finished blocks are read back."""
    own = settings["figures"]
    folder = HERE / "runs" / "figures" / f"{len(x)}-{settings['dim']}-{settings['seed']}-{own['draws']}"
    parts = np.array_split(np.arange(own["draws"]), BLOCKS)
    streams = Streams(settings["seed"])
    found = []
    with ThreadPoolExecutor(own["threads"]) as pool:
        for number, part in enumerate(parts):
            path = folder / f"K{K}-{number}.npy"
            if not path.exists():
                rows = list(pool.map(functools.partial(_draw, model, x, K, streams), map(int, part)))
                with atomic_path(path) as temporary:
                    np.save(temporary, np.stack(rows))
                print(f"K = {K}: block {number + 1} of {BLOCKS}", flush=True)
            found.append(np.load(path).astype(float))
    return found


def _draw(model: Gaussian, x: torch.Tensor, K: int, streams: Streams, draw: int) -> Array:
    data, mu, m = _known(model, x)
    u = data + mu - 2 * m
    generator = streams.numpy("toy-figures", K, draw)
    step = max(1, _AT_ONCE // (K * u.shape[1]))
    sums = [
        point_sums(part, generator.standard_normal((len(part), K, part.shape[1]), dtype=np.float32))
        for part in (u[i : i + step] for i in range(0, len(u), step))
    ]
    return gradient(model, x, np.concatenate(sums))


def _layout(model: Gaussian) -> dict[str, slice]:
    D = model.mu.shape[0]
    inference, both = D * D + D, D * D + 2 * D
    return {"inference": slice(0, inference), "generative": slice(inference, both), "b": slice(D * D, inference)}


def moments(blocks: list[Array]) -> Moments:
    """Moments of blocks of draws."""
    return Moments([BlockMoments(len(b), b.mean(0), b.var(0, ddof=1), np.zeros((1, 1, 3))) for b in blocks])


def _table(
    drawn: dict[int, list[Array]], own: dict[str, Any], model: Gaussian, labels: dict[str, Any], seconds: float
) -> pd.DataFrame:
    layout = _layout(model)
    rows = []
    for K, blocks in drawn.items():
        readings = read(moments(blocks), layout)
        for M in own["M"] if min(drawn) == K else [1]:
            found = [*(reading.of_average(M) for reading in readings), *_dsnr(blocks, layout, M)]
            rows += [
                labels | {
                    "M": M, "K": K, "block": r.block, "metric": r.metric, "value": r.interval.value,
                    "stderr": r.interval.stderr, "ci_low": r.interval.low, "ci_high": r.interval.high, "floor": r.floor,
                    "n_coordinates": r.n_coordinates, "n_dropped": r.n_dropped, "definition": r.definition,
                    "pulled": r.pulled, "target": r.target,
                }
                for r in found
            ]  # fmt: skip
    rows = _remarked(rows, own["draws"])
    constant = {
        "draws": own["draws"], "engine": "closed form", "device": "cpu", "dtype": "float32", "complete": True,
        "parameters": "", "threads": 1,
    }  # fmt: skip
    return pd.DataFrame(rows).assign(**constant, seconds=seconds)[list(SNR.columns)]


def _remarked(rows: list[dict[str, Any]], draws: int) -> list[dict[str, Any]]:
    """With the remark at every DSNR that rests on too few draws, as ``snrkit snr`` makes it."""
    strength = {
        (row["block"], row["M"], row["K"]): draws / row["M"] * row["value"]
        for row in rows if row["metric"] == "snr_pooled_squared"
    }  # fmt: skip
    found = []
    for row in rows:
        remark = pulled(strength[row["block"], row["M"], row["K"]]) if row["metric"] == "dsnr" else ""
        found.append(row | {"definition": f"{row['definition']}; {remark}", "pulled": True} if remark else row)
    return found


def _dsnr(blocks: list[Array], layout: dict[str, slice], M: int) -> list[Reading]:
    """DSNR of both networks where M draws in one are grouped into a draw at M."""
    grouped = [b[: len(b) // M * M].reshape(-1, M, b.shape[1]).mean(axis=1) for b in blocks]
    if min(map(len, grouped)) < 2:
        return []
    of = moments(grouped)
    found = []
    for name in ("inference", "generative"):
        inside = layout[name]
        means = block_means(of, inside)
        draws = np.concatenate([g[:, inside] for g in grouped])
        block = np.repeat(np.arange(len(grouped)), [len(g) for g in grouped])
        replayed = Replayed(
            block, (draws**2).sum(axis=1)[:, None], (draws @ means.T)[:, None], np.empty((len(draws), 0))
        )
        interval = dsnr(replayed, of, [inside], [0])["dsnr"]
        size = inside.stop - inside.start
        found.append(Reading("dsnr", name, interval, noise_dsnr(size), size))
    return found


def _slopes(drawn: dict[int, list[Array]], model: Gaussian, labels: dict[str, Any]) -> pd.DataFrame:
    layout = _layout(model)
    rows = []
    for block, expected in _EXPECTED.items():
        samples = [K for K in sorted(drawn) if _SLOPES_FROM[block] <= K]
        if len(samples) < 3:
            samples = sorted(drawn)[-3:]
        strengths = [
            next(r for r in read(moments(drawn[K]), {block: layout[block]}) if r.metric == "snr_pooled_squared")
            for K in samples
        ]
        squares = np.array([r.interval.value for r in strengths])
        replicates = np.stack([r.replicates for r in strengths], axis=1)
        slope = judge(samples, squares, replicates, expected, 0.0, np.array(samples, float) ** min(0.0, 2 * expected))
        rows.append(
            {key: labels[key] for key in _LABELS} | {
                "block": block, "axis": "K", "fixed": 1, "over": ",".join(map(str, samples)), "slope": slope.interval.value,
                "stderr": slope.interval.stderr, "ci_low": slope.interval.low, "ci_high": slope.interval.high,
                "expected": expected, "verdict": slope.verdict, "reason": slope.reason,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _kept(drawn: dict[int, list[Array]], coordinate: int, D: int, labels: dict[str, Any]) -> pd.DataFrame:
    kept = {f"b[{coordinate}]": D * D + coordinate, f"mu[{coordinate}]": D * D + D + coordinate}
    parts = []
    for K, blocks in drawn.items():
        draws = np.concatenate(blocks)
        parts += [
            pd.DataFrame({"draw": np.arange(len(draws)), "value": draws[:, place], "coordinate": name, "M": 1, "K": K})
            for name, place in kept.items()
        ]
    return pd.concat(parts, ignore_index=True).assign(**{key: labels[key] for key in _LABELS})
