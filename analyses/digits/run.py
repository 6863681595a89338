"""Small runs on the embedded digits, measured in every way that the report can draw.

    python -m analyses.digits.run                    trains, evaluates, measures, copies the tables; resumable
    snrkit report analyses/digits/results --html     draws them

The tables, without checkpoints, go to analyses/digits/results.
"""

import argparse
import tomllib
from pathlib import Path
from typing import Any

from analyses.common.tables import copy_tables
from snrkit.run import Run, train
from snrkit.specs.measure import MeasureSpec, WatchFile
from snrkit.specs.run import RunSpec

HERE = Path(__file__).parent


def main() -> None:
    """Run what is not there yet and copy the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m analyses.digits.run", description="Runs on the digits, and their tables."
    )
    parser.add_argument("settings", nargs="?", type=Path, default=HERE / "digits.toml", help="default: %(default)s")
    settings = tomllib.loads(parser.parse_args().settings.read_text())
    runs = [_trained(name, own, settings) for name, own in settings["runs"].items()]
    first = runs[0]
    if not (first.path / "snr.slopes.csv").exists():
        print(f"measuring {first.name}", flush=True)
        first.measure(MeasureSpec(**settings["measure"])).save()
    if not (first.path / "advice.json").exists():
        print(f"advising on {first.name}", flush=True)
        first.advise(**settings["advise"]).save()
    for run in runs:
        copy_tables(run.path, HERE / "results" / run.name)


def _trained(name: str, own: dict[str, Any], settings: dict[str, Any]) -> Run:
    """A run, trained and evaluated, its checkpoints along the way too."""
    spec = RunSpec.parse(settings["train"] | {"estimator": own["estimator"]}, "the settings")
    print(f"training {name}", flush=True)
    watch = WatchFile(measure=settings["watch"] | {"K": own["K"]})
    run = train(spec, HERE / "runs" / f"digits-{name}", resume=True, watch=watch)
    for checkpoint in [run.file, *sorted((run.path / "steps").glob("*.pt"))]:
        opened = Run.open(checkpoint)
        if not opened.beside("evaluation.json").exists():
            opened.evaluate(**settings["evaluate"]).save(points=checkpoint == run.file)
    return run


if __name__ == "__main__":
    main()
