"""Orders handed out in the order in which their results are wanted, and no further ahead than there is room for them.

What takes far less than seconds goes several to a worker at once: an order costs milliseconds, whatever it is for. Which
go together is nobody's concern but the clock's: each is carried out, answered, read and kept by itself.
"""

import pickle
import statistics
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass
from typing import Any

from snrkit.errors import ResourceError, SpecError
from snrkit.fleet.hands import Hands
from snrkit.fleet.orders import Answer, Cargo, Order, raised
from snrkit.fleet.shared import Spot, taken
from snrkit.interrupt import Interrupted

# Seconds after which somebody who waits for results looks whether it is asked to stop.
_GLANCE = 0.2
# How often an order may be lost with its worker.
_LOSSES = 5
# For each worker so much at once, so that none waits for the next; and bytes of results that may lie here unread.
_EACH, _ROOM = 2, 4 * 2**30
# Seconds that what goes together is to take, at least and at most; bytes of its results; and answers that tell of the time.
_AIM, _LONGEST, _TOGETHER, _TOLD = 2.0, 20.0, 2**26, 9


@dataclass(frozen=True)
class Task:
    """Something to be done, and what is made of it.

    Attributes:
        work: ``module:function`` of this package.
        arguments: of it, after the cargos.
        cargos: what it works on.
        read: from the bytes of an answer to the result, or None where they are not what they must be.
        taken: called with a result, and its bytes (None: they are at the spot), as soon as it is there.
        size: bytes of the result, about.
        cost: how much work it is, in units that are alike for tasks of the same ``work``; 0: it goes by itself.
        spot: where a worker may put the result instead of sending it.
    """

    work: str
    arguments: tuple[Any, ...]
    cargos: tuple[Cargo, ...]
    read: Callable[[bytes], Any]
    taken: Callable[[Any, bytes | None], None] = lambda *_: None
    size: int = 0
    cost: float = 0.0
    spot: Spot | None = None


_Keyed = tuple[Hashable, Task]
_Lost = tuple[Future[tuple[Answer, ...]], BaseException]
_Lacking = tuple[list[_Keyed], tuple[str, ...]]


@dataclass
class _Sent:
    parts: list[_Keyed]
    generation: int


