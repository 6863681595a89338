"""``snrkit train``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from snrkit.cli.options import COUNTS, DIRECTORY, common, parse_options
from snrkit.cli.output import print_json, progress
from snrkit.config import RunSpec, apply_settings, assign, read_toml
from snrkit.errors import SpecError
from snrkit.results import RunDir, merge_table

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from snrkit.training.loop import Stopped, Trainer

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
@click.option("--config", type=DIRECTORY, help="A TOML file of settings; flags and --set go over it.")
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
@click.option("--snr-every", type=click.IntRange(min=1), help="Measure the gradients' SNR every so many epochs.")
@click.option("--snr-K", "snr_importance", type=COUNTS, default="1,10,100", show_default=True, help="K of --snr-every.")
@click.option("--snr-M", "snr_outer", type=COUNTS, default="1", show_default=True, help="M of --snr-every.")
@click.option(
    "--snr-draws", type=click.IntRange(min=4), default=200, show_default=True, help="Gradient draws of --snr-every."
)
@click.option(
    "--snr-points", type=click.IntRange(min=1), default=10, show_default=True, help="Test points of --snr-every."
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any setting, e.g. model.options.latent=20."
)
@click.option("--out", type=DIRECTORY, help="Run directory. Default: checkpoints/DATA-ESTIMATOR-HASH.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out; from the start if there is none.")
@common
def command(  # noqa: PLR0913 (one per option)
    *,
    config: Path | None,
    options: tuple[str, ...],
    settings: tuple[str, ...],
    out: Path | None,
    resume: bool,
    snr_every: int | None,
    snr_importance: list[int],
    snr_outer: list[int],
    snr_draws: int,
    snr_points: int,
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
    if snr_every is None:
        _refuse_idle(click.get_current_context())
    spec = _spec(config, flags, options, settings, out if resume else None)
    path = out or RUNS / f"{spec.data.name}-{spec.estimator.name}-{spec.identity()}"

    from snrkit.interrupt import Interrupted
    from snrkit.training.device import select_device
    from snrkit.training.loop import train

    run, where = RunDir(path), select_device(device)
    points = None if snr_every is None else _test_points(spec, data_dir, where, snr_points)
    observe = _observer(snr_every, snr_importance, snr_outer, snr_draws, points)
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
        click.echo(f"snrkit: interrupted; go on with: snrkit train --resume --out {path}", err=True)
        raise click.exceptions.Exit(130) from None
    metrics = run.read_metrics()
    last = metrics[-1] if metrics else {}
    if as_json:
        print_json({"run": str(path), "epoch": final.epoch, "step": final.step, "last": last})
    else:
        bound = f", bound {last['bound']:.2f} nats" if last else ""
        click.echo(f"{run.checkpoint}: {final.epoch} epochs, {final.step} steps{bound}")


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
    from snrkit.training.opening import resolve_spec
    from snrkit.training.points import named_points

    dataset = load(spec.data, data_dir)
    return named_points(dataset, resolve_spec(spec, dataset), device, count)


def _observer(
    every: int | None, K: list[int], M: list[int], draws: int, points: "tuple[torch.Tensor, str] | None"
) -> "Observe":
    """What to do at an epoch's end: nothing, or measure on streams of its own and add the rows to the run's table."""
    if every is None or points is None:
        return lambda *_: None
    from snrkit.diagnostics.measure import diagnose
    from snrkit.diagnostics.plan import Plan
    from snrkit.diagnostics.tables import Provenance
    from snrkit.interrupt import Interrupted

    x, label = points

    def observe(trainer: "Trainer", stopped: "Stopped") -> None:
        if (trainer.epoch + 1) % every:
            return
        plan = Plan((trainer.estimator,), tuple(K), tuple(M), draws, seed=trainer.spec.seed)
        provenance = Provenance(trainer.run_dir.name, trainer.step, label)
        measurement = diagnose(trainer.model, x, plan, provenance=provenance, stop=stopped)
        if not measurement.complete:
            raise Interrupted
        merge_table(trainer.run_dir.snr, measurement.table)

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
        data = read_toml(RunDir(resumed).config)
    for flag, value in flags.items():
        if value is not None:
            assign(data, _FLAGS[flag], value)
    for name, number in parse_options(options).items():
        assign(data, f"estimator.options.{name}", number)
    apply_settings(data, settings)
    return RunSpec.parse(data, str(config) if config is not None else "the flags")
