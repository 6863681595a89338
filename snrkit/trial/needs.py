"""What estimators need, held against what a model is."""

from collections.abc import Iterable

from snrkit.core.objective import Needs
from snrkit.errors import CapabilityError
from snrkit.estimators import ESTIMATORS
from snrkit.estimators.base import Estimator, needed_options
from snrkit.trial.findings import Findings, listed


def require(estimators: Iterable[Estimator], findings: Findings) -> None:
    """See to it that each estimator is right for a model.

    Raises:
        CapabilityError: one is not; the message names those that are.
    """
    for estimator in estimators:
        problem = unmet(estimator.needs, findings)
        if problem:
            suited = [name for name, needs in needs_by_name().items() if not unmet(needs, findings)]
            remedy = f"choose {', '.join(suited)}" if suited else _none(findings)
            raise CapabilityError(estimator.name, problem, remedy)


def _none(findings: Findings) -> str:
    correct = "correct its detached density, or " if findings.detached else ""
    return f"no estimator here works with it: {correct}give z a path"


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


def require_seeded(findings: Findings) -> None:
    """See to it that a model draws no random numbers of its own, with which no run could go on bit for bit.

    Raises:
        CapabilityError: it does.
    """
    if findings.draws:
        problem = (
            f"it draws from the generators of {', '.join(findings.draws)} (dropout, for example), which no run keeps"
        )
        remedy = "make it a function of its noise, or train it in a loop of your own and call snrkit.measure there"
        raise CapabilityError("model", problem, remedy)


def needs_by_name() -> dict[str, Needs]:
    """What each registered estimator needs with its options left out; one that must be given some is absent."""
    kinds = {name: ESTIMATORS.load(name) for name in ESTIMATORS.names}
    return {name: kind().needs for name, kind in kinds.items() if not needed_options(kind)}


def unmet(needs: Needs, findings: Findings) -> str:
    """What a model lacks that an estimator needs; empty if nothing."""
    if needs.reparameterised and findings.reparameterised is False:
        return f"needs a reparameterised proposal, and {findings.why_not}"
    if needs.separate_networks and findings.shared:
        return f"assumes that no parameter is in both networks, and {listed(findings.shared)} is"
    if needs.own_inference and findings.shared_inference:
        is_not = listed(findings.shared_inference)
        return f"assumes that no parameter of the inference network is in log p too, and {is_not} is"
    if needs.path and not findings.fixed_support:
        return "holds the proposal's density fixed while z moves, and its support depends on parameters"
    if needs.path and findings.detached:
        return f"needs the proposal's density with detached parameters, and {findings.detached}"
    lacking = (part for part in ("prior", "kl", "sleep", "regenerated") if getattr(needs, part))
    return next((findings.lacks[part] for part in lacking if part in findings.lacks), "")
