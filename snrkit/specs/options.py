"""What an option of an estimator is over the steps of a run: a number, one for each stage, learnt, or annealed."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from snrkit.errors import SpecError
from snrkit.specs.base import Positive, Spec


class LearntOption(Spec):
    """An option of an estimator that is learnt: it climbs the estimator's bound by an Adam of its own, step by step.

    Attributes:
        learn: ``free``: an unconstrained number; ``bounded``: the same through a sigmoid, so that it stays within the
            option's range.
        start: where it begins; left out: at the option's default.
        lr: learning rate of its own Adam at first; it follows the schedule of the networks'.
    """

    learn: Literal["free", "bounded"]
    start: float | None = None
    lr: Annotated[float, Field(gt=0)] = 1e-3


class AnnealedOption(Spec):
    """An option of an estimator that goes from one value to another while training, and stays there.

    Attributes:
        anneal: ``linear``: in a straight line; ``logistic``: along an S, steepest half way.
        start: its value at the first step.
        stop: its value from step ``until`` on.
        until: in optimiser steps, counted from 0.
        until_epochs: the same in epochs, instead; a run's ``config.toml`` has the steps that they come to.
    """

    anneal: Literal["linear", "logistic"]
    start: float = 0.0
    stop: float = 1.0
    until: Positive | None = None
    until_epochs: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if (self.until is None) == (self.until_epochs is None):
            said = "both until and until_epochs say" if self.until else "neither until nor until_epochs says"
            remedy = "give one, for example until=2000 (steps) or until_epochs=5"
            raise SpecError("estimator.options", f"{said} when an annealed option has reached its stop", remedy)
        return self


_OF_ANNEALED = {"anneal", "stop", "until", "until_epochs"}


def _form(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "(stages)"
    if isinstance(value, AnnealedOption) or (isinstance(value, Mapping) and _OF_ANNEALED & value.keys()):
        return "(annealed)"
    return "(learnt)" if isinstance(value, Mapping | LearntOption) else "(number)"


# One value; one for each stage of the ``burda`` schedule, the last for all that follow; learnt; or a function of the step.
Option = Annotated[
    Annotated[float, Tag("(number)")]
    | Annotated[list[float], Field(min_length=1), Tag("(stages)")]
    | Annotated[LearntOption, Tag("(learnt)")]
    | Annotated[AnnealedOption, Tag("(annealed)")],
    Discriminator(_form),
]
