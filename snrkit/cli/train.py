"""``snrkit train``."""

from pathlib import Path
from typing import Any

import click

from snrkit.cli.options import DIRECTORY, common, parse_options
from snrkit.cli.output import print_json, progress
from snrkit.config import RunSpec, apply_settings, assign, read_toml
from snrkit.results import RunDir

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
}


@click.command(name="train")
@click.option("--config", type=DIRECTORY, help="A TOML file of settings; flags and --set go over it.")
@click.option("--data", help="digits (default), mnist, omniglot, npz or gaussian; see 'snrkit data list'.")
@click.option("--model", help="mlp (default) or gaussian.")
@click.option("--estimator", help="vae, iwae (default), miwae, ciwae or piwae.")
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
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any setting, e.g. model.options.latent=20."
)
@click.option("--out", type=DIRECTORY, help="Run directory. Default: checkpoints/DATA-ESTIMATOR-HASH.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out; from the start if there is none.")
@common
def command(
    *,
    config: Path | None,
    options: tuple[str, ...],
    settings: tuple[str, ...],
    out: Path | None,
    resume: bool,
    data_dir: Path | None,
    device: str,
    as_json: bool,
    quiet: bool,
    **flags: Any,
) -> None:
    """Train a model with one estimator.

    The settings come from --config, then flags, then --set; the resolved ones are written to config.toml in the run
    directory, beside run.pt (checkpoint), metrics.jsonl, env.json and status.json. Ctrl-C saves the state; --resume goes on
    from it bit for bit.
    """
    spec = _spec(config, flags, options, settings, out if resume else None)
    path = out or RUNS / f"{spec.data.name}-{spec.estimator.name}-{spec.digest()}"

    from snrkit.training.device import select_device
    from snrkit.training.loop import Interrupted, train

    run = RunDir(path)
    try:
        with progress(f"train {run.name}", quiet) as update:
            final = train(spec, run, data_dir=data_dir, device=select_device(device), resume=resume, progress=update)
    except Interrupted:
        click.echo(f"snrkit: interrupted; go on with: snrkit train --resume --out {path}", err=True)
        raise click.exceptions.Exit(130) from None
    metrics = run.read_metrics()
    last = metrics[-1] if metrics else {}
    if as_json:
        print_json({"run": str(path), "epoch": final.epoch, "step": final.step, "last": last})
    else:
        bound = f", bound {last['bound']:.2f} nats" if last else ""
        click.echo(f"{run.checkpoint}: {final.epoch} epochs, {final.step} steps{bound}")


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
