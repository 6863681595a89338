"""Several runs trained side by side: one batched pass for all, each with its own streams, estimator and learning rate.

The members are ordinary ``Trainer`` objects. While they stand side by side their parameters and Adam moments are rows of
three matrices ``[E, P]``, of which their own tensors are views; so all that a run does by itself (checkpoints, metrics,
following test points) works on a member unchanged, and leaves behind what ``snrkit train`` would.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from snrkit.backend.graph import captured
from snrkit.backend.memory import out_of_memory
from snrkit.core.logweights import LogWeights, Parts
from snrkit.core.objective import Wanted, step
from snrkit.errors import CapabilityError, NonFiniteError
from snrkit.models.calling import call_with
from snrkit.runs.commit import Commit
from snrkit.specs.run import RunSpec
from snrkit.training.loop import Stopped
from snrkit.training.step import clipping
from snrkit.training.together import Share, together
from snrkit.training.trainer import Trainer
from snrkit.types import Progress

# What the batched step knows to honour. Whatever else a spec may come to say, such as another order of updates, must be at
# its default.
_KNOWN = {
    "data", "model", "estimator", "optimiser", "epochs", "batch_size", "seed", "dtype", "precision", "checkpoint_every",
    "keep_every", "eval_points",
}  # fmt: skip

_ONE_BY_ONE = "train its runs one by one: `side_by_side=1`"


def ensemble_key(spec: RunSpec) -> str:
    """Runs with equal keys can train side by side: they differ in seed, estimator and learning rate only.

    Their estimators may differ in anything but the number of samples M K. A run with settings that the batched step does not
    know has a key of its own.
    """
    fields = type(spec).model_fields
    unknown = any(getattr(spec, name) != fields[name].get_default() for name in fields.keys() - _KNOWN)
    if unknown or spec.estimator.changes:
        return spec.identity()
    shared = spec.model_dump(mode="json", exclude={"seed", "estimator", "optimiser"})
    optimiser = spec.optimiser.model_dump(mode="json", exclude={"lr", "schedule"})
    return str([shared, optimiser, spec.estimator.M * spec.estimator.K])


class Ensemble:
    """Runs of equal ``ensemble_key`` that stand at the same step.

    A member whose bound, parameters or followed bound become NaN or infinite leaves; the others are saved at that very step
    and go on. So what they compute is a function of the runs, not of when the process was stopped.

    Args:
        members: at least one; they are moved side by side.
        marker: the file through which the members' checkpoints are written together.

    Raises:
        CapabilityError: a step of one of them already takes several passes, or its networks do not see the same samples.
    """

    def __init__(self, members: Sequence[Trainer], marker: Path) -> None:
        if any(member.feed.passes is not None for member in members):
            raise CapabilityError("side_by_side", "a step of one run fills the memory", _ONE_BY_ONE)
        if any("own" in member.estimator.objective.noises() for member in members):
            problem = "the networks of a run see samples of their own"
            raise CapabilityError("side_by_side", problem, _ONE_BY_ONE)
        self.members = list(members)
        self.failed: dict[str, str] = {}
        self._marker = marker
        lead = self.members[0]
        self.spec, self.steps, self.device = lead.spec, lead.steps, lead.device
        for member in self.members[1:]:
            member.feed.batches = lead.feed.batches.under(member.feed.streams)
        self._join()

    @property
    def epoch(self) -> int:
        """Finished epochs, of every member."""
        return self.members[0].epoch

    @property
    def step(self) -> int:
        """Steps done, by every member."""
        return self.members[0].step

    @property
    def position(self) -> int:
        """Steps done within the unfinished epoch, by every member."""
        return self.members[0].position

    def _join(self) -> None:
        """Lay the members' parameters and moments side by side and make their own tensors views of the rows."""
        states = [member.state for member in self.members]
        names = {parameter: name for name, parameter in states[0].model.named_parameters()}
        self._names = [names[parameter] for parameter in states[0].trained]
        self._shapes = [parameter.shape for parameter in states[0].trained]
        tensors = [state.model.state_dict() for state in states]
        self._constant = {n: torch.stack([own[n] for own in tensors]) for n in tensors[0].keys() - set(self._names)}
        self._values = _side_by_side([state.trained for state in states])
        self._first = _side_by_side([state.moments("exp_avg") for state in states])
        self._second = _side_by_side([state.moments("exp_avg_sq") for state in states])
        for e, state in enumerate(states):
            state.live_in(*(self._parts(matrix[e]) for matrix in (self._values, self._first, self._second)))
        samples = [(member.spec.estimator.M, member.spec.estimator.K) for member in self.members]
        self._shares = [Share(e, shape) for e, shape in enumerate(samples)]
        changed = self._values, self._first, self._second
        self._advance = self._ascend if self.members[0].model.unrolled else captured(self._ascend, changed)

    def _parts(self, rows: Tensor) -> list[Tensor]:
        """Views of rows ``[..., P]`` in the shapes of the parameters, each ``[..., *shape]``."""
        parts = torch.split(rows, [shape.numel() for shape in self._shapes], dim=-1)
        return [part.view(*rows.shape[:-1], *shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def begin_epoch(self) -> None:
        """Set each member's learning rate and shuffle its data points."""
        for member in self.members:
            member.begin_epoch()

    def take_step(self) -> None:
        """One ascent step of every member on its own minibatch.

        Raises:
            NonFiniteError: the last member failed.
            CapabilityError: there is no memory for the step of all.
        """
        start = time.perf_counter()
        try:
            x = torch.stack([member.feed.batch() for member in self.members])
            points = x.shape[1]
            sleep = any(member.estimator.needs.sleep for member in self.members)
            noises = [member.feed.noises(points, sleep=sleep)("shared") for member in self.members]
            noise = torch.stack([own.flatten(1, 2)[:, None] for own in noises])
            bounds = self._advance(x, noise, *self._adam_factors()).tolist()
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            problem = f"memory ran out with {len(self.members)} runs side by side"
            raise CapabilityError("side_by_side", problem, _ONE_BY_ONE) from None
        seconds = (time.perf_counter() - start) / len(self.members)
        self._each(lambda member, bound: member.account(bound, points, seconds), bounds)

    def _adam_factors(self) -> tuple[Tensor, Tensor]:
        """What of Adam's step depends on time: the rate over the first moment's correction ``[E, 1]``, the second's root."""
        decay, decay_square = self.spec.optimiser.betas
        step = self.step + 1
        rates = [[m.state.rate / (1 - decay**step)] for m in self.members]
        return self._values.new_tensor(rates), self._values.new_tensor((1 - decay_square**step) ** 0.5)

    def _ascend(self, x: Tensor, noise: Tensor, rate: Tensor, correction: Tensor) -> Tensor:
        """One step of all members, in place.

        Args:
            x: minibatches ``[E, B, *event]``.
            noise: ``[E, B, 1, M K, *noise_shape]``.
            rate: ``[E, 1]``.
            correction: scalar.

        Returns:
            Bounds before the step ``[E]``, nats per data point.

        Raises:
            CapabilityError: the model's operations cannot be batched.
        """
        leaves = [part.requires_grad_() for part in self._parts(self._values.detach())]
        objective = together(self._shares, [member.estimator.objective for member in self.members])
        count = len(self.members[0].state.networks["generative"])
        wanted: Wanted = {"generative": leaves[:count], "inference": leaves[count:]}
        found, bounds = step(
            objective, lambda own: self._log_weights(leaves, x, own, objective.needs.parts), lambda _: noise, wanted
        )
        with torch.no_grad():
            parts = (*found["generative"], *found["inference"])
            self._adam(torch.cat([part.reshape(len(part), -1) for part in parts], dim=1), rate, correction)
        return bounds

    def _log_weights(self, leaves: list[Tensor], x: Tensor, noise: Tensor, parts: Parts) -> LogWeights:
        """All members' log-weights, ``[E, B, 1, M K]``."""
        model = self.members[0].model
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
            raise CapabilityError("model", problem, _ONE_BY_ONE) from None

    def _adam(self, gradient: Tensor, rate: Tensor, correction: Tensor) -> None:
        """As torch's Adam with ``maximize``, whose first moment is that of the descent direction; each row clipped first."""
        optimiser = self.spec.optimiser
        decay, decay_square = optimiser.betas
        if optimiser.clip is not None:
            gradient = gradient * clipping(torch.linalg.vector_norm(gradient, dim=1, keepdim=True), optimiser.clip)
        descent = -gradient
        self._first.lerp_(descent, 1 - decay)
        self._second.mul_(decay_square).addcmul_(descent, descent, value=1 - decay_square)
        self._values.addcdiv_(-rate * self._first, (self._second.sqrt() / correction).add_(optimiser.eps))

    def observe(self, act: Callable[[Trainer, Stopped], None], stopped: Stopped) -> None:
        """Let each member be observed at the end of an epoch.

        Raises:
            NonFiniteError: the last member failed.
        """
        self._each(lambda member, _: act(member, stopped), self.members)

    def finish_epoch(self) -> None:
        """Append every member's metrics and go on to the next epoch.

        Raises:
            NonFiniteError: the last member failed.
        """
        self._each(lambda member, _: member.finish_epoch(), self.members)

    def report(self, progress: Progress) -> None:
        """As a run by itself does; the note is the first member's."""
        self.members[0].report(progress)

    def keep(self) -> None:
        """Write a checkpoint of its own for every member.

        Raises:
            NonFiniteError: the last member failed.
        """
        self._each(lambda member, _: member.state.require_finite(), self.members)
        for member in self.members:
            member.state.note_steps()
            member.keep()

    def save(self) -> None:
        """Write all members' checkpoints, all or none.

        Raises:
            NonFiniteError: the last member failed.
        """
        self._each(lambda member, _: member.state.require_finite(), self.members)
        self._commit(self.members, {})

    def _each(self, act: Callable[[Trainer, Any], None], values: Sequence[Any]) -> None:
        """Let every member act; those that fail leave, and the others are saved where they stand."""
        failed: dict[Trainer, NonFiniteError] = {}
        for member, value in zip(self.members, values, strict=True):
            try:
                act(member, value)
            except NonFiniteError as error:
                failed[member] = error
        if not failed:
            return
        reasons = {member.run_dir.name: str(error) for member, error in failed.items()}
        self.failed |= reasons
        survivors = [member for member in self.members if member not in failed]
        if survivors:
            self.members = survivors
            self._join()
        self._commit(survivors, reasons)
        if not survivors:
            raise next(iter(failed.values()))

    def _commit(self, members: Sequence[Trainer], failed: dict[str, str]) -> None:
        commit = Commit(self._marker)
        for member in members:
            member.state.note_steps()
            commit.stage(member.run_dir, member.state.checkpoint())
        commit.finish(failed)


def _side_by_side(members: Iterable[Sequence[Tensor]]) -> Tensor:
    """Each member's tensors as one row, ``[E, P]``."""
    return torch.stack([torch.cat([tensor.detach().flatten() for tensor in tensors]) for tensors in members])
