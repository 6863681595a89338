"""What to measure, checked; and the sets of draws that it takes."""

import dataclasses
import reprlib
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BeforeValidator, ConfigDict, model_validator

from snrkit.backend.memory import require_memory
from snrkit.core.objective import NETWORKS, NoiseKind
from snrkit.diagnostics.means import no_bias, same_mean, source_of
from snrkit.errors import SpecError
from snrkit.estimators import ESTIMATORS
from snrkit.estimators.base import Estimator, Units, build_estimator, require_samples
from snrkit.estimators.samples import nearest_samples
from snrkit.registry import hint
from snrkit.runs.metrics import METRICS
from snrkit.specs.given import MOST_ROWS, items
from snrkit.specs.measure import Choice, Execution, MeasureFile, MeasureSpec, OneRoot, What

BLOCKS_OF_DRAWS = 20
# Their numbers, and what is read of each by itself.
_BYTES_PER_DRAW = 16


@dataclass(frozen=True)
class Job:
    """One set of gradient draws.

    Attributes:
        estimator: whose gradients.
        M: outer samples of a draw.
        K: importance samples.
        direct: the whole minibatch in one draw (True), or each data point by itself at M = 1.
        groups: draws are cut out of draws of ``groups`` K samples; 1: drawn as they are.
        draws: number of draws R.
        noise: the noise of all that share it, or the inference network's own.
    """

    estimator: Estimator
    M: int
    K: int
    direct: bool
    groups: int
    draws: int
    noise: NoiseKind = "shared"

    @property
    def samples(self) -> int:
        """Importance samples per data point over all draws, a measure of cost."""
        return self.draws * self.M * self.K

    def blocks(self) -> list[range]:
        """The draws in G = 20 blocks (fewer if there are fewer than 40), the same fractions for every job of a plan."""
        largest = self.draws // self.groups
        parts = np.array_split(np.arange(largest), min(BLOCKS_OF_DRAWS, largest // 2))
        return [range(int(part[0]) * self.groups, (int(part[-1]) + 1) * self.groups) for part in parts]


def chosen(estimators: object) -> tuple[Estimator, ...]:
    """Estimators, each once, from estimators or registered names: one, or any iterable of them.

    Raises:
        SpecError: there is none, or something that is no estimator.
    """
    remedy = f"give registered names ({', '.join(ESTIMATORS.names)}) or estimators"
    found = []
    for item in items("estimators", estimators, str | Estimator, remedy):
        if not isinstance(item, str | Estimator):
            raise SpecError("estimators", f"holds {reprlib.repr(item)}, which is none", remedy)
        found.append(build_estimator(item, {}) if isinstance(item, str) else item)
        _require_whole(found[-1])
    try:
        return tuple(dict.fromkeys(found))
    except TypeError:
        raise SpecError("estimators", "holds one that cannot be hashed", "make its class a frozen dataclass") from None


def _require_whole(estimator: Estimator) -> None:
    """See to it that an estimator, which may be a user's own, has what is asked of it here.

    Raises:
        SpecError: it has no name, is no dataclass, or has no term for a network.
        CapabilityError: as for ``Objective``.
    """
    kind = type(estimator).__name__
    if not isinstance(getattr(estimator, "name", None), str):
        raise SpecError("estimators", f"{kind} has no name", f'write name = "{kind.lower()}" into the class')
    if not dataclasses.is_dataclass(estimator):
        raise SpecError("estimators", f"{kind} is no dataclass", "put @dataclass(frozen=True) before the class")
    for network in NETWORKS:
        if network not in [term.network for term in estimator.objective.terms]:
            raise SpecError("estimators", f"{kind} has no term for the {network} network", "give it one")


class Plan(What):
    """A measurement, before any draw: what is asked, of estimators that are at hand.

    Attributes:
        estimators: whose gradients; all see the same noise.
        how: engine and chunk.
        pairs: the (M, K) of the table, where it is not every M with every K.
        pathless: z has no path through the parameters, so that gradients of bounds are had from the scores.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    estimators: Annotated[tuple[Estimator, ...], BeforeValidator(chosen)]
    how: Execution = Execution()
    seed: OneRoot = 0
    pairs: tuple[tuple[int, int], ...] | None = None
    pathless: bool = False

    @classmethod
    def of(cls, spec: MeasureSpec, own: object, how: Execution = Execution()) -> Self:  # noqa: B008 (frozen)
        """The plan of a specification.

        Args:
            spec: what to measure.
            own: what is measured where the specification names none: the run's estimator, or what ``chosen`` takes.
            how: engine and chunk.

        Raises:
            SpecError: it cannot be measured so.
        """
        asked = {name: value for name, value in spec if name in What.model_fields}
        named = [build_estimator(choice.name, choice.options) for choice in spec.estimators]
        estimators = chosen(named or own)
        if "K" not in spec.model_fields_set:
            asked["K"] = nearest_samples(spec.K, estimators)
        return cls(estimators=estimators, how=how, **asked)

    def written(self, data_points: int) -> MeasureFile | None:
        """What asks for the same again; None where no file can.

        That is so of estimators that are not registered, or whose options are no numbers or, being learnt, out of the range
        in which they can be set.
        """
        options = [dataclasses.asdict(estimator) for estimator in self.estimators]  # type: ignore[call-overload]
        if not all(_is_found(estimator, own) for estimator, own in zip(self.estimators, options, strict=True)):
            return None
        named = [Choice(name=e.name, options=own) for e, own in zip(self.estimators, options, strict=True)]
        asked = {name: getattr(self, name) for name in What.model_fields}
        what = MeasureSpec(estimators=tuple(named), data_points=data_points, **asked)
        return MeasureFile(measure=what, execution=self.how)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for K in sorted({K for _, K in self.pairs} if self.pairs else set(self.K)):
            require_samples(filter(None, (*self.estimators, self.lends)), K)
        self._check_size()
        self._check_metrics()
        self._check_combinations()
        return self

    def _check_size(self) -> None:
        """What no machine could hold or finish."""
        rows = len(self.estimators) * (len(self.pairs) if self.pairs else len(self.K) * len(self.M))
        if rows > MOST_ROWS:
            problem = f"{rows:,} settings (estimator, M, K) asked for, and {MOST_ROWS:,} is the most"
            raise SpecError("K", problem, "ask for fewer values of K or M")
        most = max(self.draws, self.draws * max(self.K) // min(self.K) if self.nested else 0)
        require_memory("draws", f"accounts of {most:,} draws", _BYTES_PER_DRAW * most, "ask for fewer draws")

    def _check_metrics(self) -> None:
        """That those asked for are there, and what they are held against too."""
        for name in self.metrics or ():
            if name not in METRICS.names:
                near = hint(name, METRICS.names)
                raise SpecError("metrics", f"unknown metric '{name}'", f"{near}choose from {', '.join(METRICS.names)}")
        targeted = [name for name in self.metrics or () if METRICS.load(name).needs == "target"]
        if targeted and self.bias == "none":
            raise SpecError("bias", f"{targeted[0]} needs a target", "choose bound or log_p")
        if self.metrics is not None and not targeted and self.bias != "none":
            raise SpecError("metrics", "none of them has a target", "add bias_norm, or leave out the bias")

    def _check_combinations(self) -> None:
        """What is right by itself and wrong together."""
        lender = self.lends
        borrowers = {unit.estimator for e in self.estimators for unit in self.units(e, 1, 1)}
        if lender and not any(same_mean(lender, e) for e in borrowers):
            drawn = " drawn directly" if self.direct else ""
            problem = f"{self.mean_from} has not the same mean as {', '.join(e.name for e in self.estimators)}{drawn}"
            to = "iwae; to miwae or piwae without direct" if self.direct else "iwae, miwae or piwae"
            raise SpecError("mean_from", problem, f"lend dreg's to {to}")
        if self.bias == "bound" and all(e.same_bound is None for e in self.estimators):
            raise SpecError("bias", *no_bias(self.estimators))
        if self.bias == "log_p" and self.K_ref < max(self.K):
            problem = f"{self.K_ref} samples cannot stand for log p(x) beside K={max(self.K)}"
            raise SpecError("K_ref", problem, f"give more, say {10 * max(self.K)}")
        if self.samples == "separate" and "all" in (self.blocks or ()):
            problem = "'all' is a block of both networks, and each has samples of its own"
            raise SpecError("blocks", problem, "leave out all, or let them share their samples")
        if self.nested and self.direct:
            raise SpecError("nested", "groups of samples make unit draws, not direct ones", "drop direct or nested")
        if self.nested and any(max(self.K) % k for k in self.K):
            raise SpecError(
                "K", f"with nested, each must divide the largest, got {list(self.K)}", "give e.g. K=[1, 10, 100]"
            )

    def unknown_bias(self) -> list[str]:
        """What has a bias to its own bound's gradient that was asked for and cannot be measured, in sentences."""
        if self.bias != "bound":
            return []
        wrong = [e for e in self.estimators if e.same_bound is None and not all(e.unbiased)]
        return [f"no bias of {e.name}, since {no_bias([e])[0]}" for e in wrong]

    @property
    def wanted(self) -> list[str]:
        """The metrics asked for: by name, or all that take no second pass; and those of the DSNR where it is."""
        families = {name: METRICS.load(name) for name in METRICS.names}
        return [
            name
            for name, family in families.items()
            if (family.needs != "second pass" if self.metrics is None else name in self.metrics)
            or (self.dsnr and family is families["dsnr"])
        ]

    @property
    def grid(self) -> list[tuple[Estimator, int, int]]:
        """Every (estimator, M, K) of the table."""
        pairs = self.pairs or tuple((M, K) for K in self.K for M in self.M)
        return [(estimator, M, K) for estimator in self.estimators for M, K in pairs]

    @property
    def method(self) -> str:
        """How the draws were made, for the tables."""
        parts = ["direct" if self.direct else "units", *(["nested"] if self.nested else [])]
        parts += [f"mean from {self.mean_from}"] if self.mean_from else []
        parts += ["separate samples"] if self.samples == "separate" else []
        return ", ".join([*parts, *(["training mode"] if self.mode == "training" else [])])

    def units(self, estimator: Estimator, M: int, K: int) -> tuple[Units, Units]:
        """The units (inference, generative) that (M, K) averages in this plan."""
        one = Units(estimator, K, 1)
        return (one, one) if self.direct else estimator.units(M, K)

    def job(self, estimator: Estimator, M: int, K: int, noise: NoiseKind = "shared") -> Job:
        """The draws of K-sample units (or, if direct, of (M, K) itself)."""
        groups = max(self.K) // K if self.nested and K in self.K else 1
        return Job(estimator, M if self.direct else 1, K, self.direct, groups, self.draws * groups, noise)

    def jobs(self, estimator: Estimator, M: int, K: int) -> tuple[Job, Job]:
        """The draws behind (M, K), for the inference and the generative network; often the same."""
        phi, theta = self.units(estimator, M, K)
        objective = estimator.objective.with_own_noise() if self.samples == "separate" else estimator.objective
        return (
            self.job(phi.estimator, M, phi.samples, objective.noise_of("inference")),
            self.job(theta.estimator, M, theta.samples, objective.noise_of("generative")),
        )

    def reference(self, job: Job) -> Job | None:
        """The draws whose mean is the gradient of the job's own bound; None where that is the job itself."""
        same = source_of(job.estimator, self.pathless)
        return None if same is None else self.job(same, job.M, job.K, job.noise)

    def target(self) -> Job:
        """The draws that stand for the gradient of log p(x)."""
        return Job(build_estimator("iwae", {}), 1, self.K_ref, self.direct, 1, self.draws)

    def lender(self, job: Job) -> Job | None:
        """The draws that lend their mean to a job, if any."""
        lender = self.lends
        if lender is None or lender == job.estimator or not same_mean(lender, job.estimator):
            return None
        return self.job(lender, job.M, job.K, job.noise)

    @property
    def lends(self) -> Estimator | None:
        """The estimator of ``mean_from``, a name with options maybe: ``jvi dreg=1``.

        Raises:
            SpecError: there is no such estimator, or it has no such options.
        """
        if not self.mean_from:
            return None
        name, _, rest = self.mean_from.partition(" ")
        if name not in ESTIMATORS.names:
            problem = f"unknown estimator '{name}'"
            remedy = f"{hint(name, ESTIMATORS.names)}choose from {', '.join(ESTIMATORS.names)}"
            raise SpecError("mean_from", problem, remedy)
        try:
            given = [part.split("=") for part in rest.split(",") if part.strip()]
            options = {key.strip(): float(value) for key, value in given}
        except ValueError:
            problem = f"'{rest}' is no list of options"
            raise SpecError("mean_from", problem, "write for example 'jvi dreg=1'") from None
        return build_estimator(name, options)


def _is_found(estimator: Estimator, options: dict[str, Any]) -> bool:
    """Whether a name and numbers give an estimator back."""
    if not all(isinstance(value, float | int) for value in options.values()):
        return False
    try:
        return build_estimator(estimator.name, options) == estimator
    except SpecError:
        return False
