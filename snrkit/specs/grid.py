"""A sweep as written down: the settings of one run, axes to vary, and runs that set several things at once. No torch here.

epochs = 100                      # settings as for ``snrkit train --config``, shared by all runs
data = {name = "mnist"}

[grid]                            # each setting a list: every combination is run
seed = [0, 1, 2, 3]
model.options.latent = [20, 50]

[measure]                         # what is measured of each run, and when (see ``specs.measure``)
every = 10

[[runs]]                          # settings that go together: each of these with every combination
estimator = {name = "miwae", M = 8, K = 8}
[[runs]]
estimator = {name = "iwae", M = 1, K = 64}

What a resumed run may change (``specs.run.EXTENSIBLE``, above all ``epochs``) cannot be an axis: it is no part of what a run
is, so runs that differ in it alone would share one directory. For more epochs, raise the number and sweep again.
"""

import copy
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from snrkit.errors import SpecError
from snrkit.specs.base import assign
from snrkit.specs.run import ModelSpec, RunSpec

TABLES = ("grid", "runs")
MOST_RUNS = 10_000


def expand(data: Mapping[str, Any], source: str) -> list[RunSpec]:
    """All runs of a sweep: the last axis of the grid varies fastest, and ``[[runs]]`` faster still.

    Args:
        data: as read from TOML.
        source: the file, for error messages.

    Raises:
        SpecError: an unknown setting, an axis that is no list or without effect, no run, more than ``MOST_RUNS``, or two
            that are the same.
    """
    base = {key: value for key, value in data.items() if key not in TABLES}
    axes = list(_axes(data.get("grid", {})))
    partial = data.get("runs", [{}])
    if not isinstance(partial, list) or not all(isinstance(settings, dict) for settings in partial):
        raise SpecError("runs", "is not a list of tables", f"write [[runs]] above each in {source}")
    if not partial:
        raise SpecError("runs", "is empty, so there is nothing to run", f"drop it from {source}, or write some")
    _refuse_overridden([key for key, _ in axes], partial)
    count = math.prod(len(choices) for _, choices in axes) * len(partial)
    if count > MOST_RUNS:
        problem = f"makes {count:,} runs, and a sweep takes at most {MOST_RUNS:,}"
        raise SpecError(source, problem, "take values out, or split it into several files")
    specs = []
    for values in itertools.product(*(choices for _, choices in axes)):
        for settings in partial:
            table = copy.deepcopy(base)
            for (key, _), value in zip(axes, values, strict=True):
                assign(table, key, value)
            for key, value in _leaves(settings):
                assign(table, key, value)
            specs.append(RunSpec.parse(table, source))
    _require_distinct(specs, source)
    return specs


def varied(data: Mapping[str, Any]) -> list[str]:
    """Dotted names of the settings that the runs of a sweep do not share, as far as they are well written."""
    grid, partial = data.get("grid", {}), data.get("runs", [])
    tables = [grid, *(partial if isinstance(partial, list) else [])]
    return [key for table in tables if isinstance(table, dict) for key, _ in _leaves(table)]


def _refuse_overridden(axes: list[str], partial: list[dict[str, Any]]) -> None:
    for key in axes:
        if all(any(f"{key}.".startswith(f"{own}.") for own, _ in _leaves(settings)) for settings in partial):
            raise SpecError(f"grid.{key}", "is set again by every one of [[runs]]", "give it in one place")


def _axes(grid: Any) -> Iterator[tuple[str, list[Any]]]:
    if not isinstance(grid, dict):
        raise SpecError("grid", "is not a table", "write [grid] above its settings")
    for key, choices in _leaves(grid):
        if not isinstance(choices, list) or not choices:
            raise SpecError(
                f"grid.{key}", f"is no list of values, got {choices!r}", f"write for example {key} = [1, 2]"
            )
        yield key, choices


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of a nested table; a key that is itself dotted ("estimator.M") works as well."""
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _require_distinct(specs: list[RunSpec], source: str) -> None:
    seen: dict[str, int] = {}
    for number, spec in enumerate(specs, start=1):
        first = seen.setdefault(spec.identity(), number)
        if first != number:
            problem = f"runs {first} and {number} are both {run_name(spec)}"
            raise SpecError(source, problem, "let them differ in more than how long they go on, or drop one")


def run_name(spec: RunSpec) -> str:
    """The directory name of a run: what a reader looks for, then the hash of all that makes the run what it is."""
    estimator = spec.estimator
    options = "".join(f"-{name}{value:g}" for name, value in estimator.numbers().items())
    sizes = f"M{estimator.M}-K{estimator.K}-seed{spec.seed}"
    model = "" if spec.model.name == ModelSpec().name else f"{spec.model.name}-"
    return f"{spec.data.name}-{model}{estimator.name}{options}-{sizes}-{spec.identity()}"
