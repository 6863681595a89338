"""What a trial found of a model, and the table of it."""

from dataclasses import dataclass, field

import pandas as pd

from snrkit.specs.base import Mode

_COLUMNS = ("question", "finding", "what follows")
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

    def table(self) -> pd.DataFrame:
        """One row per question: what was found, and what follows from it."""
        rows = [
            self._pure(), self._state(), self._points(), self._samples(), self._path(), self._networks(), self._support(),
            self._weights(), self._mode(),
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=list(_COLUMNS))

    def _pure(self) -> tuple[str, str, str]:
        question = "Is it a function of parameters, data and noise alone?"
        if not self.draws:
            return question, f"yes (compared in {self.checked_in})", ""
        return (
            question,
            f"it draws from the generators of {', '.join(self.draws)}",
            "seeded per draw; direct, by the loop",
        )

    def _state(self) -> tuple[str, str, str]:
        question = "Does its state change from call to call?"
        if not self.changes:
            return question, "no", ""
        return (
            question,
            f"yes, without effect on its values: {listed(self.changes)}",
            "put back before each draw; by the loop",
        )

    def _points(self) -> tuple[str, str, str]:
        question = "Are data points independent?"
        if self.independent is None:
            return question, "not asked: one data point", ""
        return question, "yes" if self.independent else "no", "" if self.independent else "drawn directly"

    def _samples(self) -> tuple[str, str, str]:
        found = "yes" if self.exchangeable else "no"
        return "Are samples independent?", found, "" if self.exchangeable else "M > 1 drawn directly; never in portions"

    def _path(self) -> tuple[str, str, str]:
        question = "Is z reparameterised?"
        if self.reparameterised is None:
            return question, self.why_not or "nothing of the proposal is trained", ""
        follows = "" if self.reparameterised else "estimators that need a path through z are refused"
        return question, "yes" if self.reparameterised else f"no: {self.why_not}", follows

    def _networks(self) -> tuple[str, str, str]:
        question = "Do both networks have parameters of their own?"
        if self.idle:
            return question, "no: the log-weights depend on no trained parameter", "there is nothing to measure"
        if not self.shared:
            return question, "yes", ""
        return question, f"no, both use {listed(self.shared)}", "dreg and stl are refused"

    def _support(self) -> tuple[str, str, str]:
        question = "Can the density be held fixed while z moves?"
        wrong = self.detached or ("" if self.fixed_support else "its support depends on parameters")
        return question, f"no: {wrong}" if wrong else "yes", "dreg and stl are refused" if wrong else ""

    def _weights(self) -> tuple[str, str, str]:
        question = "Are the log-weights finite?"
        if not self.minus_inf:
            return question, "yes", ""
        return question, f"{100 * self.minus_inf:.3g} % are -inf", "bounds of -inf are refused, K by K"

    def _mode(self) -> tuple[str, str, str]:
        question = "Does the mode matter?"
        if not self.mode_matters:
            return question, "no", f"tried in {self.mode} mode"
        other = "training" if self.mode == "evaluation" else "evaluation"
        return question, f"yes: {', '.join(self.mode_matters)}", f"tried in {self.mode} mode; mode='{other}' differs"


def listed(names: tuple[str, ...]) -> str:
    """The first few names."""
    more = f" and {len(names) - _MANY} more" if len(names) > _MANY else ""
    return ", ".join(f"'{name}'" for name in names[:_MANY]) + more
