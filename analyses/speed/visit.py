"""All that is to be learnt in one visit to a GPU, in a number of minutes: the tests there, then the benchmark.

    make gpu MINUTES=9 OUT=DIR
    python -m analyses.speed.visit --minutes 9 --out DIR

Each part is a process of its own, the most wanted first, with a time after which it is ended; what is left out for want of
time is named. The results of the benchmark lie under analyses/speed/results; with OUT they, RESULTS.md and what the parts
printed are copied there after every part, so that a visit that is cut short leaves what it found. Standard library only.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SPEED = Path("analyses") / "speed"


@dataclass(frozen=True)
class Part:
    """Something to run.

    Attributes:
        name: of the file that it prints to.
        command: what follows the Python.
        most_s: it is ended after so long, seconds.
    """

    name: str
    command: tuple[str, ...]
    most_s: float


def _section(name: str, most_s: float) -> Part:
    return Part(name, ("-m", f"{'.'.join(SPEED.parts)}.run", name), most_s)


# The rows that have bars come first; what is left of the time goes to the rest.
PARTS = (
    Part("tests", ("-m", "pytest", "-v", "--durations=10", "-p", "no:cacheprovider", "-m", "gpu", "tests/gpu"), 150),
    _section("engines", 90),
    _section("measure", 70),
    _section("training", 50),
    _section("ensembles", 120),
    _section("evaluation", 90),
    _section("agreement", 60),
    _section("growth", 40),
    _section("memory", 60),
)
# Below this a process hardly gets through its imports.
_LEAST_S = 15.0


def main(argv: Sequence[str] | None = None) -> None:
    """Run the parts that there is time for; exits 1 if one failed or was left out."""
    parser = argparse.ArgumentParser(prog="python -m analyses.speed.visit", description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(part.name for part in PARTS)}; default: all")
    parser.add_argument("--minutes", type=float, default=9.0, help="it ends before so many are over (default 9)")
    parser.add_argument("--out", type=Path, help="results and what was printed are copied here")
    chosen = parser.parse_args(argv)
    if unknown := set(chosen.parts) - {part.name for part in PARTS}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    parts = [part for part in PARTS if not chosen.parts or part.name in chosen.parts]
    outcomes = carry_out(parts, 60 * chosen.minutes, chosen.out)
    print("\n".join(f"{name:12} {outcome}" for name, outcome in outcomes.items()), flush=True)
    raise SystemExit(any(not outcome.startswith("done") for outcome in outcomes.values()))


def carry_out(parts: Sequence[Part], seconds: float, out: Path | None) -> dict[str, str]:
    """Run parts one after the other within so many seconds.

    Returns:
        Name of each to how it ended: ``done``, ``failed``, ``ended after`` its time, or ``left out``.
    """
    deadline = time.monotonic() + seconds - 5  # for the last copy
    outcomes = {}
    for part in parts:
        left = deadline - time.monotonic()
        if left < _LEAST_S:
            outcomes[part.name] = "left out: no time"
            continue
        print(f"{part.name} ...", flush=True)
        start = time.monotonic()
        text, outcome = _run(part, min(part.most_s, left))
        outcomes[part.name] = f"{outcome} {time.monotonic() - start:.0f} s"
        print(f"{text[-4000:]}\n{part.name}: {outcomes[part.name]}", flush=True)
        if out is not None:
            _copy(out, part.name, text)
    return outcomes


def _run(part: Part, most_s: float) -> tuple[str, str]:
    """What it printed, and how it ended; with all its own processes if its time is over."""
    command = [sys.executable, *part.command]
    places = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    # Unbuffered, so that a part that is ended leaves what it had printed.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, cwd=ROOT, text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True, env=environment,
    )  # fmt: skip
    try:
        text, _ = process.communicate(timeout=most_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0], "ended after"
    return text, "done in" if process.returncode == 0 else "failed in"


def _copy(out: Path, name: str, text: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.txt").write_text(text)
    shutil.copytree(ROOT / SPEED / "results", out / "results", dirs_exist_ok=True)
    if (page := ROOT / SPEED / "RESULTS.md").exists():
        shutil.copyfile(page, out / page.name)


if __name__ == "__main__":
    main()
