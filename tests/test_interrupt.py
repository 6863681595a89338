"""Signals that would end the program, caught."""

import os
import signal
import threading

import pytest

from snrkit.interrupt import raising_signals, stop_requests

ENDING = [
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU,
    signal.SIGALRM, signal.SIGVTALRM, signal.SIGRTMIN + 3,
]  # fmt: skip


@pytest.fixture(autouse=True)
def defaults():
    """Handlers as in a fresh process, put back after the test."""
    old = {number: signal.getsignal(number) for number in ENDING}
    for number in ENDING:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in old.items():
        signal.signal(number, handler)


def handlers():
    return [signal.getsignal(number) for number in ENDING]


@pytest.mark.parametrize("number", ENDING)
def test_one_raises_a_flag_and_a_second_gets_out(number):
    before = handlers()
    with raising_signals():
        with pytest.raises(KeyboardInterrupt), stop_requests() as stopped:  # noqa: PT012
            assert not stopped()
            os.kill(os.getpid(), number)
            assert stopped()
            os.kill(os.getpid(), number)
        # Taken over again, whatever came before.
        if number != signal.SIGINT:
            assert signal.getsignal(number) is not signal.SIG_DFL
    assert handlers() == before


@pytest.mark.parametrize("number", ENDING)
def test_without_stop_requests_one_raises(number):
    before = handlers()
    with pytest.raises(KeyboardInterrupt), raising_signals():
        os.kill(os.getpid(), number)
    assert handlers() == before


def test_what_is_ignored_stays_so():
    """As under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with raising_signals(), stop_requests() as stopped:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stopped()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_what_others_catch_stays_theirs():
    caught = []
    signal.signal(signal.SIGUSR1, lambda *_: caught.append(1))
    with raising_signals(), stop_requests() as stopped:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert not stopped()
    assert caught == [1]


def test_elsewhere_than_in_the_main_thread_nothing_is_touched():
    before, found = handlers(), []

    def work():
        with raising_signals(), stop_requests() as stopped:
            found.append((stopped(), handlers()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, before)]
