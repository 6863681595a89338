"""A small fixed set of results: values follow the known rates, K and M are pairwise different."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from snrkit.files import write_json
from snrkit.runs.folder import RunDir
from snrkit.runs.kinds.earlier import data_of
from snrkit.runs.kinds.snr import SNR
from snrkit.specs.run import EstimatorSpec, RunSpec

K = (1, 10, 100, 1000)
DRAWS = 400
_BLANK = {"text": "", "whole number": 0, "number": 0.0, "truth value": True}
SLOPES = {"vae": (0.5, 0.5), "iwae": (-0.5, 0.5), "ciwae": (0.3, 0.5), "piwae": (-0.4, 0.45)}


def with_all_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with the schema's other columns too, which say nothing."""
    return frame.assign(**{name: _BLANK[c.content] for name, c in SNR.columns.items() if name not in frame})


def table(
    run: str, estimators: Sequence[str], samples: Sequence[int] = K, outer: Sequence[int] = (3,), options: str = ""
) -> pd.DataFrame:
    shift = 1 + 0.5 * (run == "demo_iwae")
    rows = []
    for estimator in estimators:
        for block, slope in zip(("inference", "generative"), SLOPES[estimator], strict=True):
            for m in outer:
                for k in samples:
                    floor = float(np.sqrt(2 * m / (np.pi * DRAWS)))
                    value = float(np.hypot(0.5 * shift * np.sqrt(m) * k**slope / (1 if slope > 0 else 1.5), floor))
                    half = 0.08 * value
                    rows.append(
                        {
                            "run": run, "step": 600, "data": "digits:test[0:8] seed 0", "scope": "minibatch",
                            "estimator": estimator, "options": options, "M": m, "K": k, "block": block,
                            "metric": "snr_mean", "value": value, "stderr": half / 2, "ci_low": value - half,
                            "ci_high": value + half, "floor": floor, "draws": DRAWS, "method": "units",
                            "mode": "evaluation", "direct": False, "nested": False, "pulled": False,
                        }
                    )  # fmt: skip
    frame = with_all_columns(pd.DataFrame(rows))
    return pd.concat([frame, frame.assign(metric="snr_median", value=frame["value"] * 0.7)], ignore_index=True)


def evaluation(run: str, offset: float = 0.0) -> dict[str, object]:
    rows = [
        ("iwae_64", -20.1234 + offset, 0.312, "64-sample bound, nats"),
        ("log_p", -19.5678 + offset, 0.0421, "5000-sample bound, nats"),
        ("active_units", 14.0, 0.0, "latent dimensions of 16"),
    ]
    names = ("metric", "value", "stderr", "definition")
    return {
        "schema": 1, "run": run, "step": 600, "data": "digits:test[0:300] seed 0", "points": 300, "samples": 5000,
        "seconds": 3.2, "seed": 0, "rows": [dict(zip(names, row, strict=True)) for row in rows],
    }  # fmt: skip


def make_run(folder: Path, name: str, estimator: str, epochs: int = 40, measured: Sequence[str] = ()) -> RunDir:
    files = RunDir(folder / name)
    files.path.mkdir(parents=True)
    files.config.write_text(RunSpec(estimator=EstimatorSpec(name=estimator, M=1, K=64)).to_toml())
    lift = 0.8 * list(SLOPES).index(estimator)
    rows = []
    for epoch in range(1, epochs + 1):
        bound = -24 + lift - 120 * np.exp(-epoch / 2.0) - 6 / epoch
        row = {
            "epoch": epoch,
            "step": 15 * epoch,
            "bound": bound,
            "test_iwae64": bound + 1.1,
            "lr": 1e-3,
            "seconds": 1.0,
        }
        rows.append(row)
    files.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    files.set_status("done")
    write_json(files.evaluation, evaluation(name, lift))
    SNR.write(files.snr, table(name, measured or [estimator]))
    return files


def _variants(frame: pd.DataFrame, scales: dict[str, float], **columns: object) -> list[pd.DataFrame]:
    """The rows again under other metrics, values scaled."""
    numbers = ["value", "stderr", "ci_low", "ci_high"]
    return [frame.assign(metric=m, **columns, **{n: frame[n] * scale for n in numbers}) for m, scale in scales.items()]


