"""What RESULTS.md says of the tables."""

import math
from typing import Any

import pandas as pd

from analyses.common.tables import markdown
from snrkit.runs.orders import Order, decide

# Table 1 of the paper: mean test log-likelihood ± its error, nats.
PUBLISHED = {
    ("mnist", "IWAE"): (-95.182, 0.022),
    ("mnist", "IWAER"): (-94.346, 0.025),
    ("mnist", "IWAER_rec"): (-94.709, 0.025),
    ("omniglot", "IWAE"): (-118.771, 0.035),
    ("omniglot", "IWAER"): (-118.540, 0.049),
    ("omniglot", "IWAER_rec"): (-118.647, 0.031),
}
SYSTEMS = ("IWAE", "IWAER", "IWAER_rec")
BASE = SYSTEMS[0]
# Of the verdict on "above IWAE".
COMMENTS = {
    "holds": "above IWAE, as published",
    "does not hold": "below IWAE, against the published order",
    "undecided": "not told from IWAE",
}
TENSORS = {
    "encoder.hidden": "encoder.0",
    "encoder.output": "encoder.2",
    "decoder.hidden": "decoder.0",
    "decoder.output": "decoder.2",
}  # layer of random-weights -> of mlp


def trials(table: pd.DataFrame, settings: dict[str, Any]) -> str:
    """Log-likelihoods of every system, and which lie above IWAE."""
    value = table.pivot_table(index=["data", "trial"], columns="system", values="log_p")
    rows = []
    for (data, system), (published, error) in PUBLISHED.items():
        if data not in value.index.get_level_values("data"):
            continue
        own = value.loc[data]
        mean, stderr = _mean(own[system])
        gain = decide([Order(system, BASE, (own[system] - own[BASE]).to_numpy())])[0]
        wanted = published - PUBLISHED[data, BASE][0]
        difference = "" if system == BASE else f"{gain.difference:+.3f} ± {gain.error:.3f} (published {wanted:+.3f})"
        ours = f"{mean:.3f} ± {stderr:.3f}"
        comment = "" if system == BASE else COMMENTS[gain.verdict]
        scale = table.loc[(table.data == data) & (table.system == system), "median_scale"].mean()
        moved = "" if system == BASE else f"{scale:.3f}"
        rows.append((data, system, f"{published:.3f} ± {error:.3f}", ours, difference, moved, comment))
    columns = [
        "data", "system", "published", f"ours ({settings['scale']})", "ours - our IWAE, by trial",
        f"median scale (start {settings['initial_scale']:g})", "comment",
    ]  # fmt: skip
    return (
        f"## Test log-likelihood, {settings['scale']} scale\n\nNats per image, mean over {settings['trials']} trials "
        f"± standard error over trials (seeds 0 to {settings['trials'] - 1}). Above or below IWAE: paired over trials, at "
        f"the 95 % level of Student's t with {settings['trials'] - 1} degrees of freedom. {_scale(settings)}\n\n"
        + markdown(pd.DataFrame(rows, columns=columns))
    )


def _scale(settings: dict[str, Any]) -> str:
    images = f"the first {settings['train_limit']:,}" if "train_limit" in settings else "all"
    points = f"the first {settings['test_points']:,}" if "test_points" in settings else "all"
    return (
        f"Trained on {images} training images for {settings['epochs']} epochs, batches of {settings['batch_size']}, "
        f"K = {settings['K']}, {settings['hidden']} hidden units, {settings['latent']} latents; tested on {points} test "
        f"images with {settings['samples']:,} samples. The paper: all images, 500 epochs, batches of 100, K = 25, "
        "400 hidden units, 20 latents, 2,000 samples. Median scale: of the random weights after training, in units of "
        f"1/sqrt(fan-in).\n\nWhat is called log-likelihood is log p̂, the bound with {settings['samples']:,} samples. It "
        "lies below log p by about the relative variance of the importance weights over twice the samples; random network "
        "weights add to that variance, so their bound is the looser one, and the comparison is biased against IWAER and "
        "IWAER_rec, the more so the fewer the samples."
    )


def _mean(values: pd.Series) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))


def snr(table: pd.DataFrame, settings: dict[str, Any]) -> str:
    """SNR of means and scales, layer by layer."""
    rows = []
    for layer, plain in TENSORS.items():
        means = {f"{layer}.weight_mean", f"{layer}.weight", f"{plain}.weight"}
        for kind, names in (("mean", means), ("scale", {f"{layer}.weight_log_scale"})):
            of_layer = table[table.block.isin(names) & (table.metric == "snr_mean")]
            rows.append((layer, kind, *(_cell(of_layer[of_layer.system == system]) for system in SYSTEMS)))
    first = table.iloc[0]
    return (
        f"## Gradient SNR of means and scales, {settings['scale']} scale\n\nsnr_mean ± standard error (the floor that noise "
        f"alone would read) of the weights' IWAE gradient at K = {settings['K']}, {first.draws} draws, "
        f"points {first['data']}, after training (trial 0). A coordinate's SNR is the same for a scale and its logarithm. "
        "Biases, networks and snr_pooled are in the CSV.\n\n"
        + markdown(pd.DataFrame(rows, columns=["layer", "weights", *SYSTEMS]))
    )


def _cell(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "fixed"
    row = rows.iloc[0]
    return f"{row['value']:.3f} ± {row.stderr:.3f} ({row.floor:.3f})"
