"""Orders: what a worker refuses, what is told of it, and what becomes of those that are lost."""

import dataclasses
import pickle
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

import snrkit
from snrkit.backend.machine import Machine
from snrkit.errors import NonFiniteError, ResourceError, SpecError
from snrkit.fleet import cluster, hands, orders
from snrkit.fleet.cluster import Cluster
from snrkit.fleet.dispatch import Dispatch, Task
from snrkit.fleet.fleet import fleet, fleet_of
from snrkit.fleet.hands import Futures, Processes
from snrkit.fleet.orders import Cargo, Order, raised, serve
from snrkit.interrupt import Interrupted
from tests.zoo import toy

HERE = Machine.here()


def order(machine=HERE, work="snrkit.fleet.orders:probe", cargos=()):
    return Order(work, pickle.dumps(()), cargos, machine, 1, "")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"snrkit": "0.0.1 (abc)"}, "install the same snrkit on all workers and here"),
        ({"torch": "1.13"}, "install the same torch"),
        ({"processor": "Z80"}, "last bits would differ; give workers on one kind of machine"),
    ],
)
def test_a_worker_of_another_kind_refuses(change, told):
    answer = serve(order(dataclasses.replace(HERE, **change)), {})
    assert isinstance(raised(answer), SpecError)
    assert told in str(raised(answer))


@pytest.mark.parametrize("name", ["snrkit", "torch", "numpy"])
def test_a_pool_with_other_versions_is_refused_by_name(name):
    class Other(Losing):
        def submit(self, function, *arguments):
            found = Future()
            found.set_result((dataclasses.replace(HERE, **{name: "1.0"}), 0))
            return found

    with pytest.raises(SpecError, match=f"has {name} 1.0, and .* is asked for; install the same {name}"):
        snrkit.measure(*toy(dim=3), "iwae", K=2, draws=12, executor=Other(0))


def test_only_functions_of_this_package_are_called():
    assert "no function of this package" in str(raised(serve(order(work="os:getcwd"), {})))


def test_a_cargo_is_asked_for_and_must_be_what_was_sent():
    cargo = Cargo.of(b"content", "snrkit.fleet.models:from_bytes")
    asked = order(cargos=((cargo.digest, cargo.opener),))
    assert serve(asked, {}).missing == (cargo.digest,)
    assert "something else than was sent" in str(raised(serve(asked, {cargo.digest: b"other"})))


def test_an_error_of_ours_arrives_as_itself():
    answer = orders.Answer(error=("NonFiniteError", "gradient", "is NaN", "look"))
    assert isinstance(raised(answer), NonFiniteError)
    assert str(raised(answer)) == "gradient: is NaN; look"


class Losing(Executor):
    """Serves orders at once, but breaks at some of the first."""

    def __init__(self, lost):
        self.lost, self.count = lost, 0

    def submit(self, function, *arguments):
        found, self.count = Future(), self.count + 1
        if function is not orders.probe and self.count <= self.lost:
            found.set_exception(BrokenProcessPool("gone"))
        else:
            found.set_result(
                (HERE, 0)
                if function is orders.probe
                else tuple(orders.Answer(pickle.dumps(order.arguments)) for order in arguments[0])
            )
        return found


class Renewed(Futures):
    def renew(self):
        """The same again."""


def work(hands, read=lambda content: content, tasks=3):
    dispatch = Dispatch(hands, 1, "", lambda: False)
    every = {number: Task("snrkit.fleet.orders:probe", (number,), (), read) for number in range(tasks)}
    dispatch.expect(every.items())
    return [pickle.loads(pickle.loads(dispatch.result(number, task)))[0] for number, task in every.items()]


def test_what_is_lost_is_done_again():
    assert work(Renewed(Losing(4))) == [0, 1, 2]


def test_what_is_lost_again_and_again_is_given_up():
    with pytest.raises(ResourceError, match="workers end in the middle of their work"):
        work(Renewed(Losing(1000)))


def test_a_pool_of_the_users_that_broke_is_told():
    with pytest.raises(ResourceError, match="give a new one"):
        work(Futures(Losing(2)))


