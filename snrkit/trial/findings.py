"""What a trial found of a model."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from snrkit.specs.base import Mode

_MANY = 4


@dataclass(frozen=True)
class Findings:
    """What a model is, in one mode, on one batch of data.

    Attributes:
        mode: the mode under trial.
        checked_in: the type in which values were compared: ``float64``, or the model's own where it fixes its type.
        draws: global generators that the model draws from, with an effect on its values.
        changes: state that changes from call to call, though the values are the same.
        independent: log-weights of a data point do not depend on the others; None: there was one point.
        exchangeable: the log-weight of a sample does not depend on the other samples.
        reparameterised: z is differentiable in the parameters, rightly; None: nothing of the proposal is trained, or it
            could not be tried.
        why_not: what is wrong with z, or why it could not be tried; empty if neither.
        shared: parameters that both ``encode`` and ``log_joint`` depend on.
        shared_inference: those of them that count to the inference network, or may.
        lacks: the parts of log-weights (see ``core.logweights.Parts``) that the model does not offer, and why.
        fixed_support: the proposal's support does not depend on parameters.
        detached: what is wrong with the proposal's density with detached parameters; empty if nothing is.
        global_proposal: the proposal does not depend on the data at all.
        minus_inf: share of the trial's log-weights that are -inf.
        mode_matters: kinds of modules that make the model differ between evaluation and training mode.
        idle: no parameter that is trained has an effect on the log-weights.
        remarks: what the user should know, in sentences.
    """

    mode: Mode
    checked_in: str
    draws: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    independent: bool | None = True
    exchangeable: bool = True
    reparameterised: bool | None = True
    why_not: str = ""
    shared: tuple[str, ...] = ()
    shared_inference: tuple[str, ...] = ()
    lacks: Mapping[str, str] = field(default_factory=dict)
    fixed_support: bool = True
    detached: str = ""
    global_proposal: bool = False
    minus_inf: float = 0.0
    mode_matters: tuple[str, ...] = ()
    idle: bool = False
    remarks: tuple[str, ...] = field(default=())

    @property
    def whole(self) -> bool:
        """Whether a draw is made by itself, from the same state, and with seeded generators."""
        return bool(self.draws or self.changes)

    @property
    def direct(self) -> bool:
        """Whether only the whole minibatch can be drawn, since units of single points would not be independent."""
        return self.independent is False or bool(self.draws)


def listed(names: tuple[str, ...]) -> str:
    """The first few names."""
    more = f" and {len(names) - _MANY} more" if len(names) > _MANY else ""
    return ", ".join(f"'{name}'" for name in names[:_MANY]) + more
