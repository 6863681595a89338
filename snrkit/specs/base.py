"""What all specifications share: frozen, validated, hashed, and read from TOML and from settings.

A spec is plain data: it can be written to TOML, read back equal, and hashed. It imports no torch, so that commands can
check their input before anything slow is loaded.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field

from snrkit.errors import SpecError
from snrkit.files import read_bytes, unplain

Positive = Annotated[int, Field(ge=1, lt=2**63)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Seed = Count
Scalar = bool | int | float | str
Binarise = Literal["dynamic", "fixed", "threshold", "none"]
DType = Literal["float32", "float64"]
Precision = Literal["float32", "tf32"]
Mode = Literal["evaluation", "training"]


# Characters of a value in a message.
_SHOWN = 80
_LARGEST_TOML = 16 * 2**20


class Spec(BaseModel):
    """Base of all specs: immutable, and no unknown field passes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def digest(self) -> str:
        """First 10 hex digits of the SHA-256 of the spec's canonical JSON."""
        return digest_of(self.model_dump(mode="json"))

    def to_toml(self) -> str:
        """The spec as TOML text, which reads back equal."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def digest_of(content: Mapping[str, Any]) -> str:
    """First 10 hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """TOML text to a nested dict.

    Raises:
        SpecError: the text is not TOML, or nested too deeply, or holds an integer that is too large.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(source, f"not valid TOML ({error})", "correct the file") from None
    except ValueError:
        raise SpecError(source, "holds an integer of more than 64 bits", "correct the file") from None
    except (RecursionError, MemoryError):
        raise SpecError(source, "is nested too deeply", "correct the file") from None
    require_plain(data, source)
    return data


def require_plain(data: Any, source: str) -> None:
    """See to it that values read from TOML are not nested too deeply, and hold no integer that is too large.

    Raises:
        SpecError: they are, or do.
    """
    problem = unplain(data)
    if problem:
        raise SpecError(source, problem, "correct it")


def short(value: Any) -> str:
    """A value in a message: one line that can be read."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or an integer of too many digits
        return "something without end"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 4]}...{text[-1]}"


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file to a nested dict.

    Raises:
        SpecError: the file is missing, unreadable, too large or not TOML.
    """
    try:
        text = _read(path).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            str(path), f"cannot be read ({error.__class__.__name__})", "give an existing TOML file"
        ) from None
    if len(text) > _LARGEST_TOML:
        raise SpecError(str(path), f"has more than {_LARGEST_TOML // 2**20} MiB", "give a file of settings")
    return parse_toml(text, str(path))


def _read(path: Path) -> bytes:
    """At most a byte more than is allowed."""
    if path.parts[:3] == ("/", "dev", "fd") or path == Path("/dev/stdin"):
        # What a shell puts in place of a command (``<(...)``) is a pipe, and its writer is there.
        with path.open("rb") as stream:
            return stream.read(_LARGEST_TOML + 1)
    return read_bytes(path, _LARGEST_TOML + 1)


def parse_value(text: str) -> Any:
    """The value of ``key=value`` on a command line: a TOML literal, or else the text itself.

    Raises:
        SpecError: it is nested too deeply, or holds an integer that is too large.
    """
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text
    except (ValueError, RecursionError, MemoryError):
        problem = "is nested too deeply, or holds an integer of more than 64 bits"
        raise SpecError(short(text), problem, "write a value that can be used") from None
    require_plain(value, short(text))
    return value


def assign(data: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key in a nested dict, in place.

    Raises:
        SpecError: the key passes through something that is not a table.
    """
    *parents, last = key.split(".")
    table = data
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise SpecError(key, f"'{parent}' is a value, not a table", "drop what follows it")
    table[last] = value


def apply_settings(data: dict[str, Any], settings: Sequence[str]) -> None:
    """Apply ``key=value`` settings to a nested dict, in place and in order.

    Raises:
        SpecError: a setting has no "=".
    """
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            remedy = "write for example `settings=model.options.latent=20`"
            raise SpecError("settings", f"'{setting}' is not key=value", remedy)
        assign(data, key.strip(), parse_value(value.strip()))
