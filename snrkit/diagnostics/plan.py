"""What to measure, checked; and the sets of draws that it takes."""

import itertools
import operator
import reprlib
from collections.abc import Iterable, Mapping, Set, Sized
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
import torch

from snrkit.backend.memory import require_memory
from snrkit.errors import SpecError
from snrkit.estimators import ESTIMATORS
from snrkit.estimators.base import Estimator, Units, build_estimator
from snrkit.models.state import Mode
from snrkit.registry import hint

MINIMUM_DRAWS = 4
BLOCKS_OF_DRAWS = 20
# Settings (estimator, M, K) of one table, which has some tens of rows for each.
MOST_ROWS = 100_000
LARGEST = 2**63 - 1
# Their numbers, and what is read of each by itself.
_BYTES_PER_DRAW = 16

Target = Literal["none", "bound", "log_p"]


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
    """

    estimator: Estimator
    M: int
    K: int
    direct: bool
    groups: int
    draws: int

    @property
    def samples(self) -> int:
        """Importance samples per data point over all draws, a measure of cost."""
        return self.draws * self.M * self.K

    def blocks(self) -> list[range]:
        """The draws in G = 20 blocks (fewer if there are fewer than 40), the same fractions for every job of a plan."""
        largest = self.draws // self.groups
        parts = np.array_split(np.arange(largest), min(BLOCKS_OF_DRAWS, largest // 2))
        return [range(int(part[0]) * self.groups, (int(part[-1]) + 1) * self.groups) for part in parts]


@dataclass(frozen=True)
class Plan:
    """A measurement, before any draw.

    Attributes:
        estimators: whose gradients; all see the same noise.
        K: importance samples, each at least 1.
        M: outer samples, each at least 1.
        draws: gradient draws R at the largest K (and at every K unless ``nested``), at least 4.
        seed: root of the noise.
        engine: registered name.
        direct: draw the minibatch gradient at each (M, K) itself instead of using the algebra of units.
        nested: the samples of the largest K, in disjoint groups, serve the smaller K, which then have more draws.
        chunk: draws in one pass; None lets shapes decide.
        blocks: of the rows; None: every one.
        bias: target of the bias: ``none``; ``bound``, the gradient of the estimator's own bound; ``log_p``, that of
            log p(x) in the generative network, exact where the model has ``log_marginal``, else estimated at ``K_ref``.
        K_ref: importance samples of the estimated ``log_p`` target.
        mean_from: take E[g] from draws of this estimator (of lower variance) wherever it has the same mean.
        dsnr: also measure the DSNR, which takes a second pass over the draws.
        keep: coordinates whose draws are kept: ``largest`` (|mean|), ``median`` (SNR) of each network, or
            ``tensor[index]``.
        pairs: the (M, K) of the table, where it is not every M with every K.
        mode: of the model's modules: ``evaluation``, or ``training``, in which dropout and batch normalisation do what they
            do in an optimiser's step.
    """

    estimators: tuple[Estimator, ...]
    K: tuple[int, ...]
    M: tuple[int, ...] = (1,)
    draws: int = 1000
    seed: int = 0
    engine: str = "factors"
    direct: bool = False
    nested: bool = False
    chunk: int | None = None
    blocks: tuple[str, ...] | None = None
    bias: Target = "none"
    K_ref: int = 5000
    mean_from: str | None = None
    dsnr: bool = False
    keep: tuple[str, ...] = ()
    pairs: tuple[tuple[int, int], ...] | None = None
    mode: Mode = "evaluation"

    def __post_init__(self) -> None:
        object.__setattr__(self, "estimators", chosen(self.estimators))
        for name in ("K", "M"):
            object.__setattr__(self, name, counts(name, getattr(self, name)))
        for name in ("direct", "nested", "dsnr"):
            object.__setattr__(self, name, _flag(name, getattr(self, name)))
        object.__setattr__(self, "blocks", None if self.blocks is None else names("blocks", self.blocks))
        object.__setattr__(self, "keep", names("keep", self.keep) if not _is_empty(self.keep) else ())
        for name, least, remedy in (
            ("draws", MINIMUM_DRAWS, "1000 is a good start"),
            ("seed", 0, "give for example seed=0"),
            ("K_ref", 1, "5000 is a good start"),
            ("chunk", 1, "leave it out to let shapes decide"),
        ):
            value = getattr(self, name)
            if name != "chunk" or value is not None:
                object.__setattr__(self, name, _integer(name, value, least, remedy))
        if not isinstance(self.bias, str) or self.bias not in ("none", "bound", "log_p"):
            raise SpecError("bias", f"no target {reprlib.repr(self.bias)}", "choose none, bound or log_p")
        require_mode(self.mode)
        for estimator in self.estimators:
            if min(self.K) < estimator.least_samples:
                problem = f"{estimator.name} needs at least {estimator.least_samples} samples, got {min(self.K)}"
                raise SpecError("K", problem, "give larger K, or another estimator")
        self._check_size()
        self._check_combinations()

    def _check_size(self) -> None:
        """What no machine could hold or finish."""
        rows = len(self.estimators) * (len(self.pairs) if self.pairs else len(self.K) * len(self.M))
        if rows > MOST_ROWS:
            problem = f"{rows:,} settings (estimator, M, K) asked for, and {MOST_ROWS:,} is the most"
            raise SpecError("K", problem, "ask for fewer values of K or M")
        most = max(self.draws, self.draws * max(self.K) // min(self.K) if self.nested else 0)
        require_memory("draws", f"accounts of {most:,} draws", _BYTES_PER_DRAW * most, "ask for fewer draws")

    def _check_combinations(self) -> None:
        """What is right by itself and wrong together."""
        if self.mean_from and self.mean_from not in ESTIMATORS.names:
            near = hint(self.mean_from, ESTIMATORS.names)
            problem, remedy = (
                f"unknown estimator '{self.mean_from}'",
                f"{near}choose from {', '.join(ESTIMATORS.names)}",
            )
            raise SpecError("mean_from", problem, remedy)
        borrowers = {unit.estimator for e in self.estimators for unit in self.units(e, 1, 1)}
        if self.mean_from and not any(_same_mean(build_estimator(self.mean_from, {}), e) for e in borrowers):
            drawn = " drawn directly" if self.direct else ""
            problem = f"{self.mean_from} has not the same mean as {', '.join(e.name for e in self.estimators)}{drawn}"
            to = "iwae; to miwae or piwae without direct" if self.direct else "iwae, miwae or piwae"
            raise SpecError("mean_from", problem, f"lend dreg's to {to}")
        if self.bias == "bound" and all(e.reference is None for e in self.estimators):
            problem = (
                f"{', '.join(e.name for e in self.estimators)} has by definition no bias to its own bound's gradient"
            )
            raise SpecError("bias", problem, "add an estimator with another path, such as dreg or stl")
        if self.bias == "log_p" and self.K_ref < max(self.K):
            problem = f"{self.K_ref} samples cannot stand for log p(x) beside K={max(self.K)}"
            raise SpecError("K_ref", problem, f"give more, say {10 * max(self.K)}")
        if self.nested and self.direct:
            raise SpecError("nested", "groups of samples make unit draws, not direct ones", "drop direct or nested")
        if self.nested and any(max(self.K) % k for k in self.K):
            raise SpecError(
                "K", f"with nested, each must divide the largest, got {list(self.K)}", "give e.g. K=[1, 10, 100]"
            )

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
        return ", ".join([*parts, *(["training mode"] if self.mode == "training" else [])])

    def units(self, estimator: Estimator, M: int, K: int) -> tuple[Units, Units]:
        """The units (inference, generative) that (M, K) averages in this plan."""
        one = Units(estimator, K, 1)
        return (one, one) if self.direct else estimator.units(M, K)

    def job(self, estimator: Estimator, M: int, K: int) -> Job:
        """The draws of K-sample units (or, if direct, of (M, K) itself)."""
        groups = max(self.K) // K if self.nested and K in self.K else 1
        return Job(estimator, M if self.direct else 1, K, self.direct, groups, self.draws * groups)

    def jobs(self, estimator: Estimator, M: int, K: int) -> tuple[Job, Job]:
        """The draws behind (M, K), for the inference and the generative network; often the same."""
        phi, theta = self.units(estimator, M, K)
        return self.job(phi.estimator, M, phi.samples), self.job(theta.estimator, M, theta.samples)

    def reference(self, job: Job) -> Job | None:
        """The draws whose mean is the gradient of the job's own bound; None where that is the job itself."""
        name = job.estimator.reference
        return None if name is None else self.job(build_estimator(name, {}), job.M, job.K)

    def target(self) -> Job:
        """The draws that stand for the gradient of log p(x)."""
        return Job(build_estimator("iwae", {}), 1, self.K_ref, self.direct, 1, self.draws)

    def lender(self, job: Job) -> Job | None:
        """The draws that lend their mean to a job, if any."""
        if self.mean_from is None or self.mean_from == job.estimator.name:
            return None
        lender = build_estimator(self.mean_from, {})
        return self.job(lender, job.M, job.K) if _same_mean(lender, job.estimator) else None


