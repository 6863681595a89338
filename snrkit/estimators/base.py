"""What an estimator is: terms for its gradient, a bound for its value, and what theory says of it."""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from snrkit.core.logweights import LogWeights
from snrkit.core.objective import Needs, Objective, Term, both
from snrkit.errors import SpecError
from snrkit.estimators import ESTIMATORS
from snrkit.registry import hint

_OPTION = "option"


@dataclasses.dataclass(frozen=True)
class Theory:
    """Asymptotic rates of the SNR near the optimum: SNR ~ M^m K^k.

    Attributes:
        phi: (m, k) of the inference network.
        theta: (m, k) of the generative network.
        unbiased_for: the bounds whose gradients the estimate has as its mean.
        source: paper.
    """

    phi: tuple[float, float]
    theta: tuple[float, float]
    unbiased_for: str
    source: str


@dataclasses.dataclass(frozen=True)
class Units:
    """How an (M, K) estimate of one data point is a mean of independent, identically distributed unit gradients.

    Attributes:
        estimator: whose gradient at M = 1 and K = ``samples`` the unit is.
        samples: importance samples per unit.
        count: units averaged, so that the variance is the unit's divided by ``count``.
    """

    estimator: "Estimator"
    samples: int
    count: int


# How estimators were written in version 0.1.0, and what stands for it.
_FORMER = {
    "surrogate": "define terms(): return objective.both(value), or objective.apart(inference=..., generative=...)",
    "path": "set needs = Needs(path=True)",
    "needs_reparameterised": "set needs = Needs(reparameterised=False)",
    "separate_networks": "set needs = Needs(separate_networks=True)",
    "least_samples": "set needs = Needs(least_samples=2)",
}


@dataclasses.dataclass(frozen=True)
class Option:
    """What an option of an estimator may be.

    Attributes:
        low: the lowest value that may be set.
        high: the highest one.
        learnable: whether it may be learnt, which climbs the estimator's bound (see ``Estimator.slope``) and, unless it is
            bounded, leaves the range.
        whole: whether only whole numbers will do.
        without: values between the two that it may not be, each with what to do instead.
    """

    low: float = -math.inf
    high: float = math.inf
    learnable: bool = False
    whole: bool = False
    without: Mapping[float, str] = dataclasses.field(default_factory=dict)

    def require(self, name: str, value: float) -> None:
        """See to it that a value of the option of that name is in the range.

        Raises:
            SpecError: it is not.
        """
        if self.whole and math.isfinite(value) and value != round(value):
            problem = f"must be a whole number, got {value}"
            raise SpecError(f"estimator.options.{name}", problem, f"give for example {name}={round(value)}")
        if value in self.without:
            raise SpecError(f"estimator.options.{name}", f"must not be {value:g}", self.without[value])
        if self.low <= value <= self.high:
            return
        ends = f"[{self.low:g}, {self.high:g}]"
        example = next((end for end in ((self.low + self.high) / 2, self.low, self.high) if math.isfinite(end)), 1.0)
        problem = f"must lie in {ends}, got {value}"
        raise SpecError(f"estimator.options.{name}", problem, f"give for example {name}={example:g}")


def option(
    default: Any = dataclasses.MISSING,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    learnable: bool = False,
    whole: bool = False,
    without: Mapping[float, str] = MappingProxyType({}),
) -> Any:
    """A field of an estimator with what it may be; a plain one is any number, and cannot be learnt.

    Args:
        default: what it is where it is left out; none: it has to be given.
        low: the lowest value that may be set.
        high: the highest one.
        learnable: whether it may be learnt, which climbs the estimator's bound (see ``Estimator.slope``).
        whole: whether only whole numbers will do.
        without: values between the two that it may not be, each with what to do instead.
    """
    return dataclasses.field(default=default, metadata={_OPTION: Option(low, high, learnable, whole, without)})


