"""Small runs on the embedded digits, measured in every way that the report can draw.

    python -m analyses.digits.run                    trains, evaluates, measures, copies the tables; resumable
    snrkit report analyses/digits/results --html     draws them

The tables, without checkpoints, go to analyses/digits/results.
"""

import sys
import tomllib
from pathlib import Path
from typing import Any

from analyses.common.tables import copy_tables
from snrkit.cli.main import program

HERE = Path(__file__).parent


def main() -> None:
    """Run what is not there yet and copy the tables."""
    settings = tomllib.loads(Path(sys.argv[1] if len(sys.argv) > 1 else HERE / "digits.toml").read_text())
    for name, flags in settings["train"]["runs"].items():
        run = HERE / "runs" / f"digits-{name}"
        _snrkit(f"train {settings['train']['common']} {flags} --resume --out {run}")
        _evaluate(run, settings["measure"]["evaluate"])
    first = HERE / "runs" / f"digits-{next(iter(settings['train']['runs']))}"
    for command, result in (("snr", "snr.slopes.csv"), ("advise", "advice.json")):
        if not (first / result).exists():
            _snrkit(f"{command} --ckpt {first} {settings['measure'][command]}")
    for run in sorted((HERE / "runs").iterdir()):
        copy_tables(run, HERE / "results" / run.name)


def _evaluate(run: Path, flags: str) -> None:
    """The run with its points kept, and its checkpoints along the way."""
    if not (run / "evaluation.json").exists():
        _snrkit(f"evaluate --ckpt {run} {flags} --keep-points")
    for checkpoint in sorted((run / "steps").glob("*.pt")):
        if not checkpoint.with_suffix(".evaluation.json").exists():
            _snrkit(f"evaluate --ckpt {checkpoint} {flags}")


def _snrkit(line: str) -> Any:
    print(f"snrkit {line}", flush=True)
    return program.main(args=[*line.split(), "--quiet"], prog_name="snrkit", standalone_mode=False)


if __name__ == "__main__":
    main()
