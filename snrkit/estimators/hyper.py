"""The options of an estimator in training: each a number, one for each stage of the schedule, annealed, or learnt.

A learnt option climbs the estimator's own bound, by an Adam of its own, before the networks and on other noise than theirs.
Of the beta of ``ciwae`` the slope of the bound is ELBO - (K-sample bound), which by Jensen's inequality is not positive for
any set of samples: such an option can only fall. Adam makes of a slope of one sign a step of about its learning rate,
whatever the slope's size. So an unconstrained beta passes 0 after some beta/lr steps and goes on; a bounded one tends to 0,
which is IWAE.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from snrkit.errors import CheckpointError, SpecError
from snrkit.estimators.base import Estimator, Option, build_estimator, option_of, option_values, with_options
from snrkit.specs.options import AnnealedOption, LearntOption
from snrkit.specs.run import RunSpec
from snrkit.specs.schedule import annealed, stage_of

# Of log-weights ``[n, M, K]`` what is wanted of each point, ``[n]``.
Value = Callable[[Tensor], Tensor]
# What a line of metrics.jsonl says under these names is something else; a test compares.
_TAKEN = frozenset({"epoch", "step", "bound", "lr", "seconds", "images_per_second", "test_iwae64", "rounded_at"})


@dataclass(frozen=True)
class Context:
    """The coming step, as the options see it.

    Attributes:
        epoch: that it belongs to, counted from 0.
        step: its number, counted from 0.
        scale: the networks' learning rate over their first one.
        mean: the mean over the minibatch's points of what log-weights give, a scalar, on noise of the options' own.
    """

    epoch: int
    step: int
    scale: float
    mean: Callable[[Value], Tensor]


class Learnt:
    """A value that climbs the bound.

    Args:
        name: of the option.
        spec: how it is learnt.
        start: where it begins.
        option: what it may be.

    Raises:
        SpecError: a bounded one is to begin at an end of its range, where a sigmoid cannot be, or has no two ends.
    """

    def __init__(self, name: str, spec: LearntOption, start: float, option: Option) -> None:
        self._name, self._spec, self._option = name, spec, option
        raw, argument = start, f"estimator.options.{name}"
        if spec.learn == "bounded":
            if not math.isfinite(option.high - option.low):
                raise SpecError(argument, "has no two ends to be bounded by", "set its learn to free")
            share = (start - option.low) / (option.high - option.low)
            if not 0 < share < 1:
                middle = (option.low + option.high) / 2
                raise SpecError(argument, f"a bounded {name} cannot begin at {start:g}", f"give e.g. {name}={middle:g}")
            raw = math.log(share / (1 - share))
        self._raw = torch.tensor(raw, dtype=torch.float64)
        self._adam = torch.optim.Adam([self._raw], lr=spec.lr)

    @property
    def value(self) -> float:
        """As it is."""
        if self._spec.learn == "free":
            return float(self._raw)
        return self._option.low + (self._option.high - self._option.low) * self._share()

    def _share(self) -> float:
        return float(torch.sigmoid(self._raw))

    def step(self, context: Context, slope: Value) -> None:
        """One step up ``slope``, that of the bound in the option."""
        chain = 1.0
        if self._spec.learn == "bounded":
            chain = self._share() * (1 - self._share()) * (self._option.high - self._option.low)
        # Adam descends.
        self._raw.grad = -chain * context.mean(slope).double().cpu()
        self._adam.param_groups[0]["lr"] = self._spec.lr * context.scale
        self._adam.step()

    def state(self) -> dict[str, Tensor]:
        """The number behind the option, and Adam's state of it."""
        return {"raw": self._raw.clone(), **self._adam.state[self._raw]}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from such a state.

        Raises:
            CheckpointError: it holds no value.
        """
        try:
            self._raw.copy_(state["raw"])
        except KeyError:
            problem = f"holds no learnt {self._name}"
            raise CheckpointError("checkpoint", problem, "train anew with another `out`") from None
        self._adam.state[self._raw] = {name: value.clone() for name, value in state.items() if name != "raw"}


class Hyper:
    """An estimator whose options are as a run's spec says.

    Args:
        spec: of the run.

    Attributes:
        changes: whether the estimator is not the same from the first step to the last.

    Raises:
        SpecError: no such estimator or option, or one that cannot be what it is to be.
    """

    def __init__(self, spec: RunSpec) -> None:
        own = spec.estimator
        first = {name: value[0] for name, value in own.options.items() if isinstance(value, list)}
        self._first = build_estimator(own.name, own.numbers() | first)
        # A fixed option is one of a single stage.
        self._stages: dict[str, list[float]] = {}
        self._learnt: dict[str, Learnt] = {}
        self._annealed: dict[str, AnnealedOption] = {}
        for name, given in own.options.items():
            if isinstance(given, LearntOption):
                self._learnt[name] = _learnt(self._first, name, given)
            elif isinstance(given, AnnealedOption):
                self._annealed[name] = _annealed(self._first, name, given)
            else:
                self._stages[name] = _stages(spec, self._first, name, given)
        self.changes = own.changes
        taken = sorted(_TAKEN.intersection(option_values(self._first)))
        if taken:
            problem = f"has the name of what metrics.jsonl says of an epoch: {', '.join(sorted(_TAKEN))}"
            raise SpecError(f"estimator.options.{taken[0]}", problem, f"give the option of {own.name} another name")

    def step(self, context: Context) -> Estimator:
        """Move every option on; then the estimator for the coming step."""
        before = self.present(context.epoch, context.step)
        for name, rule in self._learnt.items():
            rule.step(context, partial(before.slope, name))
        return self.present(context.epoch, context.step)

    def present(self, epoch: int, step: int = 0) -> Estimator:
        """The estimator of a step, made last or to be made next, in a begun epoch; both counted from 0."""
        return with_options(self._first, self.values(epoch, step)) if self.changes else self._first

    def values(self, epoch: int, step: int) -> dict[str, float]:
        """The options that the spec names, at such a step."""
        stage = stage_of(epoch)
        staged = {name: values[min(stage, len(values) - 1)] for name, values in self._stages.items()}
        moved = {name: annealed(option, step) for name, option in self._annealed.items()}
        return staged | moved | {name: rule.value for name, rule in self._learnt.items()}

    def kinds(self) -> list[Estimator]:
        """The estimator with each option at each of its values, and between the two of one that is annealed."""
        found = {self._first: None}
        for name, values in self._stages.items():
            found |= dict.fromkeys(with_options(self._first, {name: value}) for value in values)
        for name, option in self._annealed.items():
            places = (option.start, (option.start + option.stop) / 2, option.stop)
            found |= dict.fromkeys(with_options(self._first, {name: value}) for value in places)
        return list(found)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """What a resumed run needs: of the options that are learnt, for the epoch says all of the others."""
        return {name: rule.state() for name, rule in self._learnt.items()}

    def restore(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Go on from such a state.

        Raises:
            CheckpointError: it lacks an option that is learnt.
        """
        for name, rule in self._learnt.items():
            rule.restore(state.get(name, {}))


