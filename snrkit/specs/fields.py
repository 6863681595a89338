"""What specifications say of their fields: names, what is allowed, and what each means."""

import inspect
import re
from collections.abc import Iterator
from typing import Annotated, Any, TypeGuard

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from snrkit.registry import hint
from snrkit.specs.base import Spec


def is_spec(annotation: object) -> TypeGuard[type[Spec]]:
    """Whether a field is a table of its own."""
    return isinstance(annotation, type) and issubclass(annotation, Spec)


def keys(spec: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted names of all settings of a spec."""
    for name, field in spec.model_fields.items():
        if is_spec(field.annotation):
            yield from keys(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def meant(unknown: str, spec: type[Spec]) -> str:
    """Which setting an unknown one may have been meant to be: of the same name in other tables, or of a similar one."""
    last = unknown.rsplit(".", 1)[-1].lower()
    same = [f"'{key}'" for key in keys(spec) if key.rsplit(".", 1)[-1].lower() == last]
    return f"did you mean {' or '.join(same)}? " if same else hint(unknown, keys(spec))


def allowed(field: FieldInfo) -> dict[str, Any]:
    """What a field may be, as a JSON schema; a word that may stand in the place of a number as its ``word``."""
    kind: Any = field.annotation
    for constraint in field.metadata:
        kind = Annotated[kind, constraint]
    schema = TypeAdapter(kind).json_schema()
    parts = [part for part in schema.get("anyOf", ()) if part.get("type") != "null" and "const" not in part]
    extra = field.json_schema_extra
    return (parts[0] if len(parts) == 1 else schema) | (extra if isinstance(extra, dict) else {})


def meanings(spec: type[BaseModel]) -> dict[str, str]:
    """What the docstrings of a specification, and of those that it extends, say of each field, in one line."""
    found: dict[str, str] = {}
    for base in reversed(spec.__mro__):
        found |= attributes(base)
    return {name: meaning for name, meaning in found.items() if name in spec.model_fields}


def attributes(kind: type) -> dict[str, str]:
    """What the ``Attributes`` section of a class's own docstring says of each, in one line."""
    _, _, section = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        begins = re.fullmatch(r"    (\w+): (.*)", line)
        if begins:
            name = begins[1]
            found[name] = begins[2]
        elif line.startswith("     ") and name:
            found[name] += f" {line.strip()}"
        elif line.strip():
            break
    return found