class Two(Futures):
    """Two workers of a user's pool, which cannot be renewed; its first order may be lost, the others are done."""

    workers = 2


def kept(lost, stop, key):
    """What is taken of four orders that were all answered, or lost, before anybody looked."""
    taken = []
    dispatch = Dispatch(Two(Losing(lost)), 1, "", stop)
    every = {
        n: Task("snrkit.fleet.orders:probe", (n,), (), bytes, lambda *_, n=n: taken.append(n)) for n in range(1, 5)
    }
    dispatch.expect(every.items())
    if key is None:
        dispatch.cancel()
    else:
        with pytest.raises(Interrupted if stop() else ResourceError):
            dispatch.result(key, every[key])
    return sorted(taken)


def test_a_loss_throws_away_nothing_that_is_done():
    for _ in range(8):  # which future is looked at first is a matter of its address
        # The probe is the first that the executor counts, so that two are the probe and the first order.
        assert kept(2, lambda: False, 1) == [2, 3, 4]


def test_what_is_done_is_taken_before_the_work_is_interrupted():
    assert kept(0, lambda: True, 1) == [1, 2, 3, 4]
    assert kept(2, lambda: True, 1) == [2, 3, 4]


def test_what_is_done_is_taken_before_the_rest_is_given_up():
    assert kept(0, lambda: False, None) == [1, 2, 3, 4]
    assert kept(2, lambda: False, None) == [2, 3, 4]


class Timed(Losing):
    """Serves what it is given at once and says that each order took so long; remembers which came together."""

    def __init__(self, seconds, lost=0):
        super().__init__(lost)
        self.seconds, self.together, self._max_workers = seconds, [], 2

    def submit(self, function, *arguments):
        found = super().submit(function, *arguments)
        if function is not orders.probe:
            self.together.append([pickle.loads(order.arguments)[0] for order in arguments[0]])
            if found.exception() is None:
                timed = tuple(dataclasses.replace(answer, seconds=self.seconds) for answer in found.result())
                found = Future()
                found.set_result(timed)
        return found


def bundles(executor, tasks=400, cost=1.0, size=0):
    dispatch = Dispatch(Renewed(executor), 1, "", lambda: False)
    every = {
        n: Task("snrkit.fleet.orders:probe", (n,), (), lambda content: content, size=size, cost=cost)
        for n in range(tasks)
    }
    dispatch.expect(every.items())
    assert [pickle.loads(pickle.loads(dispatch.result(n, task)))[0] for n, task in every.items()] == list(every)
    return executor.together


def test_what_takes_little_goes_together_in_order():
    found = bundles(Timed(0.1))
    lengths = [len(own) for own in found]
    assert [number for own in found for number in own] == list(range(400))
    assert lengths[0] == 1  # nothing is known of it yet
    assert max(lengths) == 20  # 2 s of 0.1 s each
    assert lengths[-1] <= 2  # towards the end nobody is to wait for one worker
    assert len(found) < 60


def test_what_takes_long_or_is_large_or_unknown_goes_by_itself():
    assert {len(own) for own in bundles(Timed(2.5))} == {1}
    assert {len(own) for own in bundles(Timed(0.1), cost=0.0)} == {1}
    assert max(len(own) for own in bundles(Timed(0.1), size=2**24)) == 4


def test_what_was_lost_together_is_done_again_one_by_one():
    executor = Timed(0.1)
    before = executor.submit

    def submit(function, *arguments):
        if executor.count == 20:
            executor.lost = 21  # the next breaks
        return before(function, *arguments)

    executor.submit = submit
    found = bundles(executor)
    (broken,) = [n for n, own in enumerate(found) if n and found[n + 1 :] and own[0] == found[n + 1][0]]
    assert len(found[broken]) > 1
    assert found[broken + 1 : broken + 1 + len(found[broken])] == [[number] for number in found[broken]]


