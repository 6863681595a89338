"""One command on many runs: each by itself, those done before passed over, and one that fails no loss to the others."""

import hashlib
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from snrkit.backend.shortage import shortage
from snrkit.cli.options import INPUT, Command, shard_option
from snrkit.cli.output import complain, print_json, say, tell
from snrkit.cli.wording import error_in_flags
from snrkit.errors import BUG, NO_ROOM, SnrkitError, SpecError
from snrkit.files import read_bytes
from snrkit.interrupt import Interrupted
from snrkit.specs.shard import Shard

if TYPE_CHECKING:
    from snrkit.run import Run
    from snrkit.runs.done import Made

# Runs that a line names.
_NAMED = 8


@dataclass(frozen=True)
class Found:
    """What a command found on a run.

    Attributes:
        record: as JSON.
        show: tells it to people.
        made: the files.
        complete: False where it was interrupted.
        code: what the program is to exit with although it went well, or 0.
    """

    record: Any
    show: Callable[[], None]
    made: "Sequence[Made]"
    complete: bool = True
    code: int = 0


@dataclass(frozen=True)
class Opening:
    """Which runs, and how to open them: the options that commands on runs share.

    Attributes:
        ckpts: files, run directories and folders of them.
        model: ``--model``.
        data_dir: ``--data-dir``.
        device: ``--device``.
        shard: which of the runs.
        again: also those on which the same was done before.
    """

    ckpts: Sequence[Path]
    model: str | None
    data_dir: Path | None
    device: str
    shard: Shard
    again: bool

    def open(self, file: Path) -> "Run":
        """A run."""
        from snrkit.run import Run

        return Run.open(file, data_dir=self.data_dir, device=self.device, model=self.model)


@dataclass
class Outcomes:
    """How the runs of a command ended.

    Attributes:
        found: what was found on each, as JSON.
        states: name of the run, its checkpoint, ``done``, ``before``, ``failed`` or ``waiting`` (it has none
            yet), why, and the exit code of that.
    """

    found: list[Any] = field(default_factory=list)
    states: list[dict[str, Any]] = field(default_factory=list)

    def note(self, file: Path, state: str, why: str = "", code: int = 0) -> None:
        """Note how a run ended."""
        home = file.parent if file.name == "run.pt" else file.with_suffix("")
        self.states.append({"run": home.name, "ckpt": str(file), "state": state, "why": why, "code": code})

    def of(self, state: str) -> list[dict[str, Any]]:
        """Those that ended so."""
        return [one for one in self.states if one["state"] == state]

    @property
    def code(self) -> int:
        """That of all that failed, if it is the same, else that of a fault; 4 where runs are waited for."""
        failed = {one["code"] for one in self.of("failed") if one["code"]}
        # What can be waited for tells when nothing else does.
        codes = failed or {one["code"] for one in self.of("waiting")}
        return 0 if not codes else codes.pop() if len(codes) == 1 else BUG


def runs_options(*, needed: bool = True) -> Callable[[Command], Command]:
    """--ckpt, --shard and --again, of commands on one run or many.

    Args:
        needed: whether there has to be a run; otherwise the command sees to that itself.
    """
    text = "A run.pt, a run directory, or a folder of runs or of checkpoints; may be repeated."
    told = text if needed else f"{text}  [required]"

    def decorate(command: Command) -> Command:
        command = click.option(
            "--again", is_flag=True, help="Of several runs, also those on which the very same was done before."
        )(command)
        command = shard_option("several runs")(command)
        return click.option("--ckpt", "ckpts", type=INPUT, multiple=True, required=needed, help=told)(command)

    return decorate


def on_runs(
    opening: Opening,
    work: "Callable[[Run, str], Found]",
    asked: Mapping[str, Any],
    *,
    results: str,
    as_json: bool,
    out: Path | None = None,
    shares: bool = False,
) -> None:
    """Do a command's work on one run, or on each of several, and tell what was found.

    Of several, those on which the same was done before are passed over, unless it is asked for again; what fails on one is
    told in a line, and the others go on. The program exits with the code of the failures if they are alike, else 1.

    Args:
        opening: which runs.
        work: called with a run and with what to call it as it is worked on.
        asked: all that decides what is found on a run.
        results: name of the list of results in JSON.
        as_json: tell one JSON object, of one run what was found on it alone.
        out: where the result is to go, if it was said.
        shares: whether several runs can go to one file.

    Raises:
        SnrkitError: on a single run; or there are no runs, or several for one file.
        Interrupted: stopped; what is finished is saved.
    """
    from snrkit.runs.checkpoint import find_runs
    from snrkit.runs.done import request

    files = find_runs(opening.ckpts)
    if len(files) == 1 and opening.shard.is_whole:
        _on_one(opening.open(files[0]), work, as_json)
        return
    if out is not None and not shares:
        problem = f"is one file, and there are {len(files)} runs"
        raise SpecError("out", problem, "leave it out: each run keeps its own, and 'snrkit collect' makes one table")
    name = click.get_current_context().info_name or ""
    wanted = request(name, {**asked, **_rests_on(opening, asked), "out": None if out is None else str(out.resolve())})
    own, outcomes = opening.shard.taken(files), Outcomes()
    whole = all(
        _on_another(opening, file, work, wanted, outcomes, f" ({number} of {len(own)})", as_json)
        for number, file in enumerate(own, start=1)
    )
    _tell(outcomes, opening, results, as_json)
    if not whole:
        raise Interrupted
    if outcomes.code:
        raise click.exceptions.Exit(outcomes.code)