def require_mode(mode: str) -> None:
    """See to it that a mode is one of the two.

    Raises:
        SpecError: it is not.
    """
    if mode not in get_args(Mode):
        raise SpecError("mode", f"no mode '{mode}'", f"choose {' or '.join(get_args(Mode))}")


def chosen(estimators: object) -> tuple[Estimator, ...]:
    """Estimators, each once, from estimators or registered names: one, or any iterable of them.

    Raises:
        SpecError: there is none, or something that is no estimator.
    """
    remedy = f"give registered names ({', '.join(ESTIMATORS.names)}) or estimators"
    found = []
    for item in _items("estimators", estimators, str | Estimator, remedy):
        if not isinstance(item, str | Estimator):
            raise SpecError("estimators", f"holds {reprlib.repr(item)}, which is none", remedy)
        found.append(build_estimator(item, {}) if isinstance(item, str) else item)
    try:
        return tuple(dict.fromkeys(found))
    except TypeError:
        raise SpecError("estimators", "holds one that cannot be hashed", "make its class a frozen dataclass") from None


def counts(name: str, values: object) -> tuple[int, ...]:
    """Numbers of samples as plain integers, each once: from one number, or any iterable of them.

    Raises:
        SpecError: there is none, or one that is no integer of at least 1.
    """
    remedy = f"give e.g. {name}=[10]"
    found = [_integer(name, value, 1, remedy) for value in _items(name, values, Real | np.generic, remedy)]
    return tuple(dict.fromkeys(found))


