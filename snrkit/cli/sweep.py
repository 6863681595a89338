"""``snrkit sweep``."""

import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.live import Live
from rich.table import Table

from snrkit.cli.models import put_sweeps_model
from snrkit.cli.options import FOLDER, INPUT, RUNS, Whole, common, fleet_options, shard_option, threads_option
from snrkit.cli.output import PLAIN_INTERVAL_S, error_console, print_json, print_table, say, tell
from snrkit.cli.wording import in_flags
from snrkit.errors import BUG, SpecError
from snrkit.specs.base import apply_settings, read_toml
from snrkit.specs.grid import expand
from snrkit.specs.measure import WatchFile
from snrkit.specs.shard import Shard

if TYPE_CHECKING:
    from snrkit.training.entries import Entry

_SECONDS = {"s": 1, "m": 60, "h": 3600}
_STATES = ("done", "running", "interrupted", "waiting", "held", "failed")


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A time such as ``90s``, ``9m`` or ``1.5h``, in seconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Text to seconds."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+\.?\d*)([smh])", str(value))
        if not found:
            self.fail(f"'{value}' is not a time; write for example 90s, 9m or 1.5h", param, ctx)
        return float(found[1]) * _SECONDS[found[2]]


@click.command(name="sweep")
@click.argument("grid", type=INPUT)
@click.option("--out", type=FOLDER, help="Folder of the run directories. Default: checkpoints/ and the grid's name.")
@click.option("--time-limit", type=Duration(), help="Save and exit 0 after so long, e.g. 9m; the same command goes on.")
@click.option("--ensemble", "side_by_side", type=Whole(1), help="Runs to train side by side. Default: CPU 1, CUDA 20.")
@click.option("--retry", is_flag=True, help="Go on with failed runs too, from their last checkpoints.")
@shard_option("the runs")
@click.option(
    "--dry-run",
    "only_look",
    is_flag=True,
    help="Show what would be trained, what is done and what is held; change nothing.",
)
@click.option("--export", "exports", type=FOLDER, help="Folder for compact copies of what is finished.")
@click.option("--model", metavar="NAME|FILE.py:CLASS", help="Of every run: registered, or a class of your own file.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Over the file, e.g. epochs=9 or grid.seed=[0]."
)
@threads_option
@fleet_options
@common
def command(  # noqa: PLR0913 (one per option)
    *,
    grid: Path,
    out: Path | None,
    time_limit: float | None,
    side_by_side: int | None,
    retry: bool,
    shard: Shard,
    only_look: bool,
    exports: Path | None,
    model: str | None,
    settings: tuple[str, ...],
    threads: int | None,
    workers: int | None,
    scheduler: str | None,
    data_dir: Path | None,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train every run of a grid: GRID is a TOML file of settings, lists of values under [grid], and [[runs]].

    Each run has a directory named by its settings, as 'snrkit train' makes it, and is measured as the file's table [measure]
    says, if it has one. Finished runs are skipped, interrupted ones go on bit for bit, a failed one is reported and does not
    stop the rest. Several processes may sweep one folder: what another is at work on is held, and left to it. --shard gives
    each process of a job array runs of its own; those that train side by side stay together, so that the numbers are those
    of one process. Exit 0 done or out of time, 130 interrupted; where runs failed, what 'snrkit train' would have exited
    with if all failed alike (2 bad input, 3 diverged, 4 disk, memory, or held), else 1.
    """
    data = read_toml(grid)
    apply_settings(data, settings)
    own = put_sweeps_model(data, model)
    asked = WatchFile.taken(data)
    specs = expand(data, str(grid))

    from snrkit.backend.device import select_device
    from snrkit.backend.machine import threads as on_threads
    from snrkit.fleet.elsewhere import Elsewhere
    from snrkit.fleet.fleet import fleet
    from snrkit.interrupt import Interrupted, stop_requests
    from snrkit.models.own import lending_all
    from snrkit.runs.export import export
    from snrkit.runs.lock import among_others_in
    from snrkit.runs.sources import require_same_source
    from snrkit.sweeping import Asked, sweep_elsewhere
    from snrkit.training.sweep import SIDE_BY_SIDE, surveyed
    from snrkit.watch import require_due, require_measurable

    where = select_device(device)
    deadline = float("inf") if time_limit is None else time.monotonic() + time_limit
    folder, most = out or RUNS / grid.stem, side_by_side or SIDE_BY_SIDE[where.type]
    require_same_source(specs, folder)
    lent = lending_all([spec.model for spec in specs], own)
    if only_look:
        with lent:
            _show(surveyed(specs, folder, most, shard, retry), folder, shard, as_json)
        return
    _require_one_way(shard, workers, scheduler)
    with among_others_in(folder), stop_requests() as signalled, lent, fleet(workers, scheduler) as hands:
        for spec in specs:
            require_due(asked, spec)
        require_measurable(asked, specs[0], data_dir, where)
        every = Asked(specs, folder.absolute(), data_dir, device, most, retry, model, asked)
        sweep = every.sweep(shard)
        clock = _Clock(sweep.entries)
        with board(sweep.entries, clock, quiet) as watch:
            stopped = lambda: signalled() or time.monotonic() >= deadline  # noqa: E731
            if hands is None:
                with on_threads(threads):
                    sweep.run(stopped, watch)
            else:
                sweep_elsewhere(sweep, every, Elsewhere(hands), threads, stopped, watch)
        interrupted = signalled()
    if exports is not None:
        for entry in sweep.entries:
            if entry.state == "done":
                export(entry.run, exports)
    _show(sweep.entries, folder, shard, as_json)
    if not as_json and time_limit is not None and (outlook := clock.outlook(time_limit)):
        tell(outlook)
    if interrupted:
        raise Interrupted
    _exit(sweep.entries)


def _require_one_way(shard: Shard, workers: int | None, scheduler: str | None) -> None:
    if not shard.is_whole and (workers or scheduler):
        raise SpecError("--shard", "is for processes of a job array", "leave it out with --workers or --scheduler")


def _exit(entries: "list[Entry]") -> None:
    """End the program with the code of what failed or is held, if anything is."""
    codes = {entry.code for entry in entries if entry.state in ("failed", "held")}
    if codes:
        raise click.exceptions.Exit(codes.pop() if len(codes) == 1 else BUG)


def _show(entries: "list[Entry]", folder: Path, shard: Shard, as_json: bool) -> None:
    part = {} if shard.is_whole else {"shard": str(shard)}
    if as_json:
        print_json({"out": str(folder), "runs": [_record(entry) for entry in entries], **part})
        return
    print_table(_table(entries))
    which = "" if shard.is_whole else f"part {shard}: "
    tell(f"{folder}: {which}{_counts(entries) or 'no run, for there are fewer that can be trained apart; all is well'}")


@contextmanager
def board(entries: "list[Entry]", clock: "_Clock", quiet: bool) -> Iterator[Callable[[], None]]:
    """Yield ``watch()``: a table redrawn in place on a terminal, one plain line every 30 s elsewhere."""
    console = error_console()
    if quiet:
        yield lambda: None
    elif console.is_terminal:
        render = lambda: _table(entries, f"{_counts(entries)}, {clock.eta()}")  # noqa: E731
        with Live(console=console, get_renderable=render, refresh_per_second=2, transient=True):
            yield lambda: None
    else:
        yield clock.tick


class _Clock:
    """How long the sweep still takes, from what was done since it began; work counts in epochs times samples."""

    def __init__(self, entries: "list[Entry]") -> None:
        self._entries = entries
        self._start = self._last = time.monotonic()
        self._before = self._work(lambda entry: entry.epoch)

    def _work(self, epochs: "Callable[[Entry], float]") -> float:
        return sum(epochs(entry) * entry.spec.estimator.M * entry.spec.estimator.K for entry in self._entries)

    def eta(self) -> str:
        done = self._work(lambda entry: entry.epoch)
        left = self._work(lambda entry: 0 if entry.state in ("failed", "held") else entry.spec.epochs - entry.epoch)
        if done <= self._before:
            return "ETA -"
        return f"ETA {(time.monotonic() - self._start) * left / (done - self._before):.0f} s"

    def outlook(self, seconds: float) -> str:
        """What the same command does next in so many seconds at the pace of what was done; empty: nothing is left."""
        left = [entry for entry in self._entries if entry.state not in ("done", "failed", "held")]
        if not left:
            return ""
        rest = sum(
            (entry.spec.epochs - entry.epoch) * entry.spec.estimator.M * entry.spec.estimator.K for entry in left
        )
        done = self._work(lambda entry: entry.epoch) - self._before
        begin = f"next: {len(left)} {'run' if len(left) == 1 else 'runs'} from epoch {min(e.epoch for e in left):.1f}"
        if done <= 0:
            return f"{begin}; this slice got nowhere, so give it more time"
        share = min(1.0, done / rest)
        until = min(entry.epoch + share * (entry.spec.epochs - entry.epoch) for entry in left)
        more = math.ceil(rest / done)
        length = f"{seconds:g} s" if seconds < _SECONDS["m"] else f"{seconds / _SECONDS['m']:g} min"
        return f"{begin} to about {until:.1f}, and {more:,} such slices of {length} to the end of all"

    def tick(self) -> None:
        if time.monotonic() - self._last >= PLAIN_INTERVAL_S:
            self._last = time.monotonic()
            say(f"sweep: {_counts(self._entries)}, {self.eta()}")


def _counts(entries: "list[Entry]") -> str:
    states = [entry.state for entry in entries]
    return ", ".join(f"{states.count(state)} {state}" for state in _STATES if state in states)


def _table(entries: "list[Entry]", caption: str | None = None) -> Table:
    shown = Table("run", "state", caption=caption)
    for column in ("epoch", "bound"):
        shown.add_column(column, justify="right")
    shown.add_column("why")
    for entry in entries:
        bound = "-" if entry.bound is None else f"{entry.bound:.2f}"
        why = in_flags(entry.why, command)
        shown.add_row(entry.run.name, entry.state, f"{entry.epoch:.1f}/{entry.spec.epochs}", bound, why)
    return shown


def _record(entry: "Entry") -> dict[str, Any]:
    fields = {name: getattr(entry, name) for name in ("state", "why", "code", "epoch", "bound")}
    return {"run": str(entry.run.path), "epochs": entry.spec.epochs, **fields}
