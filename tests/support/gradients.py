"""An estimate's gradients, and the values that it differentiates, for tests of estimators."""

from snrkit.core.objective import pull


def gradients(estimator, weights, generative, inference):
    """Gradients of the (generative, inference) parameters from log-weights ``[B, M, K]`` with their graph."""
    found = pull(estimator.objective.served(), weights, {"generative": generative, "inference": inference})
    return found["generative"], found["inference"]


def value_of(estimator, weights, network):
    """What is differentiated for a network, a scalar."""
    (value,) = estimator.objective.served([network])
    return value(weights).mean()
