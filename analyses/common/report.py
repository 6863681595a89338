"""Sections to RESULTS.md."""

import argparse
import math
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from common.tables import copy_tables, markdown
from snrkit.errors import SnrkitError, SpecError
from snrkit.interrupt import Interrupted

Array = npt.NDArray[np.float64]
# Bytes of tables that are kept in the repository for every run.
_KEPT = 50_000


@dataclass(frozen=True)
class Place:
    """Where an analysis works.

    Attributes:
        runs: folder of the runs.
        settings: the TOML's content.
        given: runs were named on the command line, and are taken as they are.
        used: the directories of the finished runs that the sections asked for.
    """

    runs: Path
    settings: dict[str, Any]
    given: bool
    used: set[Path] = field(default_factory=set)


class NothingToSayError(Exception):
    """A section has nothing to say here; the message says why."""


Section = Callable[[Place], tuple[str, pd.DataFrame]]


def run_sections(home: Path, sections: dict[str, Section], argv: list[str] | None) -> None:
    """Run the sections named on the command line (or all) and rewrite RESULTS.md from those that were ever run."""
    parser = argparse.ArgumentParser(description="Each section writes results/SETTINGS/SECTION.csv and .md.")
    parser.add_argument("sections", nargs="*", choices=[[], *sections], help=f"of {', '.join(sections)}; default: all")
    parser.add_argument("--settings", type=Path, default=home / "cpu.toml")
    parser.add_argument("--runs", type=Path, help="folder of finished runs (a sweep's) instead of training")
    parser.add_argument("--out", type=Path, default=home, help="where runs/, results/ and RESULTS.md go")
    chosen = parser.parse_args(argv)
    try:
        _run(home, sections, chosen)
    except SnrkitError as error:
        print(f"run.py: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except Interrupted:
        print("interrupted; the same command goes on from there", file=sys.stderr)
        raise SystemExit(130) from None


def _run(home: Path, sections: dict[str, Section], chosen: argparse.Namespace) -> None:
    settings = tomllib.loads(chosen.settings.read_text())
    if "base" not in settings:
        remedy = "give it to `snrkit sweep`, and the finished runs to --runs; or choose settings such as cpu.toml"
        raise SpecError(f"--settings {chosen.settings}", "holds no [base] table: a sweep's grid, not settings", remedy)
    place = Place(chosen.runs or chosen.out / "runs", settings, chosen.runs is not None)
    scale = chosen.settings.stem if chosen.runs is None else chosen.runs.name
    results = chosen.out / "results" / scale
    results.mkdir(parents=True, exist_ok=True)
    for name in chosen.sections or sections:
        print(f"{name} ...", flush=True)
        start = time.perf_counter()
        try:
            text, table = sections[name](place)
        except NothingToSayError as reason:
            print(f"{name}: {reason}", flush=True)
            continue
        table.to_csv(results / f"{name}.csv", index=False)
        note = (
            f"`python analyses/{home.name}/run.py {name}{_given(chosen)}`: {time.perf_counter() - start:.0f} s "
            f"(what was trained or measured before is not done again), {torch.get_num_threads()} threads, commit {_commit()}"
        )
        (results / f"{name}.md").write_text(f"{text}\n\n{markdown(table)}\n\n{note}\n")
        print((results / f"{name}.md").read_text(), flush=True)
    # So that figures can be drawn from what is in the repository.
    for run in () if place.given else place.used:
        copy_tables(run, results / "runs" / run.name, _KEPT)
    parts = [(results / f"{name}.md").read_text() for name in sections if (results / f"{name}.md").exists()]
    target = chosen.out / ("RESULTS.md" if scale == "cpu" else f"RESULTS-{scale}.md")
    target.write_text((home / "INTRO.md").read_text() + "\n" + "\n".join(parts))


def _given(chosen: argparse.Namespace) -> str:
    """The options that the numbers depend on, as on the command line."""
    if chosen.runs is not None:
        return f" --runs {chosen.runs}"
    return "" if chosen.settings.stem == "cpu" else f" --settings {chosen.settings}"


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def paired(first: Array, second: Array) -> tuple[float, float]:
    """Mean of the difference over the same points, and its standard error."""
    difference = first - second
    return float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(len(difference)))