def readings() -> pd.DataFrame:
    """Everything that a measurement with all options on gives, of three estimators at several K and M, and two steps."""
    parts = []
    for step in (300, 600):
        frame = table("demo", ["vae", "iwae", "ciwae"], outer=(1, 3, 9)).assign(step=step)
        means = frame[frame["metric"] == "snr_mean"]
        parts += [frame, *_variants(means, {"dsnr": 0.8}, floor=0.04)]
        parts += _variants(means, {"variance": 30.0, "bias_squared": 2.0, "data_variance": 5.0}, floor=np.nan)
        parts += _variants(means, {"data_variance": 5.0, "monte_carlo_variance": 9.0}, floor=np.nan, scope="dataset")
    whole = pd.concat(parts, ignore_index=True)
    # A squared bias that cannot be told from zero.
    noise = (whole["metric"] == "bias_squared") & (whole["K"] == 1000)
    whole.loc[noise, ["value", "ci_low"]] = [-0.3, -0.8]
    return whole


def slopes() -> pd.DataFrame:
    rows = [
        {"run": "demo", "step": 600, "data": "digits:test[0:8] seed 0", "seed": 0, "method": "units", "direct": False,
         "estimator": name, "options": "", "block": block,
         "axis": "K", "fixed": 1, "over": "1,10,100,1000", "slope": slope, "stderr": 0.013,
         "ci_low": slope - 0.027, "ci_high": slope + 0.027, "expected": slope, "verdict": "agrees", "reason": "near"}
        for name, both in SLOPES.items() for block, slope in zip(("inference", "generative"), both, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(source="demo.slopes.csv")


def draws() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    parts = [
        pd.DataFrame({"value": generator.normal(0.1 / k, k**-0.5, 500), "coordinate": coordinate, "K": k, "M": 1})
        for coordinate in ("b[3]", "mu[3]") for k in (1, 10, 100)
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True).assign(
        run="demo", step=600, data="toy", seed=0, method="units", estimator="iwae", options=""
    )


def trained_as(
    run: str, estimator: str, M: int, K: int, seed: int = 0, options: str = "", learnt: str = ""
) -> dict[str, object]:
    given, options = options, f"{options}, learnt {learnt}" if learnt else options
    return {
        "run": run, "folder": f"runs/{run}", "trained_on": "digits", "model": "mlp", "estimator": estimator,
        "options": options, "M": M, "K": K, "seed": seed, "setting": f"{estimator} {options} {M} {K}", "rest": "",
        "given": given, "beta_start": float(given.removeprefix("beta=") or "nan"), "beta_learnt": learnt,
    }  # fmt: skip


RUNS = (
    trained_as("iwae-0", "iwae", 1, 64), trained_as("iwae-1", "iwae", 1, 64, seed=1), trained_as("vae", "vae", 1, 64),
    trained_as("miwae", "miwae", 8, 8), trained_as("piwae", "piwae", 4, 16),
    trained_as("ciwae-05", "ciwae", 1, 64, options="beta=0.05"), trained_as("ciwae-5", "ciwae", 1, 64, options="beta=0.5"),
)  # fmt: skip


def metrics() -> pd.DataFrame:
    rows = []
    for i, run in enumerate(RUNS):
        for epoch in range(1, 21):
            bound = -24 + 0.3 * i - 100 * float(np.exp(-epoch / 2.0)) - 6 / epoch
            beta = 1 / epoch if run["estimator"] == "ciwae" else np.nan
            row = {"epoch": epoch, "step": 15 * epoch, "bound": bound, "test_iwae64": bound + 1, "beta": beta}
            rows.append(run | row | {"state": "done"})
    return pd.DataFrame(rows)


def evaluations() -> pd.DataFrame:
    rows = []
    for i, run in enumerate(RUNS):
        for step in (150, 300):
            for data in ("digits", "omniglot"):
                low = 5.0 if data == "omniglot" else 0.0
                values = {"iwae_64": -20.0 + 0.1 * i - low, "log_p": -19.6 + 0.07 * i - low, "kl_q_p": 0.4 - 0.03 * i,
                          "ssim": 0.8 - 0.01 * i, "active_units": 10.0 + i}  # fmt: skip
                rows += [
                    run | data_of(f"{data}:test[0:300] seed 0")
                    | {"step": step, "data": f"{data}:test[0:300] seed 0", "points": 300, "samples": 5000, "metric": metric,
                       "value": value, "stderr": 0.02, "definition": "defined",
                       "layer": 0 if metric == "active_units" else None, "dimensions": None}
                    for metric, value in values.items()
                ]  # fmt: skip
    return pd.DataFrame(rows)


def points() -> pd.DataFrame:
    generator = np.random.default_rng(1)
    parts = [
        pd.DataFrame({"point": range(60), "ess_64": 64 * generator.beta(2 + i, 5, 60)}).assign(
            **run, step=300, data="digits:test[0:60] seed 0"
        )
        for i, run in enumerate(RUNS[:4])
    ]
    return pd.concat(parts, ignore_index=True)


def advice() -> pd.DataFrame:
    rows = [
        {"estimator": name, "M": 64 // k, "K": k, "snr_inference": 4.0 / k + 0.1 * i, "snr_inference_stderr": 0.05,
         "snr_generative": 1.0 + 0.3 * i, "snr_generative_stderr": 0.03, "seconds_per_step": 0.01 + 0.002 * i + 1e-4 * k,
         "bound_gap": 1 / k, "best_for": "inference network" if (name, k) == ("dreg", 1) else "", "name": name,
         "options": "", "advised_inference": (name, k) == ("dreg", 1), "advised_generative": False}
        for i, name in enumerate(("iwae", "piwae", "dreg")) for k in (1, 4, 16)
    ]  # fmt: skip
    reasons = [{"goal": "inference network", "setting": "dreg M=64 K=1", "reason": "it is highest"}]
    frame = pd.DataFrame(rows).assign(run="demo", step=600, data="digits:test[0:8]", budget=64, draws=400)
    return frame.assign(reasons=[reasons] * len(rows))


def images() -> pd.DataFrame:
    kinds = [("input", 1), ("q", 3), ("q_iw", 3)]
    names = [(point, kind, sample) for point in (0, 1) for kind, count in kinds for sample in range(count)]
    table = pd.DataFrame(names, columns=["point", "kind", "sample"])
    table["pixels"] = [[i / 20, 0.5, 0.25, 0.75] for i in range(len(names))]
    return table.assign(run="demo", step=5, data="digits:test[0,1]", k=50, seed=0, height=2, width=2)


def prior_samples() -> pd.DataFrame:
    names = [(sample, kind) for kind in ("mean", "drawn") for sample in range(13)]
    table = pd.DataFrame(names, columns=["sample", "kind"])
    table["pixels"] = [[i / 30, 0.5, 0.25, 0.75] for i in range(len(names))]
    table["z"] = [[0.1 * sample, 1.0] for sample, _ in names]
    return table.assign(run="demo", step=5, data="digits", seed=0, height=2, width=2)


def interpolations() -> pd.DataFrame:
    places = [(pair, place, place / 3, "mean", np.nan) for pair in range(2) for place in range(4)]
    ends = [(pair, 3 * end, float(end), "input", 2.0 * pair + end) for pair in range(2) for end in range(2)]
    table = pd.DataFrame([*places, *ends], columns=["pair", "place", "t", "kind", "point"])
    table["pixels"] = [[i / 20, 0.5, 0.25, 0.75] for i in range(len(table))]
    table["z"] = [[] if kind == "input" else [t, 1.0] for kind, t in zip(table["kind"], table["t"], strict=True)]
    return table.assign(run="demo", step=5, data="digits:test[0:4]", between="test", seed=0, height=2, width=2)


def canvases() -> pd.DataFrame:
    """Two images in three steps, with windows, one of them far outside."""
    table = pd.DataFrame([(number, t) for number in (0, 4) for t in range(4)], columns=["number", "t"])
    table["kind"] = np.where(table["t"] == 0, "input", "canvas")
    table["pixels"] = [[i / 10, 0.5, 0.25, 0.75, 1.0, 0.0] for i in range(len(table))]
    written = table["t"] > 0
    table["kl"] = np.where(written, 0.1 * table["t"], np.nan)
    for kind, left in (("read", 1.5), ("write", 40.0)):
        for what, value in (("left", left), ("top", 2.0), ("stride", 1.0)):
            table[f"{kind}_{what}"] = np.where(written, value, np.nan)
    about = {"run": "demo", "step": 5, "data": "digits:test[0,4]", "of": "test", "seed": 0}
    return table.assign(read=2, write=3, height=3, width=2, **about)


def latents() -> pd.DataFrame:
    generator = np.random.default_rng(2)
    table = pd.DataFrame(generator.standard_normal((30, 2)), columns=["z1", "z2"])
    return table.assign(
        label=pd.array(np.arange(30) % 3, "Int64"),
        run="demo",
        step=5,
        data="digits:test[0:30]",
        layer=1,
        point=range(30),
    )


def all_frames() -> dict[str, pd.DataFrame]:
    """A small fixed table of every kind, enough for every figure."""
    return {
        "snr": readings().assign(source="demo.parquet"), "slopes": slopes(), "draws": draws(), "metrics": metrics(),
        "evaluations": evaluations(), "points": points(), "advice": advice(),
        "reconstructions": images(), "latents": latents(), "samples": prior_samples(),
        "interpolations": interpolations(), "canvases": canvases(),
    }  # fmt: skip