def names(argument: str, values: object) -> tuple[str, ...]:
    """Names, each once: from one name, or any iterable of them.

    Raises:
        SpecError: there is none, or something that is no text.
    """
    remedy = "give names in a list, or leave it out"
    found = _items(argument, values, str, remedy)
    for value in found:
        if not isinstance(value, str) or not value:
            raise SpecError(argument, f"must be names, got {reprlib.repr(value)}", remedy)
    return tuple(dict.fromkeys(found))


def _items(argument: str, values: object, single: Any, remedy: str) -> list[Any]:
    """What an argument holds: itself if it is a single one, else its items in order; those of a set, which has none, sorted.

    Raises:
        SpecError: it holds nothing, or is nothing that holds items.
    """
    if isinstance(values, single):
        return [values]
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping):
        raise SpecError(argument, f"cannot be {reprlib.repr(values)}", remedy)
    try:
        found = list(itertools.islice(values, MOST_ROWS + 1))
    except TypeError:  # an array without axes
        found = [values]
    if isinstance(values, Set) and all(isinstance(value, str | int) for value in found):
        # A set of texts has another order in every process.
        found.sort(key=lambda value: (isinstance(value, str), value))
    if not found:
        raise SpecError(argument, "is empty", remedy)
    return found


def _is_empty(values: object) -> bool:
    return isinstance(values, Sized) and len(values) == 0


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise SpecError(name, f"must be True or False, got {reprlib.repr(value)}", "leave it out for False")
    return bool(value)


def _integer(name: str, value: object, least: int, remedy: str) -> int:
    """A plain integer; floats that are whole numbers, such as 1e3, pass, and so do numpy's and torch's integers.

    Raises:
        SpecError: it is none, or out of range.
    """
    number = _whole(value)
    if number is None or not least <= number <= LARGEST:
        bounds = f"an integer of at least {least}" + (" and less than 2^63" if number and number > LARGEST else "")
        raise SpecError(name, f"must be {bounds}, got {reprlib.repr(value)}", remedy)
    return number


def _whole(value: Any) -> int | None:
    """What is a whole number, as an integer; None for all else."""
    if isinstance(value, bool | np.bool_) or getattr(value, "dtype", None) is torch.bool:
        return None
    if isinstance(value, float | np.floating):
        return int(value) if float(value).is_integer() else None
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def _same_mean(one: Estimator, other: Estimator) -> bool:
    return all((*one.unbiased, *other.unbiased)) and (one.reference or one.name) == (other.reference or other.name)