def _learnt(estimator: Estimator, name: str, given: LearntOption) -> Learnt:
    option = option_of(type(estimator), name)
    if not option.learnable:
        problem = f"{estimator.name} cannot have it learnt"
        raise SpecError(f"estimator.options.{name}", problem, "give a number, or one for each stage")
    return Learnt(name, given, getattr(estimator, name), option)


def _annealed(estimator: Estimator, name: str, given: AnnealedOption) -> AnnealedOption:
    option = option_of(type(estimator), name)
    for end in (given.start, given.stop):
        option.require(name, end)
    if option.whole:
        problem = "takes whole numbers alone, and cannot be annealed"
        raise SpecError(f"estimator.options.{name}", problem, "give a number, or one for each stage")
    return given


def _stages(spec: RunSpec, estimator: Estimator, name: str, given: float | list[float]) -> list[float]:
    if not isinstance(given, list):
        return [given]
    for value in given:
        option_of(type(estimator), name).require(name, value)
    if spec.optimiser.schedule != "burda":
        problem = "the constant schedule has no stages"
        raise SpecError(f"estimator.options.{name}", problem, "set optimiser.schedule=burda")
    return given


def require_same_past(old: RunSpec, new: RunSpec, begun: int) -> None:
    """See to it that options with a value for each stage had the same in the first ``begun`` epochs of two specs.

    Raises:
        SpecError: they had not.
    """
    if old.estimator.name != new.estimator.name:
        return  # which is for others to tell
    was, now = Hyper(old), Hyper(new)
    for name in staged(old) | staged(new):
        for epoch in range(begun):
            values = [getattr(hyper.present(epoch), name) for hyper in (was, now)]
            if values[0] != values[1]:
                problem = f"stage {stage_of(epoch)} was begun with {values[0]}, not {values[1]}"
                raise SpecError(f"estimator.options.{name}", problem, "change only stages that have not begun")


def staged(spec: RunSpec) -> set[str]:
    """The options with a value for each stage."""
    return {name for name, value in spec.estimator.options.items() if isinstance(value, list)}
