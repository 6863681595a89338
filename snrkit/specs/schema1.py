"""Schema 1 of a run's settings, that of version 0.1.0: its fields, how it is read, and the identity that rests on it.

A run is named by a digest of the settings that there were in schema 1, and of later ones that are not at their default. So a
setting that is added renames no run that leaves it alone, and no finished run is lost. ``SCHEMA_1`` is data and stays as it
is; a setting that has moved since is written back to its place in it before the digest is taken.
"""

from collections.abc import Mapping
from typing import Any

from snrkit.errors import SpecError
from snrkit.specs.base import Spec, short

# By table; all of them are part of a run's identity, at their default too.
SCHEMA_1: Mapping[str, Any] = {
    "data": dict.fromkeys(("name", "path", "binarise", "seed", "train_limit", "size", "dim")),
    "model": dict.fromkeys(("name", "options")),
    "estimator": dict.fromkeys(("name", "M", "K", "options")),
    "optimiser": dict.fromkeys(("schedule", "lr", "betas", "eps")),
    "update": dict.fromkeys(("order", "samples")),
    "beta": dict.fromkeys(("learn", "lr", "stages")),
    **dict.fromkeys(("epochs", "batch_size", "seed", "dtype", "checkpoint_every", "keep_every", "eval_points")),
}
# The table that has moved: how the beta of ciwae changes in training, beside ``estimator.options.beta`` where it begins.
_BETA: Mapping[str, Any] = {"learn": "off", "lr": 1e-3, "stages": []}


def translated(data: Any) -> Any:
    """Settings that may be written as in schema 1, as they are written now; what is wrong in them is left as it is.

    Raises:
        SpecError: the table ``beta`` contradicts itself, or ``estimator.options.beta``.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("beta"), Mapping):
        return data
    rest = {name: value for name, value in data.items() if name != "beta"}
    estimator = rest.get("estimator", {})
    estimator = estimator.model_dump() if isinstance(estimator, Spec) else estimator
    options = estimator.get("options", {}) if isinstance(estimator, Mapping) else None
    if not isinstance(options, Mapping):
        return rest
    option = _option(data["beta"], options)
    changed = options if option is None else {**options, "beta": option}
    return rest | ({"estimator": {**estimator, "options": changed}} if changed else {})


def _option(table: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """The option that the table makes of beta; None where it makes none."""
    stages, learns = table.get("stages", []), table.get("learn", "off") != "off"
    if not isinstance(stages, list):
        raise SpecError("beta.stages", f"is no list, got {short(stages)}", "write for example [0.7, 0.2]")
    if stages and (learns or "beta" in options):
        raise SpecError(
            "beta.stages", "says what beta is, and so does another setting", "give estimator.options.beta alone"
        )
    if not learns:
        odd = next((name for name in table if name not in _BETA), None)
        if odd is not None:
            raise SpecError(f"beta.{odd}", "no such setting", "see 'snrkit train --settings'")
        if table.get("lr", _BETA["lr"]) != _BETA["lr"]:
            raise SpecError("beta.lr", "nothing is learnt", "set beta.learn to free or bounded, or drop beta.lr")
        return stages or None
    if isinstance(options.get("beta"), Mapping | list):
        raise SpecError(
            "beta.learn", "says what beta is, and so does another setting", "give estimator.options.beta alone"
        )
    start = {"start": options["beta"]} if "beta" in options else {}
    return start | {name: value for name, value in table.items() if name != "stages"}


def told_apart(spec: Spec, extensible: frozenset[str]) -> dict[str, Any]:
    """What a run's identity is the digest of.

    Args:
        spec: of the run.
        extensible: what a resumed run may change, which so is no part of what it is.
    """
    every, changed = spec.model_dump(mode="json"), spec.model_dump(mode="json", exclude_defaults=True)
    changed.get("model", {}).pop("path", None)  # a file that is moved is the same model
    moved = _moved_back(changed.get("estimator", {}).get("options", {}))
    every["estimator"] |= {"options": moved.pop("options")}
    found = _kept(every | moved, changed | moved, SCHEMA_1)
    # They are there, as they have always been, with a value that says nothing.
    return {name: value for name, value in found.items() if name not in extensible} | dict.fromkeys(
        extensible & SCHEMA_1.keys(), 1
    )


def _moved_back(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an estimator with a beta that changes in the table that it had."""
    own = options.get("beta")
    others = {name: value for name, value in options.items() if name != "beta"}
    if isinstance(own, list):
        return {"options": others, "beta": {**_BETA, "stages": own}}
    if isinstance(own, dict) and "learn" in own:
        start = {"beta": own["start"]} if "start" in own else {}
        table = {name: value for name, value in own.items() if name != "start"}
        return {"options": others | start, "beta": {**_BETA, **table}}
    return {"options": dict(options), "beta": dict(_BETA)}


def _kept(every: Mapping[str, Any], changed: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """The known settings of a table, and of the others those that are not at their default."""
    found = {name: value for name, value in changed.items() if name not in known and value != {}}
    for name, table in known.items():
        found[name] = every[name] if table is None else _kept(every[name], changed.get(name, {}), table)
    return found
