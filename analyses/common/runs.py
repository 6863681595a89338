"""Runs of an analysis: trained where they are missing, gone on with where they were cut short, else left alone."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from analyses.common.report import Place
from snrkit.data import load
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.plan import Plan
from snrkit.diagnostics.tables import Provenance
from snrkit.estimators.base import Estimator, build_estimator
from snrkit.estimators.ciwae import Ciwae
from snrkit.evaluation.points import named_points
from snrkit.report.identity import owners
from snrkit.run import Run, train
from snrkit.runs.checkpoint import load_checkpoint
from snrkit.runs.folder import RunDir
from snrkit.runs.kinds.snr import SNR
from snrkit.specs.run import EstimatorSpec, RunSpec
from snrkit.specs.schedule import stage_of
from snrkit.training.loop import Stopped
from snrkit.training.opening import resolve_spec
from snrkit.training.sweep import Sweep
from snrkit.training.trainer import Trainer

CPU = torch.device("cpu")
DATA = None if "SNRKIT_DATA" not in os.environ else Path(os.environ["SNRKIT_DATA"])


def spec_of(base: dict[str, Any], changes: dict[str, Any], seed: int) -> RunSpec:
    """A run's spec: the base's tables with some exchanged (``data`` and ``optimiser`` entry by entry)."""
    merged = {**base, **changes, "seed": seed}
    for table in ("data", "optimiser"):
        merged[table] = {**base.get(table, {}), **changes.get(table, {})}
    return RunSpec.parse(merged, "the settings")


def label(spec: RunSpec) -> str:
    """A run's estimator in a word, e.g. ``ciwae beta=0.5``."""
    return " ".join([spec.estimator.name, *(f"{name}={value:g}" for name, value in spec.estimator.numbers().items())])


def trained(spec: RunSpec, place: Place, observe: Callable[[Trainer, Stopped], None] = lambda *_: None) -> RunDir:
    """The finished run of a spec in the place's folder: any directory there with such a run, or one trained now."""
    spec = resolve_spec(spec, load(spec.data, DATA))
    for run, own in finished(place.runs):
        if own.identity() == spec.identity() and own.epochs == spec.epochs:
            place.used.add(run.path)
            return run
    run = RunDir(place.runs / f"{spec.data.name}-{spec.estimator.name}-{spec.identity()}-{spec.epochs}")
    print(f"  training {label(spec)} M={spec.estimator.M} K={spec.estimator.K} seed {spec.seed}", flush=True)
    train(spec, run.path, data_dir=DATA, device="cpu", resume=True, observe=observe)
    place.used.add(run.path)
    return run


def trained_together(specs: Sequence[RunSpec], place: Place) -> list[RunDir]:
    """The finished runs of several specs, as ``trained`` gives them; those that are missing are trained side by side."""
    specs = [resolve_spec(spec, load(spec.data, DATA)) for spec in specs]
    known = {(own.identity(), own.epochs) for _, own in finished(place.runs)}
    missing = [spec for spec in specs if (spec.identity(), spec.epochs) not in known]
    if missing:
        print(f"  training {len(missing)} runs, {missing[0].model.options}", flush=True)
        sweep = Sweep(missing, place.runs, data_dir=DATA, device=CPU, side_by_side=len(missing), retry=True)
        sweep.run(lambda: False, lambda: None)
    return [trained(spec, place) for spec in specs]


def finished(folder: Path) -> Iterator[tuple[RunDir, RunSpec]]:
    """The finished runs at any depth of a folder, with their specs, by path; of a copied run the original alone."""
    found = {}
    for config in sorted(folder.rglob("config.toml")):
        if RunDir(config.parent).state() == "done":
            found[config.parent] = RunSpec.from_toml(config.read_text(), str(config))
    known = {path: (f"{spec.identity()}-{spec.epochs}", spec.seed) for path, spec in found.items()}
    for path, owner in owners(known, {}).items():
        if owner.folder == path:
            yield RunDir(path), found[path]