def _rests_on(opening: Opening, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a result beside the command's words: the contents of a model's file, and other data than a run's own.

    Those it was trained on are in a checkpoint's digest.
    """
    from snrkit.data.folder import data_folder

    file = Path((opening.model or "").rpartition(":")[0])
    known: dict[str, Any] = {"device": opening.device, "model": opening.model}
    if file.is_file():
        known["model"] = hashlib.sha256(read_bytes(file)).hexdigest()
    if asked.get("data") is not None:
        home = data_folder(opening.data_dir).resolve()
        found = [(path, path.stat()) for path in sorted(home.rglob("*")) if path.is_file()]
        known["files"] = [str(home), *([str(path), stat.st_size, stat.st_mtime_ns] for path, stat in found)]
    return known


def _on_one(run: "Run", work: "Callable[[Run, str], Found]", as_json: bool) -> None:
    found = work(run, "")
    if as_json:
        print_json(found.record)
    else:
        found.show()
    if not found.complete:
        raise Interrupted
    if found.code:
        raise click.exceptions.Exit(found.code)


def _on_another(
    opening: Opening,
    file: Path,
    work: "Callable[[Run, str], Found]",
    wanted: str,
    outcomes: Outcomes,
    place: str,
    as_json: bool,
) -> bool:
    """Work on one of several runs; False where it was interrupted."""
    from snrkit.runs.done import is_done, note

    if not file.is_file():
        outcomes.note(file, *_untrained(file))
        return True
    if not opening.again and is_done(file, wanted):
        outcomes.note(file, "before")
        return True
    try:
        found = work(opening.open(file), place)
        if found.complete and not found.code:
            note(file, wanted, found.made)
    except (Interrupted, KeyboardInterrupt):
        return False
    except Exception as error:
        _told(outcomes, file, error)
        return True
    outcomes.found.append(found.record)
    if not as_json:
        found.show()
    if found.complete:
        outcomes.note(file, "failed" if found.code else "done", "diverged in a part" if found.code else "", found.code)
    return found.complete


def _untrained(file: Path) -> tuple[str, str, int]:
    """How a run ends that has no checkpoint: whether one can be waited for, why, and the exit code of that."""
    from snrkit.runs.folder import RunDir

    status = RunDir(file.parent).standing() if file.name == "run.pt" else {}
    if status.get("state") != "failed":
        return "waiting", "has no checkpoint yet", NO_ROOM
    code = status.get("code")
    return "failed", f"its training failed: {status.get('why')}", code if isinstance(code, int) else BUG


def _told(outcomes: Outcomes, file: Path, error: Exception) -> None:
    """Note a failure and tell it, each only once; of an error of the program all that is known."""
    told = error if isinstance(error, SnrkitError) else shortage(error)
    why = f"{error.__class__.__name__}: {error}" if told is None else _worded(told)
    if why not in [one["why"] for one in outcomes.states]:
        if told is None:
            say("".join(traceback.format_exception(error)).rstrip("\n"))
        complain(f"snrkit: {why}" if why.startswith(f"{file}:") else f"snrkit: {file}: {why}")
    outcomes.note(file, "failed", why, BUG if told is None else told.exit_code)


def _worded(error: SnrkitError) -> str:
    """The message of an error in the words of the command line."""
    called = click.get_current_context()
    given = [option for option in called.command.params
             if called.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE]  # fmt: skip
    return error_in_flags(error, called.command, [option.opts[0] for option in given])


def _tell(outcomes: Outcomes, opening: Opening, results: str, as_json: bool) -> None:
    """What was found, or how all ended."""
    if as_json:
        part = {} if opening.shard.is_whole else {"shard": str(opening.shard)}
        print_json({results: outcomes.found, "runs": outcomes.states, **part})
        return
    words = {"done": "done", "before": "done before", "failed": "failed", "waiting": "without a checkpoint yet"}
    counts = [f"{len(outcomes.of(state))} {word}" for state, word in words.items() if outcomes.of(state)]
    which = "" if opening.shard.is_whole else f"part {opening.shard}: "
    many = f"{len(outcomes.states)} {'run' if len(outcomes.states) == 1 else 'runs'}"
    tell(f"{which}{many}: {', '.join(counts) or 'there is nothing for this part to do'}")
    for state in ("failed", "waiting"):
        _name(outcomes.of(state))


def _name(ended: Sequence[Mapping[str, Any]]) -> None:
    """Runs that ended in one way and why, a line to a reason."""
    reasons: dict[str, list[str]] = {}
    for one in ended:
        reasons.setdefault(one["why"], []).append(one["run"])
    for why, names in list(reasons.items())[:_NAMED]:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        tell(f"{ended[0]['state']}: {', '.join(names[:_NAMED])}{more}: {why}")
    left = [name for names in list(reasons.values())[_NAMED:] for name in names]
    if left:
        tell(f"and {len(left)} more")
