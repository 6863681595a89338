"""Options of commands, made from the fields of specifications: type, range, default and help are those of the field."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import click
from pydantic.fields import FieldInfo

from snrkit.cli.options import COUNTS, NAMES, Command, Whole
from snrkit.data import SOURCES
from snrkit.estimators import ESTIMATORS
from snrkit.models import MODELS
from snrkit.specs.base import Spec, assign
from snrkit.specs.fields import allowed, is_spec, meanings

# Settings that are names of registered things.
REGISTERED = {"data.name": SOURCES, "model.name": MODELS, "estimator.name": ESTIMATORS}
# In the names of parameters, which have to be identifiers, it stands for the dot of ``estimator.K``.
_DOT = "__"


def flags(
    spec: type[Spec], names: Mapping[str, str], table: str = "", *, filled: bool = False
) -> Callable[[Command], Command]:
    """Options for some fields of a specification, in order.

    Args:
        spec: the specification.
        names: dotted field to the option's name.
        table: of the TOML file, in which the specification stands.
        filled: what is not given has the field's default, where no file may say otherwise; else it is None.
    """

    def decorate(command: Command) -> Command:
        for key, name in reversed(list(names.items())):
            command = _option(spec, key, name, f"{table}.{key}" if table else key, filled)(command)
        return command

    return decorate


def put(data: dict[str, Any], parameters: Mapping[str, Any]) -> None:
    """Put what was given by options of ``flags`` over settings as read from TOML, in place.

    Raises:
        SpecError: a setting goes through a value.
    """
    for name, value in parameters.items():
        if value is not None:
            assign(data, name.replace(_DOT, "."), value)


def _option(spec: type[Spec], key: str, name: str, setting: str, filled: bool) -> Callable[[Command], Command]:
    field, meaning = _field(spec, key)
    schema = allowed(field)
    known = f": {', '.join(REGISTERED[setting].names)}" if setting in REGISTERED else ""
    text = f"{meaning[:1].upper()}{meaning[1:].rstrip('.')}{known}.{_extras(field, schema)}"
    destination = setting.replace(".", _DOT)
    if schema.get("type") == "boolean":
        return click.option(name, destination, is_flag=True, default=None, help=text)
    return click.option(name, destination, type=_type(schema), default=field.default if filled else None, help=text)


def _field(spec: type[Spec], key: str) -> tuple[FieldInfo, str]:
    """A field by its dotted name, and what its specification's docstring says of it."""
    first, _, rest = key.partition(".")
    field = spec.model_fields[first]
    if rest and is_spec(field.annotation):
        return _field(field.annotation, rest)
    return field, meanings(spec).get(first, "").replace("`", "")


def _extras(field: FieldInfo, schema: Mapping[str, Any]) -> str:
    """Default and range, as click shows them of its own types."""
    default = field.get_default(call_default_factory=True)
    said = []
    if default is not None and default is not False and default != ():
        said.append(f"default: {_shown(default)}")
    if schema.get("minimum", 0) > 1:
        said.append(f"at least {schema['minimum']}")
    return f"  [{'; '.join(said)}]" if said else ""


def _shown(default: Any) -> str:
    if isinstance(default, tuple | list):
        return ",".join(map(str, default))
    return default if isinstance(default, str) else json.dumps(default)


def _type(schema: Mapping[str, Any]) -> click.ParamType:  # type: ignore[type-arg]
    """What reads a text as a JSON schema wants it. Ranges of integers are told here, all else by the specification."""
    if "enum" in schema:
        return click.Choice(schema["enum"])
    if schema.get("type") == "array":
        return COUNTS if schema["items"].get("type") == "integer" else NAMES
    if schema.get("type") == "integer":
        return Whole(schema["minimum"], schema.get("word"))
    return click.FLOAT if schema.get("type") == "number" else click.STRING
