"""Several processes at once lose nothing, wait for ever for nothing, and leave nothing behind."""

import errno
import fcntl
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time

import pytest

from snrkit import locks
from snrkit.errors import OutputError, ResourceError
from snrkit.locks import merging
from snrkit.runs import lock
from snrkit.runs.kinds.draws import DRAWS
from snrkit.runs.kinds.slopes import SLOPES
from snrkit.runs.kinds.snr import SNR
from snrkit.runs.lock import alone_in, holder
from tests.support.tables import kept, slopes, table

PROCESS = """
import pickle, sys
from pathlib import Path
from snrkit.runs.kinds.slopes import SLOPES
from snrkit.runs.kinds.snr import SNR
folder, own = Path(sys.argv[1]), int(sys.argv[2])
table, slopes = pickle.loads((folder.parent / "tables").read_bytes())
for step in range(2):
    SNR.merge(folder / "snr.parquet", table.assign(seed=own, step=step))
    SLOPES.merge(folder / "snr.slopes.csv", slopes.assign(seed=own, step=step))
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_four_processes_lose_no_row(tmp_path):
    (tmp_path / "tables").write_bytes(pickle.dumps((table(), slopes())))
    folder = tmp_path / "run"
    started = [subprocess.Popen([sys.executable, "-c", PROCESS, str(folder), str(own)]) for own in range(4)]
    assert [process.wait(120) for process in started] == [0] * 4
    expected = {(own, step): 1 for own in range(4) for step in range(2)}
    rows = SNR.read(folder / "snr.parquet")
    assert rows.query("K == 10").groupby(["seed", "step"]).size().to_dict() == expected
    assert SLOPES.read(folder / "snr.slopes.csv").groupby(["seed", "step"]).size().to_dict() == expected
    assert names(folder) == ["snr.parquet", "snr.slopes.csv"]


@pytest.mark.parametrize("merge", ["table", "csv", "kept"])
def test_a_merge_waits_for_another_and_not_for_ever(tmp_path, monkeypatch, merge):
    acts = {
        "table": lambda: SNR.merge(tmp_path / "a.parquet", table()),
        "csv": lambda: SLOPES.merge(tmp_path / "a.slopes.csv", slopes()),
        "kept": lambda: DRAWS.merge(tmp_path / "a.draws.parquet", kept()),
    }
    monkeypatch.setattr(locks, "PATIENCE_S", 0.1)
    with merging(tmp_path / "other"), pytest.raises(ResourceError, match=r"for 0\.1 s"):
        acts[merge]()
    assert names(tmp_path) == []
    monkeypatch.setattr(locks, "PATIENCE_S", 30.0)
    inside, go_on = threading.Event(), threading.Event()

    def hold():
        with merging(tmp_path / "other"):
            inside.set()
            go_on.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait(30)
    threading.Timer(0.2, go_on.set).start()
    acts[merge]()
    assert go_on.is_set()
    holder.join()


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def no_locks(request, monkeypatch):
    def refused(*_):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refused)


@pytest.fixture
def owner():
    """The file of a process that ended, and of this one."""
    ended = subprocess.Popen(["true"])
    ended.wait()

    def of(pid, host=None):
        return json.dumps({"host": host or socket.gethostname(), "pid": pid, "started": "1", "token": "x"})

    return {
        "dead": of(ended.pid), "another since": of(os.getpid()), "elsewhere": of(ended.pid, "another.example"),
        "alive": of(os.getpid()).replace('"1"', json.dumps(locks._started(os.getpid()))),
    }  # fmt: skip


def test_a_file_system_without_locks_is_said_and_worked_on(tmp_path, no_locks, caplog):
    folder = tmp_path / "run"
    with alone_in(folder):
        SNR.merge(folder / "a.parquet", table())
        SNR.merge(folder / "a.parquet", table(step=99))
        found = json.loads((folder / ".lock-owner").read_text())
        assert (found["host"], found["pid"]) == (socket.gethostname(), os.getpid())
        with pytest.raises(ResourceError, match=f"another process is at work.*process {os.getpid()}"), alone_in(folder):
            pass
    assert names(folder) == [".lock", "a.parquet"]
    assert len(SNR.read(folder / "a.parquet")) == 6
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2  # once for the run, once for its tables
    assert all("has no locks" in message and "\n" not in message for message in messages)


@pytest.mark.parametrize("no_locks", [errno.ENOLCK], indirect=True)
@pytest.mark.parametrize("which", ["dead", "another since", "alive", "elsewhere"])
def test_who_is_dead_is_not_waited_for(tmp_path, no_locks, owner, monkeypatch, which):
    monkeypatch.setattr(locks, "PATIENCE_S", 0.1)
    for name in (".lock-owner", ".merge-owner"):
        (tmp_path / name).write_text(owner[which])
    if which in ("dead", "another since"):
        with alone_in(tmp_path):
            SNR.merge(tmp_path / "a.parquet", table())
        assert names(tmp_path) == [".lock", "a.parquet"]
        return
    with pytest.raises(ResourceError, match="another process is at work"), alone_in(tmp_path):
        pass
    with pytest.raises(ResourceError, match=r"for 0\.1 s"):
        SNR.merge(tmp_path / "a.parquet", table())
    assert names(tmp_path) == [".lock", ".lock-owner", ".merge-owner"]


@pytest.mark.parametrize("no_locks", [errno.ENOLCK], indirect=True)
def test_the_file_of_a_host_that_fell_silent_is_taken_over_and_its_owner_would_have_touched_it(
    tmp_path, no_locks, owner, monkeypatch
):
    """Without locks a dead process on another host cannot be told from a living one, unless the living one says so."""
    file, long_ago = tmp_path / ".lock-owner", time.time() - 3600
    for content, taken in ((owner["elsewhere"], False), (owner["elsewhere"].replace("}", ', "beat": 60}'), True)):
        file.write_text(content)
        assert "another.example" in holder(tmp_path)
        os.utime(file, (long_ago, long_ago))
        assert (holder(tmp_path) is None) == taken
    monkeypatch.setattr(locks, "_BEAT_S", 0.01)
    with alone_in(tmp_path):
        os.utime(file, (long_ago, long_ago))
        deadline = time.monotonic() + 30
        while file.stat().st_mtime == pytest.approx(long_ago, abs=1) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - file.stat().st_mtime < 60
    assert not file.exists()


def test_who_looks_keeps_nobody_out(tmp_path):
    assert holder(tmp_path / "none") is None
    with alone_in(tmp_path):
        assert "another process is at work" in holder(tmp_path)
    tmp_path.mkdir(exist_ok=True)  # which went with the lock
    (tmp_path / ".lock").touch()
    assert holder(tmp_path) is None
    with (tmp_path / ".lock").open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.001, lambda: fcntl.flock(looking, fcntl.LOCK_UN)).start()
        with alone_in(tmp_path):
            pass


def test_a_lock_that_is_a_pipe_a_link_or_a_folder(tmp_path):
    victim = tmp_path / "victim"
    makers = {
        "pipe": os.mkfifo, "link": lambda path: path.symlink_to(victim), "folder": lambda path: path.mkdir(),
    }  # fmt: skip
    for name, make in makers.items():
        folder = tmp_path / name
        folder.mkdir()
        make(folder / ".lock")
        with pytest.raises(OutputError, match="no regular file"), alone_in(folder):
            pass
    assert not victim.exists()


def test_a_folder_in_which_nothing_was_put_goes(tmp_path):
    with alone_in(tmp_path / "a" / "b"):
        pass
    assert names(tmp_path / "a") == []


def test_the_file_of_a_successor_is_neither_touched_nor_taken_away(tmp_path, monkeypatch):
    """Of one that was taken for dead and goes on: its folder is another's by now."""
    monkeypatch.setattr(locks, "_BEAT_S", 0.01)
    file, long_ago = tmp_path / ".owner", time.time() - 3600
    with locks.claimed(file, 0.0):
        file.write_text("another's")
        time.sleep(0.05)  # a beat that had begun before
        os.utime(file, (long_ago, long_ago))
        time.sleep(0.1)
        assert file.stat().st_mtime == pytest.approx(long_ago, abs=1)
    assert file.read_text() == "another's"


def test_a_lock_on_a_file_that_lost_its_name_is_none(tmp_path, monkeypatch):
    """Whoever had it deletes it at the end; a third would lock a new one of that name at the same time."""
    real, calls = lock._flock, []

    def raced(handle, folder):
        calls.append(handle)
        if len(calls) == 1:
            (folder / ".lock").unlink()
        real(handle, folder)

    monkeypatch.setattr(lock, "_flock", raced)
    with alone_in(tmp_path):
        assert locks.is_locked(tmp_path / ".lock")
    assert len(calls) == 2
