"""What a trial found, as a table: one row per question, what was found, and what follows from it."""

from typing import Any

import pandas as pd

from snrkit.estimators import ESTIMATORS
from snrkit.trial.findings import Findings, listed
from snrkit.trial.needs import needs_by_name, unmet

Row = tuple[str, str, str]
_COLUMNS = ("question", "finding", "what follows")


def table(found: Findings) -> pd.DataFrame:
    """One row per question: what was found, and what follows from it."""
    rows = (_pure, _state, _points, _samples, _path, _networks, _support, _weights, _mode)
    return pd.DataFrame([row(found) for row in rows], columns=list(_COLUMNS))


def _pure(found: Findings) -> Row:
    question = "Is it a function of parameters, data and noise alone?"
    if not found.draws:
        return question, f"yes (compared in {found.checked_in})", ""
    drawn = f"it draws from the generators of {', '.join(found.draws)}"
    return question, drawn, "seeded per draw; direct, by the loop"


def _state(found: Findings) -> Row:
    question = "Does its state change from call to call?"
    if not found.changes:
        return question, "no", ""
    changed = f"yes, without effect on its values: {listed(found.changes)}"
    return question, changed, "put back before each draw; by the loop"


def _points(found: Findings) -> Row:
    question = "Are data points independent?"
    if found.independent is None:
        return question, "not asked: one data point", ""
    return question, "yes" if found.independent else "no", "" if found.independent else "drawn directly"


def _samples(found: Findings) -> Row:
    follows = "" if found.exchangeable else "M > 1 drawn directly; never in portions"
    return "Are samples independent?", "yes" if found.exchangeable else "no", follows


def _path(found: Findings) -> Row:
    question = "Is z reparameterised?"
    if found.reparameterised is None:
        return question, found.why_not or "nothing of the proposal is trained", ""
    if found.reparameterised:
        return question, "yes", ""
    return question, f"no: {found.why_not}", _refused(found, reparameterised=False)


def _networks(found: Findings) -> Row:
    question = "Do both networks have parameters of their own?"
    if found.idle:
        return question, "no: the log-weights depend on no trained parameter", "there is nothing to measure"
    if not found.shared:
        return question, "yes", ""
    return (
        question,
        f"no, both use {listed(found.shared)}",
        _refused(found, shared=found.shared, shared_inference=found.shared_inference),
    )


def _support(found: Findings) -> Row:
    question = "Can the density be held fixed while z moves?"
    wrong = found.detached or ("" if found.fixed_support else "its support depends on parameters")
    return question, f"no: {wrong}" if wrong else "yes", _refused(found, detached=wrong)


def _weights(found: Findings) -> Row:
    question = "Are the log-weights finite?"
    if not found.minus_inf:
        return question, "yes", ""
    return question, f"{100 * found.minus_inf:.3g} % are -inf", "bounds of -inf are refused, K by K"


def _mode(found: Findings) -> Row:
    question = "Does the mode matter?"
    if not found.mode_matters:
        return question, "no", f"tried in {found.mode} mode"
    other = "training" if found.mode == "evaluation" else "evaluation"
    return question, f"yes: {', '.join(found.mode_matters)}", f"tried in {found.mode} mode; mode='{other}' differs"


def _refused(found: Findings, **wrong: Any) -> str:
    """Which of the registered estimators are refused where this alone is wrong with a model."""
    alone = Findings(found.mode, found.checked_in, **wrong)
    names = [name for name, needs in needs_by_name().items() if unmet(needs, alone)]
    if names == ESTIMATORS.names:
        return "every registered estimator is refused"
    listing = " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
    return f"{listing} {'are' if len(names) > 1 else 'is'} refused" if names else ""