class Estimator(ABC):
    """A gradient estimator. Subclasses are frozen dataclasses whose fields are the estimator's own hyperparameters.

    Any of them is set to a number, to one for each stage of the schedule or, where its ``option`` says so, learnt; so one
    that is learnt freely must be right at every real number.

    Attributes:
        name: registered name.
        needs: what must hold for it to be right; a property where that depends on its options.
        reference: an estimator whose mean is the gradient of the same bound; None where it is its own.
        unbiased: whether the mean is that gradient at every K, in the (inference, generative) network.

    Raises:
        SpecError: a subclass is written as those of version 0.1.0 were.
    """

    name: ClassVar[str]
    needs: ClassVar[Needs] = Needs()
    reference: ClassVar[str | None] = None
    unbiased: ClassVar[tuple[bool, bool]] = (True, True)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for former, remedy in _FORMER.items():
            if former in cls.__dict__:
                raise SpecError(f"{cls.__name__}.{former}", "is no part of an estimator any more", remedy)

    @abstractmethod
    def bound(self, log_w: Tensor) -> Tensor:
        """The estimator's own bound, nats: ``[..., B, M, K]`` to ``[..., B]``."""

    def terms(self) -> tuple[Term, ...]:
        """What each network ascends: the estimator's own bound, if not overridden."""
        return both(self.own_bound)

    @property
    def few_samples(self) -> tuple[int, int]:
        """The two smallest numbers K of samples that it works with."""
        return self.needs.least_samples, self.needs.least_samples + 1

    @property
    def same_bound(self) -> "Estimator | None":
        """The ``reference`` with its options: whose mean is the gradient of the same bound; None where it is its own."""
        return None if self.reference is None else build_estimator(self.reference, {})

    def require_samples(self, K: int) -> None:
        """See to it that it works with K samples.

        Raises:
            SpecError: it does not.
        """
        least, _ = self.few_samples
        if least > K:
            problem = f"{self.name} needs at least {least} samples, got {K}"
            raise SpecError("K", problem, "give larger K, or another estimator")

    def own_bound(self, weights: LogWeights) -> Tensor:
        """The bound as a term's value, of weights ``[..., B, M, K]``."""
        return self.bound(weights.log_w)

    @property
    def objective(self) -> Objective:
        """Its terms, with its bound and what they need."""
        return Objective(self.terms(), self.bound, self.needs)

    def units(self, M: int, K: int) -> tuple[Units, Units]:
        """The unit gradients of the (inference, generative) network at (M, K): M of K samples, if not overridden."""
        return outer_units(self, M, K)

    @property
    @abstractmethod
    def theory(self) -> Theory:
        """Rates and source."""

    def slope(self, name: str, log_w: Tensor) -> Tensor:
        """The derivative of the bound in an option, which learning it climbs: ``[..., B, M, K]`` to ``[..., B]``.

        By automatic differentiation; an estimator may give it in closed form.
        """
        with torch.enable_grad():
            at = log_w.new_tensor(getattr(self, name)).requires_grad_()
            bound = with_options(self, {name: at}).bound(log_w)
            # Of each point apart: the derivative in weights of the derivative of their sum, which is linear in them.
            weights = torch.ones_like(bound, requires_grad=True)
            (total,) = torch.autograd.grad(bound, at, weights, create_graph=True)
            (found,) = torch.autograd.grad(total, weights)
        return found

    def describe(self) -> str:
        """The hyperparameters as text, e.g. ``beta=0.5``, to the last digit; empty if there are none."""
        return ", ".join(f"{name}={_exact(value)}" for name, value in option_values(self).items())


def _exact(value: float) -> str:
    """The shortest text that only this number has; ``1`` rather than ``1.0``."""
    return repr(float(value)).removesuffix(".0")


def option_values(estimator: Estimator) -> dict[str, float]:
    """All options of an estimator, as they are."""
    return {field.name: getattr(estimator, field.name) for field in dataclasses.fields(estimator)}  # type: ignore[arg-type]


def with_options(estimator: Estimator, values: Mapping[str, Any]) -> Estimator:
    """The same estimator with some of its options at other values, whatever may be set."""
    found: Estimator = dataclasses.replace(estimator, **values)  # type: ignore[type-var]
    return found


def option_of(kind: type[Estimator], name: str) -> Option:
    """What an option of a kind of estimator may be.

    Raises:
        SpecError: it has no such option.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if name not in fields:
        known = f"{hint(name, fields)}its options are: {', '.join(fields)}" if fields else "it has no options"
        raise SpecError(f"estimator.options.{name}", f"{kind.name} has no such option", known)
    found: Option = fields[name].metadata.get(_OPTION, Option())
    return found


def needed_options(kind: type[Estimator]) -> list[str]:
    """Options of a kind of estimator that have no default."""
    return [field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING]  # type: ignore[arg-type]


def outer_units(estimator: Estimator, M: int, K: int) -> tuple[Units, Units]:
    """Units of an estimate that averages M independent K-sample gradients of ``estimator`` in both networks."""
    return Units(estimator, K, M), Units(estimator, K, M)


def build_estimator(name: str, options: Mapping[str, float]) -> Estimator:
    """An estimator by name.

    Args:
        name: registered name.
        options: its hyperparameters, e.g. ``{"beta": 0.5}`` for ciwae.

    Raises:
        SpecError: unknown name or option, an option missing, or a value out of range.
    """
    kind = ESTIMATORS.load(name)
    known = {option: option_of(kind, option) for option in options}
    missing = [option for option in needed_options(kind) if option not in options]
    if missing:
        needs = f"estimator.options.{missing[0]}"
        raise SpecError(needs, f"{name} needs it", f"give `{needs}=VALUE`")
    for option, value in options.items():
        known[option].require(option, value)
    estimator: Estimator = kind(**options)
    return estimator


def require_samples(estimators: Iterable[Estimator], K: int) -> None:
    """See to it that each estimator works with K importance samples.

    Raises:
        SpecError: one does not.
    """
    for estimator in estimators:
        estimator.require_samples(K)
