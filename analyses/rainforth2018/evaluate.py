"""The finished runs of a folder, evaluated on the whole test set, and their inference networks' SNR at the end, in minutes.

    make gpu-evaluate FOLDER=.sweep-state MINUTES=4
    python -m analyses.rainforth2018.evaluate FOLDER [--device cuda] [--minutes 4] [--export FOLDER]

Each run gets what it lacks: bounds from 5,000 samples of every test point, and the SNR of its inference network's gradient
at its own (M, K), 1,000 draws at 10 test points. No run is begun when the minutes are over; the same command goes on. With
--export what is finished is copied in compact form, as `snrkit sweep --export` does.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from analyses.common.runs import DATA, finished, measure_inference
from analyses.rainforth2018.rainforth.units import SAMPLES, is_evaluated
from snrkit.backend.device import select_device
from snrkit.errors import SnrkitError
from snrkit.run import Run
from snrkit.runs.export import export
from snrkit.runs.folder import RunDir
from snrkit.runs.kinds.snr import SNR

DRAWS, POINTS = 1000, 10


def evaluate(run: RunDir, device: str, samples: int = SAMPLES, points: int | None = None) -> bool:
    """Give a run what it lacks.

    Args:
        run: a finished run.
        device: ``auto``, ``cpu`` or ``cuda``.
        samples: importance samples of each test point.
        points: only the first so many; None: all.

    Returns:
        Whether it lacked something.

    Raises:
        SnrkitError: as for ``Run.evaluate`` and ``Run.measure``.
    """
    opened, lacked = Run.open(run.path, data_dir=DATA, device=device), False
    if not is_evaluated(run):
        opened.evaluate(samples, points).save()
        lacked = True
    if not run.snr.exists() or opened.step not in set(SNR.read(run.snr).step):
        measure_inference(run, opened, DRAWS, POINTS)
        lacked = True
    return lacked


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate what there is time for, and say what is left."""
    parser = argparse.ArgumentParser(
        prog="python -m analyses.rainforth2018.evaluate", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--minutes", type=float, default=4.0, help="no run is begun after so many (default 4)")
    parser.add_argument("--export", type=Path, help="folder for compact copies")
    chosen = parser.parse_args(argv)
    deadline, left = time.monotonic() + 60 * chosen.minutes, []
    try:
        select_device(chosen.device)
        for run, _ in finished(chosen.folder):
            if time.monotonic() >= deadline:
                left.append(run.name)
                continue
            start = time.monotonic()
            did = evaluate(run, chosen.device)
            print(f"{run.name}: {f'{time.monotonic() - start:.1f} s' if did else 'had everything'}", flush=True)
            if chosen.export is not None:
                export(run, chosen.export)
    except SnrkitError as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    print(f"left for want of time: {', '.join(left) or 'nothing'}")


if __name__ == "__main__":
    main()
