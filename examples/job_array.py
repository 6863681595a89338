"""200 small measurements by 8 processes on one folder, as a job array of a cluster makes them, one of which is killed.

    python examples/job_array.py [--runs 200] [--parts 8] [--out job-array]

Trains a grid of Gaussian toys in parts, kills one part in the middle and begins it anew, measures all runs in the same way,
sees to it that nothing is lost and nothing is there twice, and makes one table and one figure of it.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from snrkit import collect
from snrkit.runs.kinds.snr import SNR

GRID = """
epochs = 1
batch_size = 16
eval_points = 0
data = {{name = "gaussian", size = 64, dim = 4}}
model = {{name = "gaussian"}}
[grid]
seed = {seeds}
model.options.perturb = [0.01, 0.1, 0.3, 1.0]
[[runs]]
estimator = {{name = "iwae", K = 16}}
[[runs]]
estimator = {{name = "dreg", K = 16}}
"""
SETTINGS = 8
MEASURE = ["--K", "1,3,10,30,100", "--draws", "200", "--data-points", "4"]


def begin(words: list[str], part: int, parts: int) -> "subprocess.Popen[str]":
    """A process of the array."""
    line = [
        sys.executable,
        "-m",
        "snrkit",
        *words,
        "--device",
        "cpu",
        "--quiet",
        "--json",
        "--shard",
        f"{part}/{parts}",
    ]
    return subprocess.Popen(line, stdout=subprocess.PIPE, text=True)


def array(words: list[str], parts: int, made: str, out: Path) -> Counter[str]:
    """Run all parts at once, the first killed as soon as it made something and begun anew; how often each run was done.

    Args:
        words: the command.
        parts: how many processes.
        made: a file in a run directory that says that the run is done.
        out: folder of the runs.
    """
    processes = {part: begin(words, part, parts) for part in range(1, parts + 1)}
    while processes[1].poll() is None and not any(out.glob(f"*/{made}")):
        time.sleep(0.01)
    processes[1].kill()
    processes[1].communicate()
    processes[1] = begin(words, 1, parts)
    told: Counter[str] = Counter()
    for part, process in processes.items():
        text, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"part {part} of {words[0]} ended with {process.returncode}")
        told.update(
            Path(str(run["run"])).name for run in json.loads(text)["runs"] if run["state"] in ("done", "before")
        )
    return told


def require(condition: bool, text: str) -> None:
    """End with a line if something is not as it has to be."""
    if not condition:
        raise SystemExit(text)
    print(text)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help=f"a multiple of {SETTINGS}")
    parser.add_argument("--parts", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("job-array"))
    asked = parser.parse_args()
    runs, grid = asked.out / "runs", asked.out / "grid.toml"
    asked.out.mkdir(parents=True)
    grid.write_text(GRID.format(seeds=list(range(asked.runs // SETTINGS))))

    start = time.monotonic()
    trained = array(["sweep", str(grid), "--out", str(runs)], asked.parts, "run.pt", runs)
    require(
        set(trained.values()) == {1} and len(trained) == asked.runs, f"{len(trained)} runs trained, each in one part"
    )
    measured = array(["snr", "--ckpt", str(runs), *MEASURE], asked.parts, "snr.parquet", runs)
    require(measured == trained, f"{len(measured)} runs measured, each in one part")
    print(f"{time.monotonic() - start:.0f} s by {asked.parts} processes, two of them killed and begun anew")

    table = collect(runs)
    rows = Counter(table["run"])
    require(len(rows) == asked.runs and len(set(rows.values())) == 1, f"{len(table):,} rows, as many of each run")
    require(
        not table.duplicated(list(SNR.key)).any() and bool(table["complete"].all()), "nothing twice, nothing half done"
    )
    for words in (
        ["collect", str(runs), "--out", str(asked.out / "all.parquet")],
        [
            "report",
            str(asked.out / "all.parquet"),
            "--figure",
            "snr_vs_k",
            "--out",
            str(asked.out / "figures"),
            "--quiet",
        ],
        ["runs", str(runs), "--state", "interrupted", "--state", "failed", "--state", "running", "--state", "new"],
    ):
        subprocess.run([sys.executable, "-m", "snrkit", *words], check=True)


if __name__ == "__main__":
    main()
