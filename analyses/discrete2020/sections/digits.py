"""The digits, 64-20-10: every estimator by `snrkit train`, evaluated and measured."""

from typing import Any

import pandas as pd

from analyses.common.report import NothingToSayError, Place
from analyses.common.runs import describe, evaluated, opened_run, spec_of, trained
from snrkit.run import Run
from snrkit.runs.kinds.snr import SNR
from snrkit.specs.measure import MeasureSpec
from snrkit.specs.run import RunSpec

_SHOWN = {"log_p": "log p̂(x)", "elbo": "ELBO", "kl_q_p": "KL(Q, P)", "ess_64": "ESS of 64"}


def specs(place: Place) -> list[RunSpec]:
    """Of every estimator and seed."""
    own, K = place.settings["digits"], place.settings["training"]["K"]
    chosen = [(name, seed) for name in own["estimators"] for seed in own["seeds"]]
    return [spec_of(own["run"], {"estimator": {"name": name, "K": K}}, seed) for name, seed in chosen]


def run(place: Place) -> tuple[str, pd.DataFrame]:
    """Bounds and divergences on test images, and the SNR of the inference gradient that each was trained with."""
    own, every = place.settings["digits"], specs(place)
    rows = []
    for spec in every:
        folder = trained(spec, place)
        scores, _ = evaluated(folder, own["samples"], own["points"])
        line: dict[str, object] = {"estimator": spec.estimator.name, "seed": spec.seed}
        for metric, shown in _SHOWN.items():
            line |= {shown: scores.value[metric], f"{shown} se": scores.stderr[metric]}
        rows.append(line | _strength(opened_run(folder), own))
    text = (
        f"## Digits\n\n{describe(every)}. log p̂(x) from {own['samples']:,} samples, KL(Q, P) = log p̂(x) - IWAE-64, over "
        f"{own['points']} test images; errors over images. Last: `snr_pooled` of the inference gradient at the end, of the "
        f"estimator trained with, over {own['measured_points']} test images and {own['draws']} draws.\n"
    )
    return text, pd.DataFrame(rows)


def _strength(opened: Run, own: dict[str, Any]) -> dict[str, object]:
    """Measured once, and kept in the run."""
    path = opened.path / "snr.parquet"
    if not path.exists():
        estimator = opened.spec.estimator
        asked = {"K": [estimator.K], "draws": own["draws"], "data_points": own["measured_points"]}
        opened.measure(MeasureSpec(**asked, blocks=("inference",))).save()
    table = SNR.read(path)
    (row,) = table[(table.metric == "snr_pooled") & (table.scope == "minibatch")].to_dict("records")
    return {"SNR": row["value"], "SNR se": row["stderr"]}


def advice(place: Place) -> tuple[str, dict[str, pd.DataFrame]]:
    """Which estimator to spend a budget on, on the network of the first seed of one estimator."""
    own = place.settings["advice"]
    spec = next(spec for spec in specs(place) if spec.estimator.name == own["estimator"])
    opened = opened_run(trained(spec, place))
    found = opened.advise(own["budget"], draws=own["draws"], data_points=place.settings["digits"]["measured_points"])
    found.save()
    if found.table.empty:
        raise NothingToSayError("no setting could be read")
    columns = {
        "estimator": "estimator", "M": "M", "K": "K", "snr_inference": "SNR φ", "snr_inference_stderr": "SNR φ se",
        "snr_generative": "SNR θ", "snr_generative_stderr": "SNR θ se", "bound_gap": "log p̂ - bound",
    }  # fmt: skip
    table = found.table.assign(ms=1000 * found.table.seconds_per_step)[[*columns, "ms"]].rename(columns=columns)
    answers = [
        f"- {row['goal']}: {row['setting'] + ', since ' if row['setting'] else ''}{row['reason']}"
        for row in found.recommendations.to_dict("records")
    ]
    text = (
        f"## Advice at T = M K = {own['budget']}\n\n`snrkit advise --budget {own['budget']} --draws {own['draws']}` of the "
        f"{own['estimator']} run of seed {spec.seed}. SNR says how clean a gradient is, not whether it is that of the bound "
        "wanted: `rloo` and `wake-sleep` climb the ELBO, `rws` descends KL(p, q), `tvo` climbs its own sum.\n\n"
        + "\n".join(answers)
        + "\n"
    )
    return text, {"": table.rename(columns={"ms": "ms per step"})}
