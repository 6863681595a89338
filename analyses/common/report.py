"""The sections of an analysis, and the page that is made of them: how an analysis with a page is run."""

import argparse
import math
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from analyses.common.tables import copy_tables, markdown
from snrkit.errors import SnrkitError, SpecError
from snrkit.interrupt import Interrupted
from snrkit.types import Array

# Bytes of tables that are kept in the repository for every run.
_KEPT = 50_000


@dataclass(frozen=True)
class Place:
    """Where a section works.

    Attributes:
        runs: folder of the runs.
        results: folder of the numbers and pictures.
        settings: the TOML's content.
        scale: name of the settings, or of the folder of given runs.
        given: runs were named on the command line, and are taken as they are.
        used: the directories of the finished runs that the sections asked for; what of them figures are drawn from is kept.
        notes: what a section adds to the line that says how it was made.
    """

    runs: Path
    results: Path
    settings: dict[str, Any]
    scale: str
    given: bool = False
    used: set[Path] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


class NothingToSayError(Exception):
    """A section has nothing to say here; the message says why."""


# Text, and a table or several by what follows the section's name in those of their files.
Section = Callable[[Place], tuple[str, pd.DataFrame | Mapping[str, pd.DataFrame]]]


@dataclass(frozen=True)
class Analysis:
    """An analysis: each section writes its tables as CSV and its part of the page as Markdown.

    Attributes:
        home: its folder, with INTRO.md, with which the page begins.
        sections: by name, in the page's order.
        settings: name of the settings to begin with; empty: there are none.
        scaled: results of each scale have a folder of their own.
        together: heading of a scale's sections on a page of all scales; empty: another scale than cpu has a page of its own.
        scale: says the scale, where that is not the name of the settings.
        takes_runs: finished runs can be given instead of settings.
        shown: the page shows the tables; otherwise their texts hold what it shows.
    """

    home: Path
    sections: Mapping[str, Section]
    settings: str = "cpu.toml"
    scaled: bool = True
    together: str = ""
    scale: Callable[[], str] | None = None
    takes_runs: bool = False
    shown: bool = True

    @property
    def command(self) -> str:
        """How it is run."""
        return f"python -m analyses.{self.home.name}.run"

    def main(self, argv: Sequence[str] | None = None) -> None:
        """Run the sections named on the command line (or all) and rewrite RESULTS.md from those that were ever run."""
        chosen = self._arguments(argv)
        try:
            self._run(chosen)
        except SnrkitError as error:
            print(f"run.py: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        except Interrupted:
            print("interrupted; the same command goes on from there", file=sys.stderr)
            raise SystemExit(130) from None

    def _arguments(self, argv: Sequence[str] | None) -> argparse.Namespace:
        parser = argparse.ArgumentParser(prog=self.command, description="Sections, then RESULTS.md from all there are.")
        names = ", ".join(self.sections)
        of = {"choices": [[], *self.sections], "metavar": "section"}
        parser.add_argument("sections", nargs="*", help=f"of {names}; default: all", **of)
        parser.add_argument("--out", type=Path, default=self.home, help="where runs/, results/ and RESULTS.md go")
        parser.set_defaults(settings=None, runs=None)
        if self.settings:
            parser.add_argument("--settings", type=Path, default=self.home / self.settings)
        if self.takes_runs:
            parser.add_argument("--runs", type=Path, help="folder of finished runs (a sweep's) instead of training")
        return parser.parse_args(argv)

    def _run(self, chosen: argparse.Namespace) -> None:
        place = self._place(chosen)
        place.results.mkdir(parents=True, exist_ok=True)
        for name in chosen.sections or self.sections:
            print(f"{name} ...", flush=True)
            place.notes.clear()
            start = time.perf_counter()
            try:
                text, tables = self.sections[name](place)
            except NothingToSayError as reason:
                print(f"{name}: {reason}", flush=True)
                continue
            made = self._made(name, chosen, place, time.perf_counter() - start)
            self._write(place.results, name, text, {"": tables} if isinstance(tables, pd.DataFrame) else tables, made)
        # So that figures can be drawn from what is in the repository.
        for run in () if place.given else place.used:
            copy_tables(run, place.results / "runs" / run.name, _KEPT)
        self.collect(chosen.out, place.scale)

    def _place(self, chosen: argparse.Namespace) -> Place:
        settings = tomllib.loads(chosen.settings.read_text()) if chosen.settings else {}
        if self.takes_runs and "base" not in settings:
            remedy = "give it to `snrkit sweep`, and the finished runs to --runs; or choose settings such as cpu.toml"
            problem = "holds no [base] table: a sweep's grid, not settings"
            raise SpecError(f"--settings {chosen.settings}", problem, remedy)
        named = self.scale() if self.scale else chosen.settings.stem
        scale = named if chosen.runs is None else chosen.runs.name
        results = chosen.out / "results" / (scale if self.scaled else "")
        return Place(chosen.runs or chosen.out / "runs", results, settings, scale, chosen.runs is not None)

    def _made(self, name: str, chosen: argparse.Namespace, place: Place, seconds: float) -> str:
        given = f" --runs {chosen.runs}" if place.given else ""
        if chosen.settings not in (None, self.home / self.settings) and not place.given:
            given = f" --settings {chosen.settings}"
        return (
            f"`{self.command} {name}{given}`: {seconds:.0f} s (what was trained or measured before is not done again), "
            + "".join(f"{note}, " for note in place.notes)
            + f"{torch.get_num_threads()} threads, torch {torch.__version__}, commit {_commit()}"
        )

    def _write(self, results: Path, name: str, text: str, tables: Mapping[str, pd.DataFrame], made: str) -> None:
        for suffix, table in tables.items():
            table.to_csv(results / f"{name}{suffix}.csv", index=False)
        parts = [text, *(markdown(table) for table in tables.values() if self.shown), made]
        part = "\n\n".join(parts) + "\n"
        (results / f"{name}.md").write_text(part)
        print(part, flush=True)

    def collect(self, out: Path, scale: str) -> None:
        """Make the page from the sections that there are."""
        folders = [out / "results" / (scale if self.scaled else "")]
        if self.together:
            folders = sorted(path for path in (out / "results").iterdir() if path.is_dir())
        parts = [(self.home / "INTRO.md").read_text()]
        for folder in folders:
            texts = [(folder / f"{name}.md").read_text() for name in self.sections if (folder / f"{name}.md").exists()]
            parts += [f"## {self.together.format(folder.name)}\n", *texts] if self.together else texts
        apart = self.scaled and not self.together and scale != "cpu"
        (out / (f"RESULTS-{scale}.md" if apart else "RESULTS.md")).write_text("\n".join(parts))


def _commit() -> str:
    """The commit at hand; on a machine that has no repository, or no git, what COMMIT says."""
    try:
        found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    except OSError:
        return os.environ.get("COMMIT", "unknown")
    return found.stdout.strip() or os.environ.get("COMMIT", "unknown")


def paired(first: Array, second: Array) -> tuple[float, float]:
    """Mean of the difference over the same points, and its standard error."""
    difference = first - second
    return float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(len(difference)))
