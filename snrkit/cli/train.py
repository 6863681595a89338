"""``snrkit train``."""

import shlex
from pathlib import Path
from typing import Any

import click

from snrkit.cli.flags import flags, put
from snrkit.cli.models import put_model
from snrkit.cli.options import FOLDER, INPUT, RUNS, common, parse_options
from snrkit.cli.output import complain, print_json, progress, tell
from snrkit.errors import INTERRUPTED, SpecError
from snrkit.runs.folder import RunDir
from snrkit.specs.base import apply_settings, assign, read_toml
from snrkit.specs.measure import WatchFile, WatchSpec
from snrkit.specs.run import RunSpec
from snrkit.specs.schema1 import translated

_RUN = {
    "data.name": "--data", "model.name": "--model", "estimator.name": "--estimator", "estimator.M": "--M",
    "estimator.K": "--K", "epochs": "--epochs", "batch_size": "--batch-size", "optimiser.lr": "--lr",
    "optimiser.schedule": "--schedule", "seed": "--seed", "dtype": "--dtype", "checkpoint_every": "--checkpoint-every",
    "keep_every": "--keep-every",
}  # fmt: skip
_WATCH = {
    "every": "--snr-every", "K": "--snr-K", "M": "--snr-M", "draws": "--snr-draws", "data_points": "--snr-points",
    "mode": "--snr-mode",
}  # fmt: skip


@click.command(name="train")
@click.option("--config", type=INPUT, help="A TOML file of settings; flags and --set go over it.")
@flags(RunSpec, _RUN)
@click.option(
    "--option", "options", multiple=True, metavar="NAME=VALUE", help="Of the estimator, e.g. beta=0.5 (ciwae)."
)
@flags(WatchSpec, _WATCH, "measure")
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
    data_dir: Path | None,
    device: str,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Train a model with one estimator.

    The settings come from --config, then flags, then --set; the resolved ones are written to config.toml in the run
    directory, beside run.pt (checkpoint), metrics.jsonl, env.json and status.json. Ctrl-C saves the state; --resume goes on
    from it bit for bit. --snr-every adds rows to snr.parquet as the run goes on, without changing a bit of the run.
    """
    if list_settings:
        from snrkit.cli.settings import of_training, show

        show(of_training(), as_json)
        return
    data = _written(config, out if resume else None)
    if "measure" not in data:
        _refuse_idle(given)
    put(data, given)
    for name, number in parse_options(options).items():
        assign(data, f"estimator.options.{name}", number)
    own = put_model(data, given["model__name"])
    apply_settings(data, settings)
    asked = WatchFile.taken(data)
    spec = RunSpec.parse(data, str(config) if config is not None else "the flags")
    if only_print:
        tell(_resolved(spec, data_dir, own))
        if asked is not None:
            tell(f"\n{asked.replaced(measure=asked.measure.of(spec)).to_toml().rstrip()}")
        return
    path = out or RUNS / f"{spec.data.name}-{spec.estimator.name}-{spec.identity()}"

    from snrkit.interrupt import Interrupted
    from snrkit.run import train

    ended: list[int] = []  # epochs that were measured, or could have been
    try:
        with progress(f"train {RunDir(path).name}", quiet) as update:
            run = train(
                spec, path, data_dir=data_dir, device=device, model=own, resume=resume, progress=update, watch=asked,
                observe=lambda trainer, _: ended.append(trainer.epoch),
            )  # fmt: skip
    except (Interrupted, KeyboardInterrupt):
        complain(f"snrkit: interrupted; go on with: snrkit train --resume --out {shlex.quote(str(path))}")
        raise click.exceptions.Exit(INTERRUPTED) from None
    if asked is not None and not ended:
        complain(f"note: {run.name} was finished before, so nothing was measured now; 'snrkit snr --ckpt' measures it")
    metrics = run.folder.read_metrics()
    last = metrics[-1] if metrics else {}
    if as_json:
        print_json({"run": str(path), "epoch": run.epoch, "step": run.step, "last": last})
    else:
        bound = f", bound {last['bound']:.2f} nats" if last else ""
        tell(f"{run.file}: {run.epoch} epochs, {run.step} steps{bound}")


def _resolved(spec: RunSpec, data_dir: Path | None, own: str | None) -> str:
    """What config.toml would hold, the model's options that were left out as remarks.

    Raises:
        SnrkitError: a run could not begin with these settings.
    """
    import json

    from snrkit.cli.settings import options_of
    from snrkit.data import load
    from snrkit.estimators.hyper import Hyper
    from snrkit.models.base import build_model
    from snrkit.models.own import lending
    from snrkit.training.opening import data_summary, resolve_spec

    dataset = load(spec.data, data_dir)
    spec = resolve_spec(spec, dataset)
    Hyper(spec)
    with lending(spec.model, own):
        build_model(spec.model, data_summary(dataset), spec.seed)
        kind = options_of(spec.model.name)
    left_out = {} if kind is None else kind().model_dump(mode="json", exclude=set(spec.model.options))
    remarks = [
        f"# model.options.{name} = {json.dumps(value)}  (default of {spec.model.name})"
        for name, value in left_out.items()
    ]
    return "\n".join([spec.to_toml().rstrip("\n"), *remarks])


def _refuse_idle(given: dict[str, Any]) -> None:
    """How to measure is not to be said where nothing is measured, for the user believes that it is.

    Raises:
        SpecError: it was said.
    """
    said = [flag for key, flag in _WATCH.items() if given[f"measure__{key}"] is not None]
    if said and "--snr-every" not in said:
        raise SpecError(said[0], "says how to measure, and nothing is measured", "add --snr-every EPOCHS")


def _written(config: Path | None, resumed: Path | None) -> dict[str, Any]:
    """The settings of a file, else those of the run that is to be resumed."""
    if config is None and resumed is not None and RunDir(resumed).config.exists():
        # As of now, so that settings go over it, whatever version wrote it.
        return dict(translated(read_toml(RunDir(resumed).config)))
    return {} if config is None else read_toml(config)