def evaluated(
    run: RunDir, samples: int, points: int, data: str | None = None, name: str | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The evaluation of a run: scores by metric, and one row per point. Remembered in the run.

    Args:
        run: the run.
        samples: importance samples per point.
        points: the first so many test points.
        data: of other data, instead of the run's own.
        name: where it is remembered, ``evaluation.NAME.json``; default: the data's.
    """
    suffix = name or data
    path = run.evaluation if suffix is None else run.path / f"evaluation.{suffix}.json"
    kept = path.with_suffix(".points.parquet")
    wanted = {"samples": samples, "points": points, "step": load_checkpoint(run.checkpoint).step}
    if not (path.exists() and kept.exists() and json.loads(path.read_text()).items() >= wanted.items()):
        own = opened_run(run) if data is None else opened_run(run).on(data, data_dir=DATA)
        own.evaluate(samples, points, out=path).save(points=True)
    return pd.DataFrame(json.loads(path.read_text())["rows"]).set_index("metric"), pd.read_parquet(kept)


def opened_run(run: RunDir) -> Run:
    """A run, opened on the CPU."""
    return Run.open(run.path, data_dir=DATA, device="cpu")


def measure_inference(run: RunDir, subject: Run | Trainer, draws: int, points: int) -> None:
    """Add the inference network's SNR at the run's own (M, K), as the optimiser sees it, to the run's table.

    ``draws`` of the estimate itself, so M times as many of its units. The phi gradient of piwae is that of miwae, and is
    drawn as such; theta would take samples of no use here.
    """
    own = subject.spec.estimator
    x, data = named_points(subject.dataset, subject.spec, CPU, points)
    estimator = _of_inference(own)
    plan = Plan(estimators=estimator, K=(own.K,), M=(own.M,), draws=draws * _units(own), blocks=("inference",))
    table = diagnose(subject.model, x, plan, provenance=Provenance(run.name, subject.step, data)).table
    SNR.merge(run.snr, table.assign(estimator=own.name))


def _of_inference(own: EstimatorSpec) -> Estimator:
    # A learnt beta may lie outside [0, 1], where none can be set.
    if own.name == Ciwae.name:
        return Ciwae(**own.numbers())
    return build_estimator("miwae" if own.name == "piwae" else own.name, own.numbers())


def _units(own: EstimatorSpec) -> int:
    """Draws of a unit that one draw of the estimate takes."""
    return _of_inference(own).units(own.M, own.K)[0].count


def at_stage_ends(draws: int, points: int) -> Callable[[Trainer, Stopped], None]:
    """An observer that measures whenever a stage of Burda's schedule ends."""

    def observe(trainer: Trainer, _: Stopped) -> None:
        if stage_of(trainer.epoch + 1) > stage_of(trainer.epoch):
            measure_inference(trainer.run_dir, trainer, draws, points)

    return observe


def inference_snr(run: RunDir, draws: int, points: int) -> pd.DataFrame:
    """The inference network's SNR from so many draws and points, at every step where it was so measured, with the last."""
    opened = opened_run(run)
    _, data = opened.points(points)
    unit_draws = draws * _units(opened.spec.estimator)
    found = _inference_rows(run, unit_draws, data)
    if opened.step not in set(found.step):
        measure_inference(run, opened, draws, points)
        found = _inference_rows(run, unit_draws, data)
    return found


def _inference_rows(run: RunDir, draws: int, data: str) -> pd.DataFrame:
    table = SNR.read(run.snr) if run.snr.exists() else pd.DataFrame(columns=list(SNR.columns))
    mine = (table.block == "inference") & (table.scope == "minibatch") & (table["data"] == data)
    return table[mine & (table.draws == draws)]


def describe(runs: Sequence[RunSpec]) -> str:
    """The scale of some runs in a sentence."""
    first = runs[0]
    size = first.data.train_limit or "all"
    model = " ".join([first.model.name, *(f"{name}={value}" for name, value in first.model.options.items())])
    schedule = f"{first.epochs} epochs, batch {first.batch_size}, schedule {first.optimiser.schedule}"
    seeds = sorted({run.seed for run in runs})
    return (
        f"{first.data.name}, {size} training images ({first.data.binarise or 'dynamic'} binarisation), model {model}, "
        f"{schedule}, seeds {', '.join(map(str, seeds))}"
    )
