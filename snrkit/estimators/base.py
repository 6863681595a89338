"""What an estimator is: a surrogate for its gradient, a bound for its value, and what theory says of it."""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from snrkit.core.logweights import LogWeights
from snrkit.errors import SpecError
from snrkit.estimators import ESTIMATORS
from snrkit.registry import hint

_OPTION = "option"


class Surrogate:
    """Two sums whose gradients are the estimate: one for theta, one for phi. Their values mean nothing.

    It offers no number to log, plot or store; a bound is what to report.

    Args:
        theta: per data point, ``[..., B]``; differentiated with respect to the generative network's parameters.
        phi: per data point, ``[..., B]``; differentiated with respect to the inference network's. The same tensor where
            one serves both.
    """

    __slots__ = ("_phi", "_theta")

    def __init__(self, theta: Tensor, phi: Tensor) -> None:
        self._theta = theta
        self._phi = phi

    @property
    def shared(self) -> bool:
        """Whether one backward pass serves both networks."""
        return self._theta is self._phi

    def mean_over_points(self) -> tuple[Tensor, Tensor]:
        """(theta, phi) as scalars to differentiate: the mean over data points, the ascent direction of a minibatch."""
        theta = self._theta.mean()
        return theta, theta if self.shared else self._phi.mean()


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


@dataclasses.dataclass(frozen=True)
class Option:
    """What an option of an estimator may be.

    Attributes:
        low: the lowest value that may be set.
        high: the highest one.
        learnable: whether it may be learnt, which climbs the estimator's bound (see ``Estimator.slope``) and, unless it is
            bounded, leaves the range.
    """

    low: float = -math.inf
    high: float = math.inf
    learnable: bool = False

    def require(self, name: str, value: float) -> None:
        """See to it that a value of the option of that name is in the range.

        Raises:
            SpecError: it is not.
        """
        if self.low <= value <= self.high:
            return
        ends = f"[{self.low:g}, {self.high:g}]"
        example = next((end for end in ((self.low + self.high) / 2, self.low, self.high) if math.isfinite(end)), 1.0)
        problem = f"must lie in {ends}, got {value}"
        raise SpecError(f"estimator.options.{name}", problem, f"give for example {name}={example:g}")


def option(
    default: Any = dataclasses.MISSING, *, low: float = -math.inf, high: float = math.inf, learnable: bool = False
) -> Any:
    """A field of an estimator with what it may be (see ``Option``); a plain one is any number, and cannot be learnt."""
    return dataclasses.field(default=default, metadata={_OPTION: Option(low, high, learnable)})


class Estimator(ABC):
    """A gradient estimator. Subclasses are frozen dataclasses whose fields are the estimator's own hyperparameters.

    Any of them is set to a number, to one for each stage of the schedule or, where its ``option`` says so, learnt; so one
    that is learnt freely must be right at every real number.

    Attributes:
        name: registered name.
        path: whether it needs the proposal's density with detached parameters.
        reference: an estimator whose mean is the gradient of the same bound; None where it is its own.
        unbiased: whether the mean is that gradient at every K, in the (inference, generative) network.
        needs_reparameterised: whether it differentiates through z, which must then be a differentiable function of the
            proposal's parameters.
        separate_networks: whether it is wrong where a parameter is in both networks.
        least_samples: the smallest K that it is defined for.
    """

    name: ClassVar[str]
    path: ClassVar[bool] = False
    reference: ClassVar[str | None] = None
    unbiased: ClassVar[tuple[bool, bool]] = (True, True)
    needs_reparameterised: ClassVar[bool] = True
    separate_networks: ClassVar[bool] = False
    least_samples: ClassVar[int] = 1

    @abstractmethod
    def surrogate(self, weights: LogWeights) -> Surrogate:
        """The pair to differentiate, from weights ``[..., B, M, K]``."""

    @abstractmethod
    def bound(self, log_w: Tensor) -> Tensor:
        """The estimator's own bound, nats: ``[..., B, M, K]`` to ``[..., B]``."""

    @abstractmethod
    def units(self, M: int, K: int) -> tuple[Units, Units]:
        """The unit gradients of the (inference, generative) network at (M, K)."""

    @property
    @abstractmethod
    def theory(self) -> Theory:
        """Rates and source."""

    def slope(self, name: str, log_w: Tensor) -> Tensor:
        """The derivative of the bound in an option, which learning it climbs: ``[..., B, M, K]`` to ``[..., B]``.

        By automatic differentiation; an estimator may give it in closed form.
        """
        at = log_w.new_tensor(getattr(self, name))

        def bound(value: Tensor) -> Tensor:
            return with_options(self, {name: value}).bound(log_w)

        found: Tensor = torch.func.jvp(bound, (at,), (torch.ones_like(at),))[1]
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
    needed = [field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING]
    missing = [option for option in needed if option not in options]
    if missing:
        raise SpecError(f"estimator.options.{missing[0]}", f"{name} needs it", f"give --option {missing[0]}=VALUE")
    for option, value in options.items():
        known[option].require(option, value)
    estimator: Estimator = kind(**options)
    return estimator


def gradients(
    estimator: Estimator,
    weights: LogWeights,
    generative: list[Tensor],
    inference: list[Tensor],
) -> tuple[list[Tensor], list[Tensor]]:
    """The estimate for both networks, mean over data points, by one backward pass or two.

    Args:
        estimator: the estimator.
        weights: log-weights ``[B, M, K]`` with their graph.
        generative: parameters of the generative network.
        inference: parameters of the inference network.

    Returns:
        Gradients (ascent directions) of the generative and of the inference parameters; zeros where a parameter was not
        reached.
    """
    return surrogate_gradients([estimator.surrogate(weights)], generative, inference)


def surrogate_gradients(
    surrogates: Sequence[Surrogate], generative: list[Tensor], inference: list[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """The gradients of a sum of surrogates, each a mean over data points, by one backward pass or two.

    Args:
        surrogates: with their graphs; those of several runs may be given together, since runs share no parameter.
        generative: parameters of the generative network.
        inference: parameters of the inference network.

    Returns:
        As ``gradients``.
    """
    pairs = [surrogate.mean_over_points() for surrogate in surrogates]
    theta, phi = (torch.stack(part).sum() for part in zip(*pairs, strict=True))
    if all(surrogate.shared for surrogate in surrogates):
        found = _grad(theta, [*generative, *inference])
        return found[: len(generative)], found[len(generative) :]
    return _grad(theta, generative, retain=True), _grad(phi, inference)


def _grad(value: Tensor, parameters: list[Tensor], retain: bool = False) -> list[Tensor]:
    if not parameters:
        return []
    return list(torch.autograd.grad(value, parameters, retain_graph=retain, materialize_grads=True))
