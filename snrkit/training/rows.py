"""The parameters and moments of several runs as rows of matrices, and one batched step of all of them."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.func import vmap

from snrkit.backend.memory import out_of_memory
from snrkit.core.logweights import LogWeights, Parts
from snrkit.core.objective import Wanted, step
from snrkit.errors import CapabilityError
from snrkit.models.calling import call_with
from snrkit.training.adam import DeviceAdam, Moved
from snrkit.training.ahead import Ahead
from snrkit.training.step import clipping
from snrkit.training.together import Share, together
from snrkit.training.trainer import Trainer

ONE_BY_ONE = "train its runs one by one: `side_by_side=1`"


class Rows:
    """Runs laid side by side: matrices ``[E, P]``, of which the members' own tensors are views from then on.

    Args:
        members: runs that may stand side by side, at least one.
    """

    def __init__(self, members: Sequence[Trainer]) -> None:
        self._members = list(members)
        states = [member.state for member in members]
        self._lead, self._adam = states[0], members[0].spec.optimiser
        names = {parameter: name for name, parameter in self._lead.model.named_parameters()}
        self._names = [names[parameter] for parameter in self._lead.trained]
        self._shapes = [parameter.shape for parameter in self._lead.trained]
        tensors = [state.model.state_dict() for state in states]
        self._constant = {n: torch.stack([own[n] for own in tensors]) for n in tensors[0].keys() - set(self._names)}
        self._values = _side_by_side([state.trained for state in states])
        self._first = _side_by_side([state.moments("exp_avg") for state in states])
        self._second = _side_by_side([state.moments("exp_avg_sq") for state in states])
        matrices = self._values, self._first, self._second
        self._moved = [Moved(*(self._parts(matrix[e]) for matrix in matrices)) for e in range(len(states))]
        for state, own in zip(states, self._moved, strict=True):
            state.live_in(own.values, own.first, own.second)
        samples = [(member.spec.estimator.M, member.spec.estimator.K) for member in members]
        shares = [Share(e, shape) for e, shape in enumerate(samples)]
        self._objective = together(shares, [member.estimator.objective for member in members])

    def _parts(self, rows: Tensor) -> list[Tensor]:
        """Views of rows ``[..., P]`` in the shapes of the parameters, each ``[..., *shape]``."""
        parts = torch.split(rows, [shape.numel() for shape in self._shapes], dim=-1)
        return [part.view(*rows.shape[:-1], *shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def step(self) -> tuple[Tensor, int]:
        """One step of all members on their present minibatches and noise, in place.

        Returns:
            Bounds before the step ``[E]``, nats per data point, and the data points of one run.

        Raises:
            CapabilityError: the model's operations cannot be batched.
        """
        x = torch.stack([member.feed.batch() for member in self._members])
        points = x.shape[1]
        noises = [member.feed.noises(points, sleep=self._dreams)("shared") for member in self._members]
        gradients, bounds = self._gradients(x, torch.stack([own.flatten(1, 2)[:, None] for own in noises]))
        with torch.no_grad():
            self._move(torch.cat([part.reshape(len(part), -1) for part in gradients], dim=1))
        return bounds, points

    def ahead(self, *, captured: bool) -> Ahead:
        """The steps of all members over what lies ahead of them (see ``Ahead``)."""

        def ascent(x: Tensor, noise: Tensor) -> tuple[list[list[Tensor]], Tensor]:
            parts, bounds = self._gradients(x, noise[:, :, None])
            # As the parameters lie, for all members at once: part by part it would be many small copies.
            laid = [part.contiguous() for part in parts]
            return [[part[e] for part in laid] for e in range(len(self._members))], bounds

        feeds, states = ([getattr(m, name) for m in self._members] for name in ("feed", "state"))
        adam = DeviceAdam(self._adam, self._moved, self._lead.step)
        return Ahead(feeds, states, ascent, adam, dreams=self._dreams, captured=captured)

    @property
    def _dreams(self) -> bool:
        return self._objective.needs.sleep

    def _gradients(self, x: Tensor, noise: Tensor) -> tuple[list[Tensor], Tensor]:
        """Gradients of all members at once, and their bounds.

        Args:
            x: minibatches ``[E, B, *event]``.
            noise: ``[E, B, 1, M K, *noise_shape]``.

        Returns:
            One gradient per parameter, ``[E, *shape]``, and bounds ``[E]``, nats per data point.

        Raises:
            CapabilityError: the model's operations cannot be batched.
        """
        leaves = [part.requires_grad_() for part in self._parts(self._values.detach())]
        count = len(self._lead.networks["generative"])
        wanted: Wanted = {"generative": leaves[:count], "inference": leaves[count:]}
        parts = self._objective.needs.parts
        found, bounds = step(
            self._objective, lambda own: self._log_weights(leaves, x, own, parts), lambda _: noise, wanted
        )
        return [*found["generative"], *found["inference"]], bounds

    def _log_weights(self, leaves: list[Tensor], x: Tensor, noise: Tensor, parts: Parts) -> LogWeights:
        """All members' log-weights, ``[E, B, 1, M K]``."""
        model = self._lead.model
        state = dict(zip(self._names, leaves, strict=True)) | self._constant

        def one(state: dict[str, Tensor], x: Tensor, noise: Tensor) -> dict[str, Tensor]:
            weights: LogWeights = call_with(model, state, x, noise, **parts.asked)
            return weights.present()

        try:
            return LogWeights.of(vmap(one)(state, x, noise))
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            problem = f"cannot be computed for several runs at once ({str(error).splitlines()[0]})"
            raise CapabilityError("model", problem, ONE_BY_ONE) from None

    def _factors(self) -> tuple[Tensor, Tensor]:
        """What of Adam's step depends on time: the rate over the first moment's correction ``[E, 1]``, the second's root."""
        decay, decay_square = self._adam.betas
        step = self._lead.step + 1
        rates = [[member.state.rate / (1 - decay**step)] for member in self._members]
        return self._values.new_tensor(rates), self._values.new_tensor((1 - decay_square**step) ** 0.5)

    def _move(self, gradient: Tensor) -> None:
        """As torch's Adam with ``maximize``, whose first moment is that of the descent direction; each row clipped first."""
        rate, correction = self._factors()
        decay, decay_square = self._adam.betas
        if self._adam.clip is not None:
            gradient = gradient * clipping(torch.linalg.vector_norm(gradient, dim=1, keepdim=True), self._adam.clip)
        descent = -gradient
        self._first.lerp_(descent, 1 - decay)
        self._second.mul_(decay_square).addcmul_(descent, descent, value=1 - decay_square)
        self._values.addcdiv_(-rate * self._first, (self._second.sqrt() / correction).add_(self._adam.eps))


def _side_by_side(members: Iterable[Sequence[Tensor]]) -> Tensor:
    """Each member's tensors as one row, ``[E, P]``."""
    return torch.stack([torch.cat([tensor.detach().flatten() for tensor in tensors]) for tensors in members])
