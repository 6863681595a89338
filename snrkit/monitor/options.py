"""What a callback of another library passes on to its monitor, and what it does where that cannot measure."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from snrkit.errors import SpecError
from snrkit.interrupt import Interrupted
from snrkit.losses.measure import Direction
from snrkit.monitor.monitor import Monitor
from snrkit.registry import hint
from snrkit.specs.base import Mode


class Options(TypedDict, total=False):
    """Options of ``snrkit.Monitor``, each by its name there."""

    draws: int
    budget: float | None
    seed: int
    groups: Mapping[str, Any]
    mode: Mode
    direction: Direction
    M: int | Iterable[int]
    out: Path | str | None
    run: str
    data: str
    writer: Any


def require_known(options: Options) -> Options:
    """Options, none of which is misspelt.

    Raises:
        SpecError: there is no such option.
    """
    names = list(Options.__annotations__)
    odd = next((name for name in options if name not in names), None)
    if odd is not None:
        raise SpecError(odd, "no such option", f"{hint(odd, names)}choose from {', '.join(names)}")
    return options


class Attached(Monitor):
    """A monitor within another library's training, which goes on whatever a measurement raises: it began before."""

    def _endures(self, error: Exception, is_first: bool) -> bool:  # noqa: ARG002
        return not isinstance(error, Interrupted)
