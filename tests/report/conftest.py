"""A small fixed set of runs: values follow the known rates, K and M are pairwise different."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from snrkit.config import EstimatorSpec, RunSpec
from snrkit.results import RunDir, write_json, write_table

K = (1, 10, 100, 1000)
DRAWS = 400
SLOPES = {"vae": (0.5, 0.5), "iwae": (-0.5, 0.5), "ciwae": (0.3, 0.5), "piwae": (-0.4, 0.45)}


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
                            "ci_high": value + half, "floor": floor, "draws": DRAWS, "n_coordinates": 50,
                            "n_dropped": 0, "definition": "mean over coordinates", "seed": 0, "engine": "vmap",
                            "device": "cpu", "dtype": "float32", "complete": True, "method": "units", "seconds": 1.0,
                        }
                    )  # fmt: skip
    frame = pd.DataFrame(rows)
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
    write_table(files.snr, table(name, measured or [estimator]))
    return files


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with a VAE run measured with two estimators, and an IWAE run."""
    make_run(tmp_path / "runs", "demo-vae", "vae", measured=["vae", "iwae"])
    make_run(tmp_path / "runs", "demo_iwae", "iwae")
    return tmp_path / "runs"


@pytest.fixture
def one_table(tmp_path: Path) -> Callable[[pd.DataFrame], Path]:
    """Write a table to a bare Parquet file."""

    def write(frame: pd.DataFrame) -> Path:
        path = tmp_path / "bare.parquet"
        write_table(path, frame)
        return path

    return write
