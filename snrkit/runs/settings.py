"""The settings of runs by their dotted names, as ``--set`` takes them, and which of them tell runs apart. No torch here."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from snrkit.errors import SpecError
from snrkit.runs.folder import RunDir
from snrkit.specs.base import read_toml
from snrkit.specs.run import RunSpec

# A number, a truth value or a text; of lists the text that ``--set`` takes.
Setting = bool | int | float | str
Settings = Mapping[str, Setting]


def settings(spec: RunSpec) -> dict[str, Setting]:
    """All settings of a run that are not left out, in order: ``estimator.options.beta`` and the like."""
    return dict(_flat(spec.model_dump(mode="json", exclude_none=True), ""))


def of_run(folder: Path) -> tuple[RunSpec, dict[str, Setting]]:
    """What a run was trained with, as its ``config.toml`` says.

    Raises:
        SpecError: that cannot be read, is empty, or is not valid.
    """
    config = RunDir(folder).config
    table = read_toml(config)
    if not table:  # which would be read as a run of the defaults
        raise SpecError(str(config), "is empty", "train the run again")
    spec = RunSpec.parse(table, str(config))
    return spec, settings(spec)


def differing(runs: Sequence[Settings]) -> list[str]:
    """The settings that are not the same in all runs, in order; one that a run leaves out differs from any value."""
    fields = list(RunSpec.model_fields)
    names = sorted(
        dict.fromkeys(name for run in runs for name in run), key=lambda name: fields.index(name.partition(".")[0])
    )
    return [name for name in names if len({json.dumps(run.get(name)) for run in runs}) > 1]


def shortened(names: Sequence[str]) -> dict[str, str]:
    """Settings to their last names, where no other has the same; of ``estimator.name`` and its like the first."""
    own = [name.removesuffix(".name").rpartition(".")[2] for name in names]
    return {name: short if own.count(short) == 1 else name for name, short in zip(names, own, strict=True)}


def _flat(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Setting]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value) if isinstance(value, list) else value
