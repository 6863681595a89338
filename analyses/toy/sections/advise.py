"""`snrkit advise` on two trained models, as printed."""

import contextlib
import io
from pathlib import Path
from typing import Any

import pandas as pd

from snrkit.cli.main import program

RUNS = Path(__file__).parent.parent / "runs"
TRAIN = {
    "digits": "train --data digits --estimator iwae --K 64 --set model.options.hidden=[64,64] --set model.options.latent=16 "
    "--epochs 40 --batch-size 100",
    "mnist": "train --data mnist --estimator iwae --K 64 --epochs 3",
}


def run(settings: dict[str, Any]) -> tuple[str, pd.DataFrame]:
    """Train, then ask."""
    parts = ["## Advice\n"]
    for data, train in TRAIN.items():
        advise = f"advise --budget 64 --draws {settings['advise']['draws']} --quiet"
        _snrkit(f"{train} --resume --quiet --out {RUNS / data}")
        shown = _snrkit(f"{advise} --ckpt {RUNS / data}")
        parts.append(f"`snrkit {train}`, then `snrkit {advise}`:\n\n```\n{shown.rstrip()}\n```\n")
    return "\n".join(parts), pd.DataFrame({"models": list(TRAIN)})


def _snrkit(line: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        program.main(args=line.split(), prog_name="snrkit", standalone_mode=False)
    return out.getvalue()
