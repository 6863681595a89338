"""``snrkit train``."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from snrkit.cli.options import COUNTS, FOLDER, INPUT, MODE, Whole, common, parse_options
from snrkit.cli.output import complain, print_json, progress, tell
from snrkit.errors import INTERRUPTED, SpecError
from snrkit.runs.folder import RunDir
from snrkit.runs.kinds.snr import SNR
from snrkit.specs.base import apply_settings, assign, read_toml
from snrkit.specs.run import RunSpec
from snrkit.specs.schema1 import translated

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from snrkit.specs.base import Mode
    from snrkit.training.loop import Stopped
    from snrkit.training.trainer import Trainer

    Observe = Callable[[Trainer, Stopped], None]

RUNS = Path("checkpoints")

# Flag -> the setting that it stands for.
_FLAGS = {
    "data": "data.name",
    "model": "model.name",
    "estimator": "estimator.name",
    "outer": "estimator.M",
    "importance": "estimator.K",
    "epochs": "epochs",
    "batch_size": "batch_size",
    "lr": "optimiser.lr",
    "schedule": "optimiser.schedule",
    "seed": "seed",
    "dtype": "dtype",
    "checkpoint_every": "checkpoint_every",
    "keep_every": "keep_every",
}


@click.command(name="train")
@click.option("--config", type=INPUT, help="A TOML file of settings; flags and --set go over it.")
@click.option("--data", help="digits (default), mnist, omniglot, npz, idx or another; see 'snrkit data list'.")
@click.option("--model", help="mlp (default), hierarchical, random-weights or gaussian.")
@click.option("--estimator", help="vae, iwae (default), miwae, ciwae, piwae, dreg or stl.")
@click.option("--M", "outer", type=int, help="Outer samples per data point (default 1).")
@click.option("--K", "importance", type=int, help="Importance samples per outer sample (default 64; piwae: L).")
@click.option(
    "--option", "options", multiple=True, metavar="NAME=VALUE", help="Of the estimator, e.g. beta=0.5 (ciwae)."
)
@click.option("--epochs", type=int, help="Passes over the training set (default 100); 0 saves the initial model.")
@click.option("--batch-size", type=int, help="Data points per step (default 20).")
@click.option("--lr", type=float, help="Learning rate of Adam, or its first one (default 0.001).")
@click.option("--schedule", help="constant (default) or burda: 3^i epochs at lr 10^(-i/7).")
@click.option("--seed", type=int, help="Root of all random streams (default 0).")
@click.option("--dtype", help="float32 (default) or float64.")
@click.option("--checkpoint-every", type=int, help="Epochs between checkpoints (default 10).")
@click.option(
    "--keep-every", type=int, help="Also keep a checkpoint under steps/ every so many epochs (default: none)."
)
@click.option("--snr-every", type=Whole(1), help="Measure the gradients' SNR every so many epochs.")
@click.option("--snr-K", "snr_importance", type=COUNTS, default="1,10,100", show_default=True, help="K of --snr-every.")
@click.option("--snr-M", "snr_outer", type=COUNTS, default="1", show_default=True, help="M of --snr-every.")
@click.option("--snr-draws", type=Whole(4), default=200, show_default=True, help="Gradient draws of --snr-every.")
@click.option("--snr-points", type=Whole(1), default=10, show_default=True, help="Test points of --snr-every.")
@click.option("--snr-mode", type=MODE, default="evaluation", show_default=True, help="Mode of --snr-every.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any of --settings, e.g. model.options.latent=20.",
)
@click.option("--out", type=FOLDER, help="Run directory. Default: checkpoints/DATA-ESTIMATOR-HASH.")
@click.option("--print-config", "only_print", is_flag=True, help="Print the resolved settings as TOML; train nothing.")
@click.option(
    "--settings", "list_settings", is_flag=True, help="List all settings with range and default; train nothing."
)
@click.option("--resume", is_flag=True, help="Go on with the run in --out; from the start if there is none.")
@common
def command(  # noqa: PLR0913 (one per option)
    *,
    config: Path | None,
    options: tuple[str, ...],
    settings: tuple[str, ...],
    out: Path | None,
    only_print: bool,
    list_settings: bool,
    resume: bool,
    snr_every: int | None,
    snr_importance: list[int],
    snr_outer: list[int],
    snr_draws: int,
    snr_points: int,
    snr_mode: "Mode",
    data_dir: Path | None,
    device: str,
    as_json: bool,
    quiet: bool,
    **flags: Any,
) -> None:
    """Train a model with one estimator.

    The settings come from --config, then flags, then --set; the resolved ones are written to config.toml in the run
    directory, beside run.pt (checkpoint), metrics.jsonl, env.json and status.json. Ctrl-C saves the state; --resume goes on
    from it bit for bit. --snr-every adds rows to snr.parquet as the run goes on, without changing a bit of the run.
    """
    if list_settings:
        _list_settings(as_json)
        return
    if snr_every is None:
        _refuse_idle(click.get_current_context())
    spec = _spec(config, flags, options, settings, out if resume else None)
    if only_print:
        tell(_resolved(spec, data_dir))
        return
    path = out or RUNS / f"{spec.data.name}-{spec.estimator.name}-{spec.identity()}"

    from snrkit.backend.device import select_device
    from snrkit.interrupt import Interrupted
    from snrkit.training.session import train

    run, where = RunDir(path), select_device(device)
    points = None if snr_every is None else _test_points(spec, data_dir, where, snr_points)
    observe = _observer(spec, snr_every, snr_importance, snr_outer, snr_draws, snr_mode, points)
    try:
        with progress(f"train {run.name}", quiet) as update:
            final = train(
                spec,
                run,
                data_dir=data_dir,
                device=where,
                resume=resume,
                progress=update,
                observe=observe,
            )
    except (Interrupted, KeyboardInterrupt):
        complain(f"snrkit: interrupted; go on with: snrkit train --resume --out {shlex.quote(str(path))}")
        raise click.exceptions.Exit(INTERRUPTED) from None
    metrics = run.read_metrics()
    last = metrics[-1] if metrics else {}
    if as_json:
        print_json({"run": str(path), "epoch": final.epoch, "step": final.step, "last": last})
    else:
        bound = f", bound {last['bound']:.2f} nats" if last else ""
        tell(f"{run.checkpoint}: {final.epoch} epochs, {final.step} steps{bound}")


def _list_settings(as_json: bool) -> None:
    from snrkit.cli.settings import every_setting, told

    rows = every_setting()
    if as_json:
        print_json({"settings": rows})
        return
    for row in rows:
        tell(told(row))


def _resolved(spec: RunSpec, data_dir: Path | None) -> str:
    """What config.toml would hold, the model's options that were left out as remarks.

    Raises:
        SnrkitError: a run could not begin with these settings.
    """
    import json

    from snrkit.cli.settings import options_of
    from snrkit.data import load
    from snrkit.estimators.hyper import Hyper
    from snrkit.models.base import build_model
    from snrkit.training.opening import resolve_spec, summarise

    dataset = load(spec.data, data_dir)
    spec = resolve_spec(spec, dataset)
    Hyper(spec)
    build_model(spec.model, summarise(dataset), spec.seed)
    kind = options_of(spec.model.name)
    left_out = {} if kind is None else kind().model_dump(mode="json", exclude=set(spec.model.options))
    remarks = [
        f"# model.options.{name} = {json.dumps(value)}  (default of {spec.model.name})"
        for name, value in left_out.items()
    ]
    return "\n".join([spec.to_toml().rstrip("\n"), *remarks])


def _refuse_idle(context: click.Context) -> None:
    """How to measure is not to be said where nothing is measured, for the user believes that it is.

    Raises:
        SpecError: it was said.
    """
    for option in context.command.params:
        given = context.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE
        if given and str(option.name).startswith("snr_"):
            raise SpecError(option.opts[0], "says how to measure, and nothing is measured", "add --snr-every EPOCHS")


def _test_points(
    spec: RunSpec, data_dir: Path | None, device: "torch.device", count: int
) -> "tuple[torch.Tensor, str]":
    """What is measured along the way: the first test points and their label, so that too few are known before training."""
    from snrkit.data import load
    from snrkit.evaluation.points import named_points
    from snrkit.training.opening import resolve_spec

    dataset = load(spec.data, data_dir)
    return named_points(dataset, resolve_spec(spec, dataset), device, count)


def _observer(
    spec: RunSpec, every: int | None, K: list[int], M: list[int], draws: int, mode: "Mode",
    points: "tuple[torch.Tensor, str] | None",
) -> "Observe":  # fmt: skip
    """What to do at an epoch's end: nothing, or measure on streams of its own and add the rows to the run's table.

    Raises:
        SnrkitError: it could not be measured so; said here, before an epoch is trained.
    """
    if every is None or points is None:
        return lambda *_: None
    from snrkit.diagnostics.measure import diagnose
    from snrkit.diagnostics.plan import Plan
    from snrkit.diagnostics.tables import Provenance
    from snrkit.estimators.hyper import Hyper
    from snrkit.interrupt import Interrupted

    x, label = points
    own = Hyper(spec).present(0)
    asked = Plan(estimators=(own,), K=tuple(K), M=tuple(M), draws=draws, seed=spec.seed, mode=mode)

    def observe(trainer: "Trainer", stopped: "Stopped") -> None:
        if (trainer.epoch + 1) % every:
            return
        plan = asked.replaced(estimators=trainer.estimator)
        provenance = Provenance(trainer.run_dir.name, trainer.step, label)
        measurement = diagnose(trainer.model, x, plan, provenance=provenance, stop=stopped)
        if not measurement.complete:
            raise Interrupted
        SNR.merge(trainer.run_dir.snr, measurement.table)

    return observe


def _spec(
    config: Path | None,
    flags: dict[str, Any],
    options: tuple[str, ...],
    settings: tuple[str, ...],
    resumed: Path | None,
) -> RunSpec:
    data: dict[str, Any] = {}
    if config is not None:
        data = read_toml(config)
    elif resumed is not None and RunDir(resumed).config.exists():
        # As of now, so that settings go over it, whatever version wrote it.
        data = translated(read_toml(RunDir(resumed).config))
    for flag, value in flags.items():
        if value is not None:
            assign(data, _FLAGS[flag], value)
    for name, number in parse_options(options).items():
        assign(data, f"estimator.options.{name}", number)
    apply_settings(data, settings)
    return RunSpec.parse(data, str(config) if config is not None else "the flags")
