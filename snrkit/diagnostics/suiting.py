"""A plan held against what the trial found: made to suit the model, or refused."""

from snrkit.diagnostics.means import source_of
from snrkit.diagnostics.plan import Plan
from snrkit.errors import CapabilityError, SpecError
from snrkit.estimators.base import require_samples
from snrkit.trial.findings import Findings, listed
from snrkit.trial.needs import require


def suited(plan: Plan, findings: Findings, points: int) -> tuple[Plan, list[str]]:
    """The plan in the way that is right for a model, and what the user should know of that.

    Args:
        plan: what was asked for.
        findings: of the trial.
        points: data points to be measured on.

    Raises:
        CapabilityError: an estimator is not right for the model, or the points are no data points of it.
        SpecError: what was asked for cannot be had by direct draws, which the model needs.
    """
    require(plan.estimators, findings)
    plan = _with_sources(plan, findings)
    if findings.global_proposal and points > 1:
        problem = f"its proposal is the same for all {points} data points, so each would get a draw of its own"
        remedy = "give the minibatch as one data point, x[None]; or write independent_points = True into the class"
        raise CapabilityError("model", problem, remedy)
    remarks = [*findings.remarks, *plan.unknown_bias()]
    units_fail = findings.direct or (not findings.exchangeable and plan.M != (1,))
    if units_fail and not plan.direct:
        if plan.nested:
            raise SpecError("nested", f"unit draws are wrong here, since {_why(findings)}", "drop nested")
        plan = plan.replaced(direct=True)
        remarks.append(f"drawn directly, the whole minibatch at each (M, K), since {_why(findings)}")
    elif findings.whole:
        remarks.append(f"drawn one by one, since {_why(findings)}")
    if findings.reparameterised is None and findings.why_not:
        remarks.append(f"whether z is reparameterised {findings.why_not}")
    if findings.mode_matters and plan.mode == "evaluation":
        kinds = ", ".join(findings.mode_matters)
        remarks.append(f"measured in evaluation mode; mode='training' gives other gradients ({kinds})")
    return plan, remarks


def _with_sources(plan: Plan, findings: Findings) -> Plan:
    """The plan with what lends a mean, or is a target, made to suit a model too.

    Raises:
        CapabilityError: what lends its mean is not right for the model.
        SpecError: the target is not to be had at so few samples.
    """
    if plan.lends:
        require([plan.lends], findings)
    plan = plan.replaced(pathless=findings.reparameterised is False)
    if plan.bias == "bound":
        targets = [source_of(estimator, plan.pathless) for estimator in plan.estimators]
        require_samples([target for target in targets if target is not None], min(plan.K))
    return plan


def _why(findings: Findings) -> str:
    if findings.draws:
        return f"the model draws from the generators of {', '.join(findings.draws)}"
    if findings.independent is False:
        return "its data points are not independent"
    if not findings.exchangeable:
        return "its samples are not independent"
    return f"its state changes from call to call ({listed(findings.changes)})"
