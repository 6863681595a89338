"""Which estimators have the same mean, and which of them serve where z has no path through the parameters."""

from collections.abc import Iterable

from snrkit.estimators import ESTIMATORS
from snrkit.estimators.base import Estimator, needed_options


def same_mean(one: Estimator, other: Estimator) -> bool:
    """Whether both have the gradient of the same bound as their mean, in both networks."""
    return all((*one.unbiased, *other.unbiased)) and (one.same_bound or one) == (other.same_bound or other)


def source_of(estimator: Estimator, pathless: bool) -> Estimator | None:
    """Whose mean is the gradient of an estimator's own bound; None where it is its own, or nothing here has it.

    Args:
        estimator: the estimator.
        pathless: z has no path through the parameters, so that it is had from the scores, at the best rate there is.
    """
    same = estimator.same_bound
    if same is not None and pathless and same.needs.reparameterised:
        kinds = [ESTIMATORS.load(name) for name in ESTIMATORS.names]
        known = [kind() for kind in kinds if not needed_options(kind)]
        able = [e for e in known if e.same_bound == same and all(e.unbiased) and not e.needs.reparameterised]
        same = max(able, key=lambda e: e.theory.phi[1], default=None)
    return None if same == estimator else same


def no_bias(estimators: Iterable[Estimator]) -> tuple[str, str]:
    """Why there is no bias of some to their own bounds' gradients, and what to do."""
    every = tuple(estimators)
    names = ", ".join(estimator.name for estimator in every)
    if all(own for estimator in every for own in estimator.unbiased):
        problem = f"{names} has by definition no bias to its own bound's gradient"
        return problem, "add an estimator with another path, such as dreg or stl"
    problem = f"no estimator here has the gradient of the bound of {names} as its mean"
    return problem, "choose bias log_p, or another estimator"
