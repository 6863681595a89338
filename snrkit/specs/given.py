"""What Python callers give for counts, names and numbers, made plain: numpy's and torch's integers, 1e3, one or many."""

import itertools
import operator
import reprlib
from collections.abc import Iterable, Mapping, Set, Sized
from numbers import Real
from typing import Any

from snrkit.errors import SpecError

# Settings (estimator, M, K) of one table, which has some tens of rows for each.
MOST_ROWS = 100_000
LARGEST = 2**63 - 1


def counts(name: str, values: object) -> tuple[int, ...]:
    """Numbers of samples as plain integers, each once: from one number, or any iterable of them.

    Raises:
        SpecError: there is none, or one that is no integer of at least 1.
    """
    remedy = f"give e.g. {name}=[10]"
    given = [values] if plain(values) is not None else items(name, values, Real, remedy)
    found = [plain(value) for value in given]
    for value, number in zip(given, found, strict=True):
        if number is None or not 1 <= number <= LARGEST:
            raise SpecError(name, f"{must_be(1, number)}, got {reprlib.repr(value)}", remedy)
    return tuple(dict.fromkeys(number for number in found if number is not None))


def must_be(least: int, number: int | None) -> str:
    """What is wrong with something that is no integer within bounds."""
    return f"must be an integer of at least {least}" + (" and less than 2^63" if number and number > LARGEST else "")


def whole(argument: str, value: object, least: int, remedy: str) -> int:
    """A whole number that is not too small, as a plain integer.

    Raises:
        SpecError: it is something else.
    """
    number = plain(value)
    if number is None:
        raise SpecError(argument, f"{must_be(least, number)}, got {reprlib.repr(value)}", remedy)
    if number < least:
        raise SpecError(argument, f"must be at least {least}, got {number}", remedy)
    return number


def require_is(argument: str, value: object, kind: type) -> None:
    """See to it that an argument is of a kind of ours.

    Raises:
        SpecError: it is not.
    """
    if not isinstance(value, kind):
        problem = f"is no {kind.__name__}: {reprlib.repr(value)}"
        raise SpecError(argument, problem, f"make one: {kind.__name__}(...)")


def names(argument: str, values: object) -> tuple[str, ...]:
    """Names, each once: from one name, or any iterable of them.

    Raises:
        SpecError: there is none, or something that is no text.
    """
    remedy = "give names in a list, or leave it out"
    found = items(argument, values, str, remedy)
    for value in found:
        if not isinstance(value, str) or not value:
            raise SpecError(argument, f"must be names, got {reprlib.repr(value)}", remedy)
    return tuple(dict.fromkeys(found))


def items(argument: str, values: object, single: Any, remedy: str) -> list[Any]:
    """What an argument holds: itself if it is a single one, else its items in order; those of a set, which has none, sorted.

    Raises:
        SpecError: it holds nothing, or is nothing that holds items.
    """
    if isinstance(values, single):
        return [values]
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping):
        raise SpecError(argument, f"cannot be {reprlib.repr(values)}", remedy)
    try:
        found = list(itertools.islice(values, MOST_ROWS + 1))
    except TypeError:  # an array without axes
        found = [values]
    if isinstance(values, Set) and all(isinstance(value, str | int) for value in found):
        # A set of texts has another order in every process.
        found.sort(key=lambda value: (isinstance(value, str), value))
    if not found:
        raise SpecError(argument, "is empty", remedy)
    return found


def is_empty(values: object) -> bool:
    """Whether something holds items, and has none."""
    return isinstance(values, Sized) and len(values) == 0


def plain(value: Any) -> int | None:
    """What is a whole number, such as 1e3 or numpy's and torch's integers, as an integer; None for all else."""
    if isinstance(value, bool) or is_flag(value):
        return None
    if isinstance(value, Real) and not hasattr(value, "__index__"):
        return int(float(value)) if float(value).is_integer() else None
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def is_flag(value: Any) -> bool:
    """Whether something is True or False: Python's, numpy's, or of one of torch's tensors."""
    return isinstance(value, bool) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool")
