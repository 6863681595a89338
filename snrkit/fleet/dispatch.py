"""Orders handed out in the order in which their results are wanted, and no further ahead than there is room for them."""

import pickle
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass
from typing import Any

from snrkit.errors import ResourceError, SpecError
from snrkit.fleet.hands import Hands
from snrkit.fleet.orders import Answer, Cargo, Order, raised
from snrkit.interrupt import Interrupted

# Seconds after which somebody who waits for results looks whether it is asked to stop.
_GLANCE = 0.2
# How often an order may be lost with its worker.
_LOSSES = 5
# For each worker so many orders at once, so that none waits for the next; and bytes of results that may lie here unread.
_EACH, _ROOM = 2, 4 * 2**30


@dataclass(frozen=True)
class Task:
    """Something to be done, and what is made of it.

    Attributes:
        work: ``module:function`` of this package.
        arguments: of it, after the cargos.
        cargos: what it works on.
        read: from the bytes of an answer to the result, or None where they are not what they must be.
        taken: called with a result, and its bytes, as soon as it is there.
        size: bytes of the result, about.
    """

    work: str
    arguments: tuple[Any, ...]
    cargos: tuple[Cargo, ...]
    read: Callable[[bytes], Any]
    taken: Callable[[Any, bytes], None] = lambda *_: None
    size: int = 0


@dataclass
class _Sent:
    key: Hashable
    task: Task
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
        self._sent: dict[Future[Answer], _Sent] = {}
        self._found: dict[Hashable, tuple[Any, int]] = {}
        self._errors: dict[Hashable, Exception] = {}
        self._losses: dict[Hashable, int] = {}
        self._generation = 0
        self.seconds: dict[Hashable, float] = {}

    def expect(self, tasks: Iterable[tuple[Hashable, Task]]) -> None:
        """Announce tasks, in the order in which their results will be wanted."""
        known = self._known()
        self._waiting.update((key, task) for key, task in tasks if key not in known)

    def _known(self) -> set[Hashable]:
        return {*self._waiting, *self._found, *self._errors, *(sent.key for sent in self._sent.values())}

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
            self._send(*self._waiting.popitem(last=False))
        while key not in self._found and key not in self._errors:
            self._fill()
            if self._stop():
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
            there = [held for _, held in self._found.values()] + [sent.task.size for sent in self._sent.values()]
            if there and sum(there) + size > _ROOM:
                return
            self._send(*self._waiting.popitem(last=False))

    def _send(self, key: Hashable, task: Task, missing: tuple[str, ...] = ()) -> None:
        order = Order(
            task.work, self._pack(task.arguments), tuple((cargo.digest, cargo.opener) for cargo in task.cargos),
            self._hands.machine, self._threads, self._library,
        )  # fmt: skip
        future = self._hands.submit(order, {cargo.digest: cargo for cargo in task.cargos}, missing)
        self._sent[future] = _Sent(key, task, self._generation)

    def _collect(self) -> None:
        done, _ = wait(self._sent, timeout=_GLANCE, return_when=FIRST_COMPLETED)
        for future in done:
            sent = self._sent.pop(future)
            try:
                answer = future.result()
            except (CancelledError, Exception) as error:
                self._lost(sent, error)
            else:
                self._take(sent, answer)

    def _take(self, sent: _Sent, answer: Answer) -> None:
        if answer.missing:
            self._send(sent.key, sent.task, answer.missing)
        elif answer.error is not None:
            self._errors[sent.key] = raised(answer)
        else:
            content = answer.content or b""
            found = sent.task.read(content)
            if found is None:
                problem = "a worker's answer is not what was asked for: it is damaged, or of another version"
                raise SpecError("executor", problem, "see to the network and the workers, and measure again")
            self.seconds[sent.key] = answer.seconds
            self._found[sent.key] = found, sent.task.size
            sent.task.taken(found, content)

    def _lost(self, sent: _Sent, error: BaseException) -> None:
        """Have a task done again whose worker was lost.

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
        self._losses[sent.key] = self._losses.get(sent.key, 0) + 1
        if self._losses[sent.key] > _LOSSES:
            problem = f"workers end in the middle of their work, {_LOSSES + 1} times at the same place"
            raise ResourceError("executor", problem, "most often memory runs out: give fewer workers, or a smaller K")
        self._waiting[sent.key] = sent.task
        self._waiting.move_to_end(sent.key, last=False)

    def forget(self, unwanted: Callable[[Hashable], bool]) -> None:
        """Give up tasks whose results nobody wants any more; those that are being worked on come to nothing."""
        for key in [key for key in self._waiting if unwanted(key)]:
            del self._waiting[key]

    def cancel(self) -> None:
        """Give up what is not done."""
        self._waiting.clear()
        for future in self._sent:
            future.cancel()
        self._sent.clear()