class Dispatch:
    """Tasks, each under a key, done by workers.

    Args:
        hands: the workers.
        threads: of each.
        library: that products take.
        stop: asked while results are waited for.
        pack: arguments to bytes.
    """

    def __init__(
        self,
        hands: Hands,
        threads: int,
        library: str,
        stop: Callable[[], bool],
        pack: Callable[[object], bytes] = pickle.dumps,
    ) -> None:
        self._hands, self._threads, self._library, self._stop, self._pack = hands, threads, library, stop, pack
        self._waiting: OrderedDict[Hashable, Task] = OrderedDict()
        self._sent: dict[Future[tuple[Answer, ...]], _Sent] = {}
        self._found: dict[Hashable, tuple[Any, int]] = {}
        self._errors: dict[Hashable, Exception] = {}
        self._losses: dict[Hashable, int] = {}
        self._rates: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_TOLD))
        self._generation, self._spots = 0, True
        self.seconds: dict[Hashable, float] = {}

    def expect(self, tasks: Iterable[tuple[Hashable, Task]]) -> None:
        """Announce tasks, in the order in which their results will be wanted; work on the first of them begins."""
        known = self._known()
        self._waiting.update((key, task) for key, task in tasks if key not in known)
        self._fill()

    def _known(self) -> set[Hashable]:
        sent = (key for sent in self._sent.values() for key, _ in sent.parts)
        return {*self._waiting, *self._found, *self._errors, *sent}

    def result(self, key: Hashable, task: Task) -> Any:
        """The result of a task, which is done first if it was not announced. It is given once.

        Raises:
            Interrupted: asked to stop before it was there.
            SnrkitError: what the work raised.
            ResourceError: workers are lost again and again.
        """
        if key not in self._known():
            self._waiting[key] = task
        if key in self._waiting:
            self._waiting.move_to_end(key, last=False)
            self._send(self._next())
        while key not in self._found and key not in self._errors:
            self._fill()
            if self._stop():
                self._gathered(0.0)
                raise Interrupted
            self._collect()
        if key in self._errors:
            raise self._errors.pop(key)
        return self._found.pop(key)[0]

    def _fill(self) -> None:
        """Hand out what there is room for."""
        most = _EACH * self._hands.workers
        while self._waiting and len(self._sent) < most:
            size = next(iter(self._waiting.values())).size
            there = [held for _, held in self._found.values()]
            there += [task.size for sent in self._sent.values() for _, task in sent.parts]
            if there and sum(there) + size > _ROOM:
                return
            self._send(self._next())

    def _next(self) -> list[_Keyed]:
        """The next task, and those after it that go with it."""
        parts = [self._waiting.popitem(last=False)]
        seconds, size = self._expected(*parts[0]), parts[0][1].size
        share = -(-len(self._waiting) // (_EACH * self._hands.workers))
        while self._waiting and len(parts) < share and seconds < _AIM:
            key, task = next(iter(self._waiting.items()))
            seconds, size = seconds + self._expected(key, task), size + task.size
            if seconds > _LONGEST or size > _TOGETHER:
                break
            parts.append(self._waiting.popitem(last=False))
        return parts

    def _expected(self, key: Hashable, task: Task) -> float:
        """Seconds that a task will take; those of what nothing is known of, or of what was lost once, are many."""
        rates = self._rates.get(task.work)
        if not rates or not task.cost or key in self._losses:
            return 2 * _LONGEST
        return task.cost * statistics.median(rates)

    def _send(self, parts: list[_Keyed], missing: tuple[str, ...] = ()) -> None:
        orders = [
            Order(
                task.work, self._pack(task.arguments), tuple((cargo.digest, cargo.opener) for cargo in task.cargos),
                self._hands.machine, self._threads, self._library, task.spot if self._spots else None,
            )
            for _, task in parts
        ]  # fmt: skip
        cargos = {cargo.digest: cargo for _, task in parts for cargo in task.cargos}
        self._sent[self._hands.submit(orders, cargos, missing)] = _Sent(parts, self._generation)

    def _collect(self) -> None:
        lost, lacking = self._gathered(_GLANCE)
        for parts, missing in lacking:
            self._send(parts, missing)
        for future, error in lost:
            self._lost(self._sent.pop(future), error)

    def _gathered(self, seconds: float) -> tuple[list[_Lost], list[_Lacking]]:
        """Take what is done, all of it before anything is raised of what was lost, so that only that is done again.

        Args:
            seconds: that the first of it is waited for.

        Returns:
            What was lost, which still counts as sent; and what is to be sent again with cargos that were missing.
        """
        lost, lacking = list[_Lost](), list[_Lacking]()
        done, _ = wait(self._sent, timeout=seconds, return_when=FIRST_COMPLETED)
        for future in done:
            try:
                answers = future.result()
            except (CancelledError, Exception) as error:
                lost.append((future, error))
                continue
            pairs = list(zip(self._sent.pop(future).parts, answers, strict=True))
            missing = tuple(dict.fromkeys(digest for _, answer in pairs for digest in answer.missing))
            if missing:
                lacking.append(([part for part, answer in pairs if answer.missing], missing))
            for part, answer in pairs:
                if not answer.missing:
                    self._take(*part, answer)
        return lost, lacking

    def _take(self, key: Hashable, task: Task, answer: Answer) -> None:
        if answer.error is not None:
            self._errors[key] = raised(answer)
            return
        content = taken(task.spot) if answer.put and task.spot is not None else answer.content
        found = None if content is None else task.read(content)
        if found is None and answer.put:
            # Storage that shows a file late, or not as it was written: from now on all is sent back.
            self._spots = False
            self._waiting[key] = task
            self._waiting.move_to_end(key, last=False)
            return
        if found is None:
            problem = "a worker's answer is not what was asked for: it is damaged, or of another version"
            remedy = "see to the network and the workers, and measure again"
            self._errors[key] = SpecError("executor", problem, remedy)
            return
        self.seconds[key] = answer.seconds
        self._found[key] = found, task.size
        if task.cost:
            self._rates[task.work].append(answer.seconds / task.cost)
        task.taken(found, None if answer.put else content)

    def _lost(self, sent: _Sent, error: BaseException) -> None:
        """Have tasks done again whose worker was lost, each by itself: one of them may be what it was lost of.

        Raises:
            ResourceError: that has happened too often, or there are no workers any more.
            SpecError: it was not lost, but cannot be done.
        """
        if not isinstance(error, CancelledError) and not self._hands.is_loss(error):
            told = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
            raise SpecError("executor", f"a worker takes no work ({told})", "install the same snrkit there") from error
        if sent.generation == self._generation:
            self._hands.renew()
            self._generation += 1
        for key, task in reversed(sent.parts):
            self._losses[key] = self._losses.get(key, 0) + 1
            if self._losses[key] > _LOSSES:
                problem = f"workers end in the middle of their work, {_LOSSES + 1} times at the same place"
                raise ResourceError(
                    "executor", problem, "most often memory runs out: give fewer workers, or a smaller K"
                )
            self._waiting[key] = task
            self._waiting.move_to_end(key, last=False)

    def forget(self, unwanted: Callable[[Hashable], bool]) -> None:
        """Give up tasks whose results nobody wants any more; those that are being worked on come to nothing."""
        for key in [key for key in self._waiting if unwanted(key)]:
            del self._waiting[key]

    def cancel(self) -> None:
        """Give up what is not done; what is, is taken."""
        try:
            self._gathered(0.0)
        finally:
            self._waiting.clear()
            for future in self._sent:
                future.cancel()
            self._sent.clear()
