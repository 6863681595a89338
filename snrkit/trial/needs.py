"""What estimators need, held against what a model is."""

from collections.abc import Iterable

from snrkit.errors import CapabilityError
from snrkit.estimators import ESTIMATORS
from snrkit.estimators.base import Estimator
from snrkit.trial.findings import Findings, listed


def require(estimators: Iterable[Estimator], findings: Findings) -> None:
    """See to it that each estimator is right for a model.

    Raises:
        CapabilityError: one is not; the message names those that are.
    """
    for estimator in estimators:
        problem = unmet(type(estimator), findings)
        if problem:
            suited = [name for name in ESTIMATORS.names if not unmet(ESTIMATORS.load(name), findings)]
            remedy = f"choose {', '.join(suited)}" if suited else "no estimator here works with it: give z a path"
            raise CapabilityError(estimator.name, problem, remedy)


def require_pure(what: str, findings: Findings) -> None:
    """See to it that each log-weight is a function of its own data point and noise, as bounds over test points need it.

    Args:
        what: what needs it, e.g. ``evaluate``.
        findings: of the trial.

    Raises:
        CapabilityError: it is not.
    """
    for wrong, problem in (
        (bool(findings.draws), f"the model draws from the generators of {', '.join(findings.draws)}"),
        (bool(findings.changes), f"its state changes from call to call ({listed(findings.changes)})"),
        (findings.independent is False, "its data points are not independent"),
        (not findings.exchangeable, "its samples are not independent"),
    ):
        if wrong:
            raise CapabilityError(
                "model", f"{what} is not defined for it: {problem}", "evaluate a model of its noise alone"
            )


def unmet(estimator: type[Estimator], findings: Findings) -> str:
    """What a model lacks that an estimator needs; empty if nothing."""
    needs = estimator.needs
    if needs.reparameterised and findings.reparameterised is False:
        return f"needs a reparameterised proposal, and {findings.why_not}"
    if needs.separate_networks and findings.shared:
        return f"assumes that no parameter is in both networks, and {listed(findings.shared)} is"
    if needs.path and not findings.fixed_support:
        return "holds the proposal's density fixed while z moves, and its support depends on parameters"
    if needs.path and findings.detached:
        return f"needs the proposal's density with detached parameters, and {findings.detached}"
    return ""
