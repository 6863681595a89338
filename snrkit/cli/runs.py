"""``snrkit runs``."""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from snrkit.cli.options import INPUT
from snrkit.cli.output import aligned, columns_on_stdout, late_progress, one_line, print_json, print_table, tell
from snrkit.errors import SpecError
from snrkit.registry import hint
from snrkit.runs.index import STATES, Signal, Standing, standings
from snrkit.runs.settings import differing, shortened

if TYPE_CHECKING:
    from rich.table import Table

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_ENDS = ("epoch", "bound", "SNR ± se", "age", "size")
# Without a value; it stands behind all that have one.
_LAST = (1, 0.0, "")
_COLUMNS: dict[str, Callable[[Standing], Any]] = {
    "run": lambda one: str(one.path),
    "state": lambda one: STATES.index(one.state),
    "epoch": lambda one: one.epoch,
    "bound": lambda one: one.bound,
    "snr": lambda one: None if one.snr is None else one.snr.value,
    "age": lambda one: -one.changed,
    "size": lambda one: one.size,
}


@click.command(name="runs")
@click.argument("paths", nargs=-1, type=INPUT)
@click.option(
    "--sort", "by", default="run", show_default=True, help="run, state, epoch, bound, snr, age, size or a setting."
)
@click.option("--reverse", is_flag=True, help="The other way round.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES), help="Only runs in this state; repeatable."
)
@click.option("--all-settings", is_flag=True, help="All settings, not only those that differ.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout instead of a table.")
def command(
    paths: tuple[Path, ...], by: str, reverse: bool, states: tuple[str, ...], all_settings: bool, as_json: bool
) -> None:
    """How many runs stand: state, settings that differ, epoch, bound, SNR, age and size.

    PATHS are run directories, or folders that hold some at any depth [default: checkpoints]. Of the state: new, nothing is
    trained yet; running, a process is at work; interrupted, it can go on; diverged, a bound or a parameter became NaN or
    infinite. The bound is that of the last epoch in nats, the SNR the inference network's snr_mean ± its standard error at
    the run's own M and K (or the nearest measured, which are shown), in parentheses where it is at or below the floor.
    """
    with late_progress("runs", quiet=False) as update:
        found = standings(paths or (Path("checkpoints"),), update)
    names = list(dict.fromkeys(n for one in found for n in one.settings)) if all_settings else differing(_known(found))
    shown = [one for one in found if not states or one.state in states]
    shown.sort(key=_order(by, found), reverse=reverse)
    if as_json:
        print_json({"runs": [_record(one, names) for one in shown]})
        return
    lines, width = _lines(shown, names), columns_on_stdout()
    if width is None or max(map(len, lines)) <= width:
        tell("\n".join(lines))
    else:
        print_table(_folded(shown, names))
    for one, name in zip(shown, _called(shown), strict=True):
        if one.why:
            tell(one_line(f"{name}: {one.why}"))
    counts = {state: sum(one.state == state for one in shown) for state in STATES}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none in that state"
    tell(f"{len(shown)} {'run' if len(shown) == 1 else 'runs'}: {told}")


def _known(found: Sequence[Standing]) -> list[Any]:
    return [one.settings for one in found if one.settings]


def _order(by: str, found: Sequence[Standing]) -> Callable[[Standing], Any]:
    """What to sort by.

    Raises:
        SpecError: there is no such column.
    """
    full = list(dict.fromkeys(name for one in found for name in one.settings))
    short = {short: name for name, short in shortened(full).items()}
    name = short.get(by, by)
    if by not in _COLUMNS and name not in full:
        known = [*_COLUMNS, *full]
        raise SpecError(
            "--sort", f"'{by}' is no column", f"{hint(by, known)}choose from {', '.join(_COLUMNS)}, or a setting"
        )

    def order(one: Standing) -> tuple[Any, ...]:
        key = _COLUMNS[by](one) if by in _COLUMNS else one.settings.get(name)
        if key is None:
            return _LAST
        return (0, key, "") if isinstance(key, int | float) else (0, math.inf, str(key))

    return order


def _lines(shown: Sequence[Standing], names: Sequence[str]) -> list[str]:
    """A line for each run, every setting in a column of its own."""
    heads = ["run", "state", *shortened(names).values(), *_ENDS]
    called = _called(shown)
    rows = [[name, one.state, *(_value(one.settings.get(key)) for key in names), *_ends(one)]
            for one, name in zip(shown, called, strict=True)]  # fmt: skip
    return aligned([heads, *rows], left=2 + len(names))


def _folded(shown: Sequence[Standing], names: Sequence[str]) -> "Table":
    """The same for a terminal that is too narrow, with the settings in one column and what is long on several lines."""
    from rich.table import Column, Table

    short = shortened(names)
    table = Table(Column("run", overflow="fold"), Column("state", no_wrap=True), Column("settings", overflow="fold"))
    for column in _ENDS:
        table.add_column(column, justify="right", no_wrap=True)
    for one, called in zip(shown, _called(shown), strict=True):
        given = ", ".join(f"{short[name]}={_value(one.settings[name])}" for name in names if name in one.settings)
        table.add_row(called, one.state, given, *_ends(one))
    return table


def _called(shown: Sequence[Standing]) -> list[str]:
    """The names of the directories; where two have one name, where they lie."""
    names = [one.path.resolve().name for one in shown]
    count = Counter(names)
    return [one_line(name if count[name] == 1 else str(one.path)) for one, name in zip(shown, names, strict=True)]


def _ends(one: Standing) -> list[str]:
    """The columns of ``_ENDS``."""
    epoch = f"{one.epoch}/{'?' if one.epochs is None else one.epochs}"
    bound = "-" if one.bound is None else f"{one.bound:.2f}"
    return [epoch, bound, _snr(one), _age(time.time() - one.changed), _size(one.size)]


def _value(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else one_line(str(value))


def _snr(one: Standing) -> str:
    if one.snr is None:
        return "-"
    said = f"{one.snr.value:.3g} ± {one.snr.stderr:.1g}"
    said = f"({said})" if one.snr.value <= one.snr.floor else said
    own = (one.settings.get("estimator.M"), one.settings.get("estimator.K"))
    return said if own == (one.snr.M, one.snr.K) else f"{said} at {one.snr.M},{one.snr.K}"


def _age(seconds: float) -> str:
    for unit, length in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _record(one: Standing, names: Sequence[str]) -> dict[str, Any]:
    return {
        "run": str(one.path), "state": one.state, "why": one.why, "epoch": one.epoch, "epochs": one.epochs,
        "bound": one.bound, "snr": None if one.snr is None else _plain(one.snr), "changed": one.changed, "size": one.size,
        "settings": {name: one.settings.get(name) for name in names},
    }  # fmt: skip


def _plain(signal: Signal) -> dict[str, Any]:
    # JSON has no NaN.
    numbers = {name: getattr(signal, name) for name in ("value", "stderr", "floor", "M", "K", "step")}
    return {name: number if math.isfinite(number) else None for name, number in numbers.items()}
