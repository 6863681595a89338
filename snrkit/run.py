"""A trained run: its model with its data, and what can be found out of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from snrkit.backend.device import select_device
from snrkit.diagnostics.advise import Advice, advise, candidates
from snrkit.diagnostics.beta_curve import BetaCurve, beta_curve
from snrkit.diagnostics.budget import Begun, cost_batch
from snrkit.diagnostics.measure import Measurement, diagnose
from snrkit.diagnostics.plan import Plan, chosen
from snrkit.diagnostics.store import parameters_digest
from snrkit.diagnostics.tables import Provenance
from snrkit.errors import SpecError
from snrkit.estimators.base import Estimator
from snrkit.evaluation.evaluation import Evaluation, evaluated
from snrkit.evaluation.points import described, named_points
from snrkit.fleet.elsewhere import elsewhere
from snrkit.fleet.models import Send
from snrkit.models.own import lending, named
from snrkit.runs.folder import RunDir
from snrkit.runs.kinds.snr import require_same_parameters
from snrkit.runs.place import reserved
from snrkit.showing import Showing
from snrkit.specs.base import short
from snrkit.specs.given import is_empty, require_is
from snrkit.specs.measure import Execution, MeasureSpec, Root, WatchFile, root
from snrkit.specs.run import RunSpec
from snrkit.training import session
from snrkit.training.loop import Stopped, nothing
from snrkit.training.trainer import Trainer
from snrkit.types import Progress
from snrkit.watch import Observe, require_measurable, watching


class Run(Showing):
    """A checkpoint of a run, opened (``Run.open``), and what can be measured on it. Every result can ``save`` itself.

    Attributes:
        folder: the run directory's files.
        spec: what was trained; an option that changed in training is as it was at the checkpoint.
        file: the checkpoint.
        epoch: finished epochs.
        step: optimiser steps done.
        model: the model, on the device asked for.
        dataset: the run's data, or others that fit the model (see ``on``).
        trained_on: name of the data that the run was trained on.
        device: where the model is.
        is_elsewhere: whether the data were given by ``on``.
        recipe: what builds its model on another machine.
    """

    def measure(
        self,
        spec: MeasureSpec = MeasureSpec(),  # noqa: B008 (frozen)
        how: Execution = Execution(),  # noqa: B008
        *,
        estimators: str | Estimator | Sequence[str | Estimator] = (),
        out: str | Path | None = None,
        progress: Progress | None = None,
        stop: Callable[[], bool] = lambda: False,
        executor: Any = None,
        send: Send = "specification",
    ) -> Measurement:
        """Measure gradients at the first test points; ``save`` of what is found adds it to the run's tables.

        Args:
            spec: what to measure.
            how: engine and chunk.
            estimators: whose gradients, where the specification names none: estimators, which may be of one's own, or
                registered names; none: the run's.
            out: the table, a Parquet file; None: that of the run. What is finished is kept beside it until it is saved, so
                that the same call goes on from there.
            progress: called with (done, total, note).
            stop: asked after every block of draws; True ends the measurement with what is finished.
            executor: makes the draws, as for ``snrkit.measure``; None: this process.
            send: how the model travels; ``specification`` will do but for estimators of one's own.

        Raises:
            SpecError, ModelError, CapabilityError, NonFiniteError, ResourceError: as for ``snrkit.measure``.
            ResultsError: the table holds another run of this name.
            OutputError: it cannot be written.
            Interrupted: stopped before anything could be read.
        """
        if out is not None and Path(out).suffix != ".parquet":
            raise SpecError("out", f"'{out}' does not end in .parquet", "name a Parquet file")
        require_is("spec", spec, MeasureSpec)
        require_is("how", how, Execution)
        given = () if is_empty(estimators) else chosen(estimators)
        if given and spec.estimators:
            raise SpecError("estimators", "are named by the specification too", "name them in one of the two")
        plan = Plan.of(spec.of(self.spec), given or self.estimator, how)
        x, label = named_points(self.dataset, self.spec, self.device, spec.data_points)
        path = Path(out) if out else (self.beside("snr.parquet") if self.is_loose else self.folder.snr)
        with reserved(path) as place:
            require_same_parameters(path, self.name, self.step, parameters_digest(self.model))
            about = Provenance(self.name, self.step, label)
            found = diagnose(
                self.model, x, plan, provenance=about, folder=place.partial, progress=progress, stop=stop,
                elsewhere=elsewhere(executor, send, self.recipe),
            )  # fmt: skip
        return replace(found, place=place, asked=plan.written(spec.data_points))

    def evaluate(
        self,
        samples: int = 5000,
        points: int | None = None,
        *,
        seed: Root = 0,
        out: str | Path | None = None,
        progress: Progress | None = None,
        threads: int | None = None,
        executor: Any = None,
        send: Send = "specification",
    ) -> Evaluation:
        """Bounds, KL, ESS, active units and SSIM on the test set, each with its standard error over points.

        Args:
            samples: importance samples per point behind log p(x), at least 128.
            points: only the first so many test points.
            seed: root of the noise; ``own``: the run's own seed, so that runs of different seeds share no draws.
            out: the JSON file that it is for; None: in the run. Finished points are kept beside it until it is saved, for
                the same call to go on from.
            progress: called with (done, total, note).
            threads: of the processor, of each worker where there is an executor; None: 1 of a worker, else as torch decides.
            executor: scores the points, as for ``snrkit.measure``; None: this process.
            send: how the model travels, as for ``measure``.

        Raises:
            SpecError: too few samples or points.
            ModelError, CapabilityError, NonFiniteError, ResourceError: as for ``evaluation.bounds.evaluate``.
            OutputError: it cannot be written there.
        """
        x, _ = named_points(self.dataset, self.spec, self.device, points, "points")
        noise = root(seed, self.spec)
        own = self.spec.data.name if self.is_elsewhere else None
        path = Path(out) if out else self.beside("evaluation.json" if own is None else f"evaluation.{own}.json")
        is_own = own is None and out is None
        about = {
            **self.labels, **described(self.dataset, self.spec.data, f"test[0:{len(x)}]"), "trained_on": self.trained_on,
            "samples": samples, "seed": noise,
        }  # fmt: skip
        with reserved(path) as place:
            return evaluated(
                self.model, x, self.dataset, about, place,
                context=self.fingerprint(x, samples, noise), progress=progress,
                latents_file=self.beside("latents.parquet") if is_own else path.with_suffix(".latents.parquet"),
                threads=threads, elsewhere=elsewhere(executor, send, self.recipe),
            )  # fmt: skip

    def advise(  # noqa: PLR0913 (one option each)
        self,
        budget: int | None = None,
        *,
        seconds: float | None = None,
        estimators: Sequence[str | Estimator] | None = None,
        draws: int = 1000,
        data_points: int = 10,
        seed: Root = 0,
        out: str | Path | None = None,
        progress: Progress | None = None,
        stop: Callable[[], bool] = lambda: False,
        threads: int | None = None,
        executor: Any = None,
        send: Send = "specification",
    ) -> Advice:
        """Which estimator, M and K to spend T = M K samples per data point on, by measuring them all.

        Args:
            budget: samples per data point.
            seconds: what a training step may take, instead.
            estimators: the candidates: registered names, or estimators; None: the common ones that are right for the model.
            draws: gradient draws R per setting.
            data_points: the first so many test points.
            seed: root of the noise; ``own``: the run's own seed, so that runs of different seeds share no draws.
            out: the JSON file that it is for; None: in the run. Finished draws are kept beside it until it is saved, so that
                the same call goes on from there.
            progress: called with (done, total, note).
            stop: asked after every block of draws; True ends them.
            threads: of the processor, of each worker where there is an executor; None: 1 of a worker, else as torch decides.
            executor: makes the draws, as for ``snrkit.measure``; None: this process.
            send: how the model travels, as for ``measure``.

        Raises:
            SpecError: not one of budget and seconds is given, or it cannot be spent so.
            ModelError, CapabilityError, NonFiniteError, ResourceError, Interrupted: as for ``diagnostics.advise.advise``.
            OutputError: it cannot be written there.
        """
        if (budget is None) == (seconds is None):
            raise SpecError("budget", "give either `budget` or `seconds`", "for example `budget=64`")
        asked, noise = None if estimators is None else chosen(estimators), root(seed, self.spec)
        x, label = named_points(self.dataset, self.spec, self.device, data_points)
        batch = cost_batch(x, self.spec.batch_size)
        with reserved(Path(out) if out else self.beside("advice.json")) as place:
            begun = Begun(
                place.partial / "budget.json", {**self.labels, "device": str(self.device), "seconds": seconds}
            )
            total = begun.affordable(self.model, batch, seconds or 0.0) if budget is None else budget
            found = advise(
                self.model, x, batch, total, asked or candidates(self.model, x), draws=draws, seed=noise, seconds=seconds,
                folder=place.partial, progress=progress, stop=stop, threads=threads,
                elsewhere=elsewhere(executor, send, self.recipe),
            )  # fmt: skip
        about = {**self.labels, "data": label, "budget": total, "draws": draws, "seed": noise}
        return replace(found, about=about, place=place, begun=begun)

    def beta(  # noqa: PLR0913 (one option each)
        self,
        K: int = 64,
        *,
        M: int = 1,
        draws: int = 1000,
        data_points: int = 10,
        block: str = "inference",
        seed: Root = 0,
        out: str | Path | None = None,
        progress: Progress | None = None,
        stop: Callable[[], bool] = lambda: False,
        threads: int | None = None,
        executor: Any = None,
        send: Send = "specification",
    ) -> BetaCurve:
        """SNR of ciwae's gradient against beta; arguments and errors as for ``diagnostics.beta_curve.beta_curve``.

        Args:
            K: importance samples per group.
            M: groups, by algebra.
            draws: gradient draws R.
            data_points: the first so many test points.
            block: ``inference``, ``generative``, ``all`` or the name of a tensor.
            seed: root of the noise; ``own``: the run's own seed, so that runs of different seeds share no draws.
            out: the CSV file that it is for; None: in the run. Finished draws are kept beside it until it is saved.
            progress: called with (done, total, note).
            stop: asked after every block of draws; True ends them.
            threads: of the processor, of each worker where there is an executor; None: 1 of a worker, else as torch decides.
            executor: makes the draws, as for ``snrkit.measure``; None: this process.
            send: how the model travels, as for ``measure``.
        """
        x, label = named_points(self.dataset, self.spec, self.device, data_points)
        noise = root(seed, self.spec)
        with reserved(Path(out) if out else self.beside("beta.csv")) as place:
            curve = beta_curve(
                self.model, x, K, M=M, draws=draws, seed=noise, block=block,
                folder=place.partial, progress=progress, stop=stop, threads=threads,
                elsewhere=elsewhere(executor, send, self.recipe),
            )  # fmt: skip
        shared: dict[str, Any] = {**self.labels, "data": label, "seed": noise}
        return replace(curve, table=curve.table.assign(**shared), place=place)


def train(
    spec: RunSpec,
    out: str | Path,
    *,
    data_dir: str | Path | None = None,
    device: str = "auto",
    model: str | None = None,
    resume: bool = False,
    progress: Progress = lambda *_: None,
    watch: WatchFile | None = None,
    observe: Observe = nothing,
) -> Run:
    """Train a run to the end, and open it. A finished run is left as it is.

    Args:
        spec: what to train.
        out: the run directory.
        data_dir: folder of the data files; None: SNRKIT_DATA or the cache.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        model: a registered model, or ``FILE.py:CLASS`` for one of your own, in the place of the specification's; the file is
            run only because you name it.
        resume: go on from the run's checkpoint, if there is one.
        progress: called with (done, total, note).
        watch: what to measure at the end of epochs; the rows are added to the run's tables.
        observe: called with (trainer, stopped) at the end of every epoch; it must leave the trainer as it is.

    Raises:
        SnrkitError, Interrupted: as for ``training.session.train``.
    """
    require_is("spec", spec, RunSpec)
    if watch is not None:
        require_is("watch", watch, WatchFile)
    if not isinstance(out, str | Path) or not str(out):
        raise SpecError("out", f"cannot be {short(out)}", "name the run directory, for example 'runs/first'")
    folder, where, measure = None if data_dir is None else Path(data_dir), select_device(device), watching(watch)
    require_measurable(watch, spec, folder, where)

    spec = spec.model_copy(update={"model": named(spec.model, model)})

    def both(trainer: Trainer, stopped: Stopped) -> None:
        measure(trainer, stopped)
        observe(trainer, stopped)

    with lending(spec.model, model):
        session.train(
            spec, RunDir(Path(out)), data_dir=folder, device=where, resume=resume, progress=progress, observe=both
        )
    return Run.open(out, data_dir=data_dir, device=device, model=model)
