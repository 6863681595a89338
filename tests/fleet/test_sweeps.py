"""A sweep of workers comes to the very files of a sweep by itself."""

import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from snrkit.fleet.elsewhere import Elsewhere
from snrkit.fleet.fleet import Fleet
from snrkit.fleet.hands import Processes
from snrkit.specs.grid import expand
from snrkit.sweeping import Asked, sweep_elsewhere
from tests.golden.content import of_file

ENDINGS = (".pt", ".parquet", ".csv", ".jsonl", ".toml")


def grid(seeds=2, **more):
    return expand(
        {
            "data": {"name": "gaussian", "size": 60, "dim": 3}, "model": {"name": "gaussian"}, "epochs": 2,
            "batch_size": 5, "grid": {"estimator.name": ["vae", "iwae"], "seed": list(range(seeds))}, **more,
        },
        "test",
    )  # fmt: skip


def asked(specs, folder):
    return Asked(specs, folder, None, "cpu", 1, False, None, None)


def swept(specs, folder, hands, stopped=lambda: False):
    own = asked(specs, folder)
    sweep = own.sweep()
    sweep_elsewhere(sweep, own, Elsewhere(Fleet(hands)), 1, stopped, lambda: None)
    return [entry.state for entry in sweep.entries]


def by_itself(specs, folder):
    sweep = asked(specs, folder).sweep()
    sweep.run(lambda: False, lambda: None)


def contents(folder: Path):
    """Files by name; but for what a process that is killed last leaves half written, which nobody reads."""
    files = [path for path in folder.rglob("*") if path.suffix in ENDINGS and not path.name.startswith(".")]
    return dict(sorted((path.relative_to(folder), of_file(path)) for path in files))


def test_the_same_files(tmp_path, processes):
    specs = grid(seeds=1)
    by_itself(specs, tmp_path / "alone")
    assert swept(specs, tmp_path / "found", processes.hands) == ["done"] * 2
    assert contents(tmp_path / "found") == contents(tmp_path / "alone")
    assert not list((tmp_path / "found").glob(".stop-*"))


@pytest.mark.slow
def test_what_is_told_to_stop_is_saved_and_goes_on(tmp_path, processes):
    specs = grid(seeds=1, epochs=60)
    began = time.monotonic()
    states = swept(specs, tmp_path / "found", processes.hands, lambda: time.monotonic() - began > 1)
    assert set(states) <= {"interrupted", "waiting", "done"}
    assert not list((tmp_path / "found").glob(".stop-*"))
    assert swept(specs, tmp_path / "found", processes.hands) == ["done"] * 2


@pytest.mark.slow
def test_workers_that_are_killed_and_stopped_change_nothing(tmp_path):
    specs = grid(seeds=4, epochs=60)
    by_itself(specs, tmp_path / "alone")
    hands = Processes(4)
    troubled = threading.Thread(target=trouble, args=(hands, 3, 30), daemon=True)
    troubled.start()
    assert swept(specs, tmp_path / "found", hands) == ["done"] * 8
    hands.close(now=True)
    assert contents(tmp_path / "found") == contents(tmp_path / "alone")


def trouble(hands, kills, seconds):
    """Kill some workers at random moments, and stop one for so long."""
    dice = random.Random(0)
    for number in range(kills + 1):
        time.sleep(dice.uniform(1, 4))
        every = [process.pid for process in dict(hands._executor._processes or {}).values()]
        if every:
            os.kill(dice.choice(every), signal.SIGKILL if number else signal.SIGSTOP)
    time.sleep(seconds)
    for process in dict(hands._executor._processes or {}).values():
        os.kill(process.pid, signal.SIGCONT)
