"""The KL and the SNR of both networks' gradients as training goes on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.common.report import Place
from analyses.common.runs import CPU
from analyses.sentences2016.sections.runs import first_seed, opened
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.plan import Plan
from snrkit.evaluation.points import named_points
from snrkit.evaluation.sentences import sentence_scores
from snrkit.run import Run

_SAYS, _NETWORKS = "snr_pooled", ("inference", "generative")
_ESTIMATORS = ("vae", "vae-analytic")
_READ = ("inference", "inference ±")


def run(place: Place) -> tuple[str, pd.DataFrame]:
    """One row per run, epoch, estimator and network."""
    own, seed = place.settings["along"], first_seed(place)
    held = place.settings["evaluate"]["points"]
    table = pd.DataFrame(row for name in own["runs"] for row in _rows(place, name, seed))
    told = "\n".join(f"- {line}" for line in _told(table))
    text = (
        f"## Along training\n\nSNR ({_SAYS}) of one sample, M = K = 1, of the ELBO's gradient at weight 1 with every word "
        f"given, {own['points']} test sentences drawn as a minibatch, {own['draws']} draws, the same noise for both "
        f"estimators; KL in nats per sentence over {held} test sentences; seed {seed}.\n\n{told}"
    )
    return text, table


def _rows(place: Place, name: str, seed: int) -> Iterator[dict[str, Any]]:
    finished = opened(place, name, seed)
    for file in sorted((finished.path / "steps").glob("*.pt"), key=_step):
        own = Run.open(file, device="cpu")
        weight = own.spec.estimator.numbers().get("beta", 1.0)
        for row in _measured(place, own):
            yield {"run": name, "epoch": own.epoch, "weight of KL": round(weight, 3), **row}


def _step(file: Path) -> int:
    return int(file.stem.rsplit("-", 1)[-1])


def _measured(place: Place, own: Run) -> Iterator[dict[str, Any]]:
    settings = place.settings["along"]
    held, _ = named_points(own.dataset, own.spec, CPU, place.settings["evaluate"]["points"])
    kl = sentence_scores(own.model, held, 0.0, 0.0).kl
    plan = Plan(estimators=_ESTIMATORS, K=(1,), M=(1,), draws=settings["draws"], direct=True, blocks=_NETWORKS)
    table = diagnose(own.model, held[: settings["points"]], plan).table.query(
        "metric == @_SAYS and scope == 'minibatch'"
    )
    for estimator in _ESTIMATORS:
        found = table[table.estimator == estimator].set_index("block")
        row = {network: float(found.loc[network, "value"]) for network in _NETWORKS}
        errors = {f"{network} ±": float(found.loc[network, "stderr"]) for network in _NETWORKS}
        values = {key: round(value, 3) for key, value in (row | errors).items()}
        yield {"KL": round(float(kl.mean()), 3), "estimator": estimator, **values}


def _told(table: pd.DataFrame) -> Iterator[str]:
    for name, own in table.groupby("run", sort=False):
        first, last = own["epoch"].min(), own["epoch"].max()
        pivot = own.pivot(index="epoch", columns="estimator", values=["inference", "inference ±"])
        (snr, stderr), better = (pivot[column]["vae"] for column in _READ), pivot["inference"]["vae-analytic"]
        # A reading that does not stand clear of the noise is nothing to divide by.
        ratios = [f"{b / s:.1f}" if s > 2 * e else "-" for b, s, e in zip(better, snr, stderr, strict=True)]
        yield (
            f"{name}: KL {own[own.epoch == first]['KL'].iloc[0]:.2f} after epoch {first}, "
            f"{own[own.epoch == last]['KL'].iloc[0]:.2f} after epoch {last}; encoder SNR of `vae-analytic` over that of "
            f"`vae` by epoch (- where `vae`'s does not stand clear of noise): {', '.join(ratios)}."
        )
