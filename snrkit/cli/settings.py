"""All settings of a training run with their meaning, range and default, read off the specs themselves."""

import dataclasses
import importlib
import inspect
import json
import math
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from snrkit.cli.flags import REGISTERED
from snrkit.cli.output import print_json, tell
from snrkit.estimators import ESTIMATORS
from snrkit.estimators.base import Option, option_of
from snrkit.models import MODELS
from snrkit.specs.base import Spec
from snrkit.specs.fields import allowed, attributes, is_spec, meanings
from snrkit.specs.measure import MeasureFile, WatchFile
from snrkit.specs.run import RunSpec

# One setting: ``setting`` (the key), ``of`` (the model or estimator that has it), ``values``, ``default``, ``meaning``.
Row = dict[str, str]


def of_measurements() -> list[Row]:
    """The settings of a measurement."""
    return list(_of_spec(MeasureFile, "", ""))


def of_training() -> list[Row]:
    """The settings of a run and of what is measured as it goes on, and the options of every model and estimator."""
    rows = [*_of_spec(RunSpec, "", ""), *_of_spec(WatchFile, "", "")]
    for name in MODELS.names:
        kind = options_of(name)
        rows += _of_spec(kind, "model.options.", name) if kind else []
    return rows + list(_of_estimators())


def show(rows: list[Row], as_json: bool) -> None:
    """Each setting as a line as in a TOML file or after ``--set``, and below it what it means."""
    if as_json:
        print_json({"settings": rows})
        return
    for row in rows:
        of = f"of {row['of']}: " if row["of"] else ""
        meaning = textwrap.fill(row["meaning"], 100, initial_indent="    ", subsequent_indent="    ")
        tell(f"{row['setting']} = {row['default']}    ({of}{row['values']})\n{meaning}")


def options_of(model: str) -> type[Spec] | None:
    """The options of a registered model: the spec that stands beside its builder; None if it has none."""
    module = importlib.import_module(MODELS.load(model).__module__)
    kinds = (value for value in vars(module).values() if inspect.isclass(value) and value.__module__ == module.__name__)
    return next((kind for kind in kinds if issubclass(kind, Spec)), None)


def _of_spec(spec: type[BaseModel], prefix: str, of: str) -> Iterator[Row]:
    meaning = meanings(spec)
    for name, field in spec.model_fields.items():
        if is_spec(field.annotation):
            yield from _of_spec(field.annotation, f"{prefix}{name}.", of)
            continue
        default = field.get_default(call_default_factory=True)
        key = f"{prefix}{name}"
        yield {
            "setting": key,
            "of": of,
            "values": " | ".join(REGISTERED[key].names) if key in REGISTERED else values(allowed(field)),
            "default": "(left out)" if default is None else json.dumps(default),
            "meaning": meaning.get(name, "").replace("`", ""),
        }


def _of_estimators() -> Iterator[Row]:
    for name in ESTIMATORS.names:
        kind = ESTIMATORS.load(name)
        for field in dataclasses.fields(kind):
            default = "(needed)" if field.default is dataclasses.MISSING else json.dumps(field.default)
            allowed = option_of(kind, field.name)
            meaning = attributes(kind).get(field.name) or _first_sentence(kind)
            yield {
                "setting": f"estimator.options.{field.name}", "of": name, "values": _values(allowed), "default": default,
                "meaning": meaning,
            }  # fmt: skip


def _values(option: Option) -> str:
    bounds = [f"{sign} {end:g}" for sign, end in ((">=", option.low), ("<=", option.high)) if math.isfinite(end)]
    number = " ".join(filter(None, ["whole number" if option.whole else "number", ", ".join(bounds)]))
    learnt = " | {learn, start, lr}" if option.learnable else ""
    annealed = "" if option.whole else " | {anneal, start, stop, until}"
    return f"{number} | list of one for each stage{learnt}{annealed}"


def _first_sentence(kind: type) -> str:
    return (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")


def values(schema: dict[str, Any]) -> str:
    """What a part of a JSON schema allows, in words, e.g. ``integer >= 1``."""
    if "anyOf" in schema:
        parts = [values(part) for part in schema["anyOf"] if part.get("type") != "null"]
        return " or ".join(dict.fromkeys(parts))
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "prefixItems" in schema:
        return f"[{', '.join(values(part) for part in schema['prefixItems'])}]"
    kind = "object" if "$ref" in schema else schema.get("type", "any")
    if kind == "array":
        return f"list of {values(schema.get('items', {}))}"
    if kind == "object":
        return "table"
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    # That integers fit in 64 bits goes without saying.
    bounds = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema and schema[key] != 2**63]
    text = " ".join([{"string": "text", "boolean": "true | false"}.get(kind, kind), ", ".join(bounds)]).strip()
    return f"{text} | {schema['word']}" if "word" in schema else text
