"""What the run that a result belongs to was trained with, as its ``config.toml`` says."""

import functools
import json
import math
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from snrkit.errors import SnrkitError, SpecError
from snrkit.report.escape import visible
from snrkit.report.find import run_folder
from snrkit.runs.folder import RunDir
from snrkit.runs.settings import of_run
from snrkit.specs.options import AnnealedOption, LearntOption
from snrkit.specs.run import RunSpec

# The columns of every frame made of files that lie in a run directory.
TRAINED = [
    "run", "folder", "trained_on", "model", "estimator", "options", "given", "beta_start", "beta_learnt", "M", "K", "seed",
    "setting", "rest",
]  # fmt: skip


def trained(path: Path) -> dict[str, Any]:
    """What the run that a file belongs to was trained with; unknown values are empty or NA.

    Raises:
        SpecError: ``config.toml`` is not valid.
    """
    folder = run_folder(path)
    files = RunDir(folder)
    stamp = _stamp(files.config)
    known: dict[str, Any] = dict.fromkeys(TRAINED, "") | {"M": pd.NA, "K": pd.NA, "seed": pd.NA, "beta_start": math.nan}
    known |= {name: visible(str(folder)) for name in ("folder", "setting")} | {"run": visible(files.name)}
    return known | _trained_as(files.config, *stamp) if stamp else known


def trained_as(spec: RunSpec) -> dict[str, Any]:
    """The columns ``TRAINED`` that a specification decides."""
    chosen = spec.estimator
    numbers = chosen.numbers()
    given = ", ".join(f"{key}={value:g}" for key, value in numbers.items())
    learnt = {name: own.learn for name, own in chosen.options.items() if isinstance(own, LearntOption)}
    annealed = [own.anneal for own in chosen.options.values() if isinstance(own, AnnealedOption)]
    return {
        "trained_on": spec.data.name, "model": spec.model.name, "estimator": chosen.name,
        "options": given + "".join(f", learnt {way}" for way in learnt.values())
        + "".join(f", annealed {way}" for way in annealed), "given": given,
        "beta_start": numbers.get("beta", math.nan), "beta_learnt": learnt.get("beta", ""),
        "M": chosen.M, "K": chosen.K, "seed": spec.seed,
        # Runs that differ in nothing but the seed are repetitions of one setting; the identity leaves epochs out.
        "setting": f"{spec.model_copy(update={'seed': 0}).identity()}-{spec.epochs}",
        "rest": _rest(spec),
    }  # fmt: skip


# What has a column of its own, or does not change the run.
_TOLD: Any = {
    "estimator": True, "seed": True, "epochs": True, "checkpoint_every": True, "keep_every": True, "data": {"name"},
    "model": {"name", "path"},
}  # fmt: skip


def _rest(spec: RunSpec) -> str:
    """What else a run was trained with, where it is not the default: ``update.order=random; update.samples=separate``."""
    given, usual = (dict(_flat(one.model_dump(mode="json", exclude=_TOLD))) for one in (spec, RunSpec()))
    options = spec.estimator.model_dump(mode="json", include={"options"})["options"]
    given |= dict(_flat({name: _beside(option) for name, option in options.items()}, "estimator.options."))
    return "; ".join(f"{name}={value}" for name, value in given.items() if value != usual.get(name))


def _beside(option: Any) -> Any:
    """What of an option of the estimator its text does not tell: the values of its stages, the rate that it is learnt at."""
    if isinstance(option, dict) and "anneal" in option:
        return {name: value for name, value in option.items() if name in ("stop", "until")}
    if isinstance(option, dict):
        return {} if option["lr"] == LearntOption.model_fields["lr"].default else {"lr": option["lr"]}
    return option if isinstance(option, list) else {}


def _flat(nested: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for name, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def spec_of(folder: Path) -> RunSpec | None:
    """What the run in a folder was trained with; None where it has no ``config.toml``.

    Raises:
        SpecError: that is not valid, or cannot be read.
    """
    path = RunDir(folder).config
    stamp = _stamp(path)
    return _parsed(path, *stamp) if stamp else None


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes with a file; empty where there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_size, found.st_ino) if stat.S_ISREG(found.st_mode) else ()


# A report asks for both once for every result of the run, and reading it takes as long as a small table.
@functools.lru_cache(maxsize=10_000)
def _trained_as(path: Path, *stamp: int) -> dict[str, Any]:
    return trained_as(_parsed(path, *stamp))


@functools.lru_cache(maxsize=10_000)
def _parsed(path: Path, *_stamp: int) -> RunSpec:
    """The specification in a file that has not changed since it was last read."""
    try:
        return of_run(path.parent)[0]
    except SnrkitError:
        raise
    except (OSError, ValueError, RecursionError) as error:  # nested too deep, or numbers too long
        raise SpecError(str(path), f"cannot be read ({error.__class__.__name__})", "train the run again") from None
