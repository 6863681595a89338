"""What names a run: a digest of the settings that there were in schema 1, and of later ones that are not at their default.

So a setting that is added renames no run that leaves it alone, and no finished run is lost. ``SCHEMA_1`` is data and stays
as it is; a setting that has moved since is written back to its place in it before the digest is taken.
"""

from collections.abc import Mapping
from typing import Any

from snrkit.specs.base import Spec

# The settings of version 0.1.0, by table; all of them are part of a run's identity, at their default too.
SCHEMA_1: Mapping[str, Any] = {
    "data": dict.fromkeys(("name", "path", "binarise", "seed", "train_limit", "size", "dim")),
    "model": dict.fromkeys(("name", "options")),
    "estimator": dict.fromkeys(("name", "M", "K", "options")),
    "optimiser": dict.fromkeys(("schedule", "lr", "betas", "eps")),
    "update": dict.fromkeys(("order", "samples")),
    "beta": dict.fromkeys(("learn", "lr", "stages")),
    **dict.fromkeys(("epochs", "batch_size", "seed", "dtype", "checkpoint_every", "keep_every", "eval_points")),
}


def told_apart(spec: Spec, extensible: frozenset[str]) -> dict[str, Any]:
    """What a run's identity is the digest of.

    Args:
        spec: of the run.
        extensible: what a resumed run may change, which so is no part of what it is.
    """
    found = _kept(spec.model_dump(mode="json"), spec.model_dump(mode="json", exclude_defaults=True), SCHEMA_1)
    # They are there, as they have always been, with a value that says nothing.
    return {name: value for name, value in found.items() if name not in extensible} | dict.fromkeys(
        extensible & SCHEMA_1.keys(), 1
    )


def _kept(every: Mapping[str, Any], changed: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """The known settings of a table, and of the others those that are not at their default."""
    found = {name: value for name, value in changed.items() if name not in known and value != {}}
    for name, table in known.items():
        found[name] = every[name] if table is None else _kept(every[name], changed.get(name, {}), table)
    return found