def test_one_of_several_that_fails_is_the_only_one():
    class Failing(Timed):
        def submit(self, function, *arguments):
            found = super().submit(function, *arguments)
            if function is orders.probe:
                return found
            error = ("NonFiniteError", "gradient", "is NaN", "look")
            answers = tuple(
                orders.Answer(error=error) if pickle.loads(order.arguments)[0] == 31 else answer
                for order, answer in zip(arguments[0], found.result(), strict=True)
            )
            found = Future()
            found.set_result(answers)
            return found

    executor = Failing(0.1)
    dispatch = Dispatch(Renewed(executor), 1, "", lambda: False)
    every = {n: Task("snrkit.fleet.orders:probe", (n,), (), lambda content: content, cost=1.0) for n in range(60)}
    dispatch.expect(every.items())
    for number, task in every.items():
        if number == 31:
            with pytest.raises(NonFiniteError):
                dispatch.result(number, task)
        else:
            dispatch.result(number, task)
    assert any(31 in own and len(own) > 1 for own in executor.together)


def test_an_answer_that_is_damaged_is_not_used():
    with pytest.raises(SpecError, match="not what was asked for"):
        work(Renewed(Losing(0)), lambda _: None)


@pytest.mark.parametrize(
    ("executor", "told"),
    [(3, "is no executor"), ("tcp://here:1", "is no executor"), (ThreadPoolExecutor(1), "threads")],
)
def test_what_is_no_executor_is_refused(executor, told):
    with pytest.raises(SpecError, match=told):
        snrkit.measure(*toy(dim=3), "iwae", K=2, draws=12, executor=executor)


class Empty:
    """Stands in for a client of a scheduler without workers."""

    def get_executor(self, **_):
        return None

    def nthreads(self):
        return {}

    def wait_for_workers(self, count, timeout):
        raise TimeoutError(f"{count} in {timeout}")


def test_a_worker_is_waited_for_and_that_is_said(caplog):
    with pytest.raises(ResourceError, match="no worker of tcp://h:1 in 60 s; start one"):
        Cluster(Empty(), "tcp://h:1")
    assert caplog.messages == ["scheduler: tcp://h:1 has no worker yet; one is waited for 60 s"]


def test_more_workers_than_cores_are_told_of(monkeypatch, caplog):
    monkeypatch.setattr(Processes, "_seen", lambda _: Machine.here())
    monkeypatch.setattr(hands, "_cores", lambda: 2)
    Processes(2).close(now=True)
    assert not caplog.messages
    Processes(3).close(now=True)
    assert caplog.messages == ["workers: 3 on 2 cores are no faster than 2, and each takes memory"]


def test_a_word_that_is_none_is_refused():
    with pytest.raises(SpecError, match="send: cannot be 'pickle'"):
        fleet_of(None, "pickle")


def test_a_scheduler_that_is_not_there(monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT", 1)
    pytest.importorskip("distributed")
    for address in ("here", "http://127.0.0.1:9", "tcp://127.0.0.1:port"):
        with pytest.raises(SpecError, match=f"'{address}' is no address; write for example tcp://host:8786"):
            Cluster.at(address)
    with pytest.raises(ResourceError, match=r"no scheduler answers at tcp://127\.0\.0\.1:9"):
        Cluster.at("tcp://127.0.0.1:9")
    with pytest.raises(SpecError, match="give `workers` or `scheduler`"), fleet(2, "tcp://127.0.0.1:9"):
        pass


@pytest.mark.slow
def test_workers_that_lack_the_package(client, monkeypatch):
    def probed(*_, **__):
        return {"tcp://one:1": ModuleNotFoundError("No module named 'snrkit'", name="snrkit")}

    monkeypatch.setattr(client, "run", probed)
    with pytest.raises(SpecError, match="a worker has no package snrkit; install the same snrkit on all workers"):
        Cluster(client)


def test_no_more_is_handed_out_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(snrkit.fleet.dispatch, "_ROOM", 100)

    class Waiting(Losing):
        def submit(self, function, *arguments):
            if function is orders.probe:
                return super().submit(function, *arguments)
            self.count += 1
            return Future()

    for size, out in ((0, 4), (40, 2), (60, 1), (1000, 1)):
        pool = Waiting(0)
        dispatch = Dispatch(Two(pool), 1, "", lambda: False)
        before = pool.count
        dispatch.expect((n, Task("snrkit.fleet.orders:probe", (n,), (), bytes, size=size)) for n in range(9))
        assert pool.count - before == out
