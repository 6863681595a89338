"""A run by itself over what lies ahead of it: the plain step of ``step`` with nothing read back."""

from torch import Tensor

from snrkit.core.objective import NETWORKS, step
from snrkit.estimators.base import Estimator
from snrkit.estimators.passes import forward_of
from snrkit.specs.run import UpdateSpec
from snrkit.training.adam import DeviceAdam, Moved
from snrkit.training.ahead import Ahead
from snrkit.training.feed import Feed
from snrkit.training.state import State


def looks_ahead(state: State, feed: Feed, estimator: Estimator) -> bool:
    """Whether the steps of a run can be taken over what lies ahead.

    Both networks must move at once, on the same samples, in one pass, by an objective that stays the same; and the model's
    steps must be few, for a graph holds every one of them.
    """
    objective = estimator.objective
    return (
        state.spec.update == UpdateSpec()
        and not state.hyper.changes
        and feed.passes is None
        and not state.model.unrolled
        and objective.noises() == ["shared"]
        and {term.network for term in objective.terms} == set(NETWORKS)
        and len(state.trained) > 0
    )


def ahead_of(state: State, feed: Feed, estimator: Estimator, *, captured: bool) -> Ahead:
    """The steps of a run that ``looks_ahead``, over what lies ahead.

    Args:
        state: of the run; its parameters and moments stay where they are.
        feed: what feeds it.
        estimator: whose objective it ascends.
        captured: see ``Ahead``.
    """
    objective, shape = estimator.objective, (state.spec.estimator.M, state.spec.estimator.K)

    def ascent(x: Tensor, noise: Tensor) -> tuple[list[list[Tensor]], Tensor]:
        own = noise[0].reshape(len(x[0]), *shape, *noise.shape[3:])
        forward = forward_of(state.model, x[0], objective.needs.parts)
        found, bound = step(objective, forward, lambda _: own, state.networks)
        return [[*found["generative"], *found["inference"]]], bound[None]

    adam = DeviceAdam(state.spec.optimiser, [Moved.of(state)], state.step)
    return Ahead([feed], [state], ascent, adam, dreams=objective.needs.sleep, captured=captured)
