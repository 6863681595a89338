"""This checkout against another one, before and after in one run.

    python -m analyses.speed.against PATH                     every job
    python -m analyses.speed.against PATH step readings       some

PATH is a checkout of another commit, as `git worktree add PATH COMMIT` makes one. Each job is a process of its own, in turns
here and there, so that what else the machine does meets both alike; of each process the fastest repetition counts, and of
these the median over rounds. Prints a table in Markdown.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analyses.common.tables import markdown
from analyses.speed.job import JOBS

ROOT = Path(__file__).parents[2]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m analyses.speed.against", description=__doc__.partition("\n")[0])
    parser.add_argument("path", type=Path, help="the other checkout: before")
    parser.add_argument("jobs", nargs="*", help=f"of {', '.join(JOBS)}; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="processes of each, in turns (default 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each process, or one repetition (default 3)")
    chosen = parser.parse_args(argv)
    if unknown := set(chosen.jobs) - set(JOBS):
        parser.error(f"no such job: {', '.join(sorted(unknown))}")
    if not (chosen.path / "snrkit").is_dir():
        parser.error(f"{chosen.path}: holds no snrkit")
    jobs = chosen.jobs or list(JOBS)
    rows = [compared(name, chosen.path.resolve(), chosen.rounds, chosen.seconds) for name in jobs]
    print(markdown(pd.DataFrame(rows)))


def compared(name: str, other: Path, rounds: int, seconds: float) -> dict[str, object]:
    """One row: milliseconds of a job there and here, and how many times faster it is here."""
    found: dict[Path, list[float]] = {other: [], ROOT: []}
    for round_ in range(rounds):
        for place in (other, ROOT) if round_ % 2 == 0 else (ROOT, other):
            found[place].append(min(_repetitions(name, place, seconds)))
    before, after = (statistics.median(found[place]) for place in (other, ROOT))
    spread = ", ".join(f"{a / b:.2f}" for a, b in zip(found[other], found[ROOT], strict=True))
    return {"job": name, "before, ms": before, "after, ms": after, "before / after": before / after, "by round": spread}


def _repetitions(name: str, place: Path, seconds: float) -> list[float]:
    command = [sys.executable, str(Path(__file__).with_name("job.py")), name, str(seconds)]
    done = subprocess.run(
        command, cwd=place, env=os.environ | {"PYTHONPATH": str(place)}, check=True, capture_output=True, text=True
    )
    times: list[float] = json.loads(done.stdout.splitlines()[-1])
    return times


if __name__ == "__main__":
    main()
