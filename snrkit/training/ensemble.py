"""Several runs trained side by side: one batched pass for all, each with its own streams, estimator and learning rate.

The members are ordinary ``Trainer`` objects. While they stand side by side their parameters and Adam moments are rows of
three matrices ``[E, P]``, of which their own tensors are views; so all that a run does by itself (checkpoints, metrics,
following test points) works on a member unchanged, and leaves behind what ``snrkit train`` would.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snrkit.backend.memory import out_of_memory
from snrkit.core.streams import Streams
from snrkit.data.binarise import test_points
from snrkit.errors import CapabilityError, NonFiniteError
from snrkit.models.calling import call_with
from snrkit.models.naming import is_own
from snrkit.runs.commit import Commit
from snrkit.specs.run import RunSpec
from snrkit.training.ahead import Way, way_on
from snrkit.training.loop import Stopped
from snrkit.training.rows import ONE_BY_ONE, Rows
from snrkit.training.trainer import Trainer
from snrkit.types import Progress

# What the batched step knows to honour. Whatever else a spec may come to say, such as another order of updates, must be at
# its default.
_KNOWN = {
    "data", "model", "estimator", "optimiser", "epochs", "batch_size", "seed", "dtype", "precision", "checkpoint_every",
    "keep_every", "eval_points",
}  # fmt: skip


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
    and go on. So what they compute is a function of the runs, not of when the process was stopped. Where steps are taken
    over what lies ahead, it stands still from that step on and leaves at the end of the epoch, or when a stop is asked for.

    Args:
        members: at least one; they are moved side by side.
        marker: the file through which the members' checkpoints are written together.
        way: how steps are taken, where the model allows it; None: as the device does best.

    Raises:
        CapabilityError: a step of one of them already takes several passes, or its networks do not see the same samples.
    """

    def __init__(self, members: Sequence[Trainer], marker: Path, *, way: Way | None = None) -> None:
        if any(member.feed.passes is not None for member in members):
            raise CapabilityError("side_by_side", "a step of one run fills the memory", ONE_BY_ONE)
        if any("own" in member.estimator.objective.noises() for member in members):
            problem = "the networks of a run see samples of their own"
            raise CapabilityError("side_by_side", problem, ONE_BY_ONE)
        _require_alike(members)
        self.members = list(members)
        self._halted: dict[Trainer, NonFiniteError] = {}
        self.failed: dict[str, str] = {}
        self._marker = marker
        lead = self.members[0]
        self.spec, self.steps, self.device = lead.spec, lead.steps, lead.device
        self._way = way or way_on(lead.device)
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
        """Lay the members' parameters and moments side by side."""
        rows = self._rows = Rows(self.members)
        way: Way = "plain" if self.members[0].model.unrolled else self._way
        self._ahead = None if way == "plain" else rows.ahead(captured=way == "captured")

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
        with self._within_memory():
            if self._ahead is None:
                found, points = self._rows.step()
                bounds = found.tolist()
            else:
                self._ahead.take()
        if self._ahead is None:
            seconds = (time.perf_counter() - start) / len(self.members)
            self._each(lambda member, bound: member.account(bound, points, seconds), bounds)
            return
        for member in self.members:
            member.state.advance()
        if self._ahead.due:
            self._settle()
        if self.position == self.steps:
            self._let_go(self._halted)

    @contextmanager
    def _within_memory(self) -> Iterator[None]:
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            problem = f"memory ran out with {len(self.members)} runs side by side"
            raise CapabilityError("side_by_side", problem, ONE_BY_ONE) from None

    def _settle(self) -> None:
        """Read the bounds of the steps that were taken without waiting for them, and note who came to a halt."""
        for taken in self._ahead.read() if self._ahead is not None else ():
            for member, bound in zip(self.members, taken.bounds, strict=True):
                if member in self._halted:
                    continue
                try:
                    member.note(taken, bound)
                except NonFiniteError as error:
                    self._halted[member] = error
        if len(self._halted) == len(self.members):
            self._let_go(self._halted)

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
        self._let_go_of_unsound()
        for member in self.members:
            member.state.note_steps()
            member.keep()

    def save(self) -> None:
        """Write all members' checkpoints, all or none.

        Raises:
            NonFiniteError: the last member failed.
        """
        self._let_go_of_unsound()
        self._commit(self.members, {})

    def _let_go_of_unsound(self) -> None:
        self._settle()
        self._let_go(self._halted)
        self._each(lambda member, _: member.state.require_finite(), self.members)

    def _each(self, act: Callable[[Trainer, Any], None], values: Sequence[Any]) -> None:
        """Let every member act; those that fail leave, and the others are saved where they stand."""
        failed: dict[Trainer, NonFiniteError] = {}
        for member, value in zip(self.members, values, strict=True):
            try:
                act(member, value)
            except NonFiniteError as error:
                failed[member] = error
        self._let_go(failed)

    def _let_go(self, failed: dict[Trainer, NonFiniteError]) -> None:
        """Let members leave that failed, if there are any, and save the others where they stand."""
        if not failed:
            return
        self._halted = {}
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


def _require_alike(members: Sequence[Trainer]) -> None:
    """See to it that the first run's model with another's numbers is the other's.

    A class of a user's own may keep tensors that are neither parameters nor buffers, and so are not laid side by side.

    Raises:
        CapabilityError: it is not.
    """
    lead = members[0]
    if not is_own(lead.spec.model.name):
        return
    x = test_points(lead.dataset, lead.spec.data, getattr(torch, lead.spec.dtype), lead.device, slice(0, 2))
    shape = len(x), 1, 2, *lead.model.noise_shape(x)
    noise = Streams(0).normal("trial", (), shape, dtype=x.dtype, device=x.device)
    with torch.no_grad():
        for member in members[1:]:
            own: Tensor = member.model(x, noise).log_w
            if not torch.equal(own, call_with(lead.model, member.model.state_dict(), x, noise).log_w):
                problem = "keeps tensors that are neither parameters nor buffers, and they differ between runs"
                raise CapabilityError("model", problem, ONE_BY_ONE)
