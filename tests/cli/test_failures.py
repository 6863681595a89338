"""Exit codes by kind of failure, each with one line; output that cannot be shown."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import snrkit.cli.train
from snrkit import errors
from snrkit.cli.output import one_line, prepare_output, tell
from tests.support.program import TOY


@pytest.fixture
def failing(snrkit, monkeypatch, tmp_path):
    """``snrkit train`` that raises something."""

    def call(error):
        def raise_it(*_):
            raise error

        monkeypatch.setattr(snrkit_train(), "apply_settings", raise_it)
        return snrkit("train", "--out", tmp_path / "run")

    return call


def snrkit_train():
    return snrkit.cli.train


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.SpecError, 2), (errors.DataError, 2), (errors.CheckpointError, 2), (errors.ResultsError, 2),
        (errors.CapabilityError, 2), (errors.ModelError, 2), (errors.PathError, 2), (errors.NonFiniteError, 3),
        (errors.OutputError, 4), (errors.ResourceError, 4),
    ],
)  # fmt: skip
def test_every_error_of_ours_has_its_code(failing, kind, code):
    assert failing(kind("what", "is wrong", "mend it")).refused("what: is wrong; mend it", code=code)


def test_no_class_of_error_is_without_a_test():
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.SnrkitError)}
    assert len(kinds - {errors.SnrkitError}) == 10


@pytest.mark.parametrize(
    ("error", "size"),
    [
        (MemoryError(), None),
        (MemoryError("Unable to allocate 373. GiB for an array with shape (100000000000,)"), "373 GiB"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 400000000000 bytes. "
                      "Error code 12 (Cannot allocate memory)"), "400.0 GB"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 2048 bytes"), "2048 b"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 ..."), "20.00 MiB"),
        (RuntimeError("Storage size calculation overflowed with sizes=[4611686018427387904, 8]"), None),
        (ValueError("array is too big; `arr.size * arr.dtype.itemsize` is larger than the maximum possible size."), None),
        (ValueError("Maximum allowed dimension exceeded"), None),
        (OverflowError("Python int too large to convert to C ssize_t"), None),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), None),
    ],
)  # fmt: skip
def test_memory_that_runs_out(failing, error, size):
    words = ["memory: not enough", "fewer samples"] + ([size] if size else [])
    failing(error).refused(*words, code=4)


def test_what_torch_and_numpy_really_raise(failing):
    import numpy as np

    attempts = [
        lambda: torch.empty(2**45),
        lambda: torch.empty(2**62, 8),
        lambda: np.random.default_rng(0).standard_normal((2**45,), dtype=np.float32),
        lambda: np.random.default_rng(0).standard_normal((2**62, 8)),
        lambda: [0] * 2**50,
        lambda: torch.zeros(10**30),
    ]
    for attempt in attempts:
        with pytest.raises(Exception) as caught:  # noqa: PT011 (whatever they raise)
            attempt()
        failing(caught.value).refused("memory: not enough", code=4)


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, 4), (errno.EACCES, 4), (errno.EIO, 4), (errno.ELOOP, 2), (errno.ENAMETOOLONG, 2)],
)
def test_errors_of_the_system_that_nobody_foresaw(failing, number, code):
    failing(OSError(number, "why", "/some/file")).refused("/some/file: why", code=code)


def test_anything_else_is_a_fault_of_ours_with_its_traceback(failing):
    result = failing(ZeroDivisionError("by zero"))
    assert (result.code, result.out) == (1, "")
    assert "Traceback" in result.err
    assert result.err.splitlines()[-1].startswith("snrkit: this is a fault in snrkit (ZeroDivisionError)")


def test_names_of_the_users_do_not_break_the_line(failing):
    failing(errors.DataError("a\nb\x1b[31m\x00", "is ± wrong", "mend it")).refused(r"a\nb\x1b[31m\x00: is ± wrong")
    assert one_line("a\u2028b\udcff") == r"a\u2028b\udcff"


def test_a_lock_is_4_and_a_run_that_is_there_is_2(snrkit, toy_run):
    from snrkit.runs.lock import alone_in

    snrkit("train", *TOY, "--out", toy_run).refused("holds a run already")
    with alone_in(toy_run):
        snrkit("train", *TOY, "--resume", "--epochs", 1, "--out", toy_run).refused("another process", code=4)


def test_a_full_disk_is_4(snrkit, toy_run, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    snrkit("train", *TOY, "--epochs", 0, "--out", toy_run.parent / "new").refused("no space left", code=4)


def test_an_unknown_command_is_told_what_was_meant(snrkit):
    snrkit("trian").refused("did you mean 'train'?")
    snrkit("SNR").refused("did you mean 'snr'?")
    snrkit("frobnicate").refused("choose from train, sweep")


def test_help_tells_the_codes(snrkit):
    shown = snrkit("--help").out
    assert "Exit codes" in shown
    assert "diverged" in shown


def shell(line, **options):
    command = line.replace("snrkit", f"{sys.executable} -m snrkit")
    return subprocess.run(["sh", "-c", command], check=False, capture_output=True, text=True, timeout=60, **options)


def test_stdout_that_takes_nothing():
    for line in ("snrkit data list >/dev/full", "snrkit data list --json >/dev/full"):
        result = shell(line)
        assert (result.returncode, result.stderr.count("\n")) == (4, 1)
        assert "stdout: cannot be written (no space left on device)" in result.stderr
    closed = shell("snrkit data list >&-")
    assert (closed.returncode, closed.stderr.count("\n")) == (4, 1)
    assert "stdout: is closed" in closed.stderr
    assert shell("snrkit data lst >/dev/full 2>&-").returncode == 2


def test_a_table_where_stdout_takes_nothing():
    code = "from rich.table import Table; from snrkit.cli.output import *; prepare_output(); print_table(Table('a'))"
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-u", "-c", code], check=False, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert "OutputError: stdout: cannot be written (no space left on device)" in result.stderr


def test_a_terminal_without_our_characters(tmp_path):
    code = (
        "from rich.table import Table\n"
        "from snrkit.cli.output import *\n"
        "prepare_output()\n"
        "tell('0.5 ± 0.1, −β √2 é x² p̂ \\udcff')\n"
        "table = Table('a ± b'); table.add_row('1'); print_table(table)"
    )
    for encoding in ("ascii", "latin-1", "utf-8"):
        result = subprocess.run(
            [sys.executable, "-c", code], check=False, capture_output=True, timeout=60,
            env={"PYTHONIOENCODING": encoding, "PYTHONPATH": ":".join(sys.path)},
        )  # fmt: skip
        assert (result.returncode, result.stderr) == (0, b"")
        first = result.stdout.decode(encoding).splitlines()[0]
        expected = {
            "ascii": r"0.5 +- 0.1, -beta sqrt 2 e x^2 p \udcff",
            "latin-1": "0.5 ± 0.1, -beta sqrt 2 é x² p \\udcff",
        }
        assert first == expected.get(encoding, "0.5 ± 0.1, −β √2 é x² p̂ \\udcff")


def test_a_reader_that_goes_away_does_not_stop_the_work(capsys, monkeypatch):
    class Gone:
        def write(self, text):
            raise BrokenPipeError

        def fileno(self):
            raise OSError

    monkeypatch.setattr(sys, "stdout", Gone())
    tell("anything")
    assert prepare_output()


def test_without_an_installation(snrkit, tmp_path, monkeypatch):
    from importlib import metadata

    from snrkit.report import unchanged

    real = metadata.version

    def version(name):
        if name == "snrkit":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr("snrkit.version.installed", version)
    assert snrkit("--version").out == "snrkit, version source\n"
    unchanged.versions.cache_clear()
    try:
        assert snrkit("train", *TOY, "--epochs", 2, "--out", tmp_path / "toy").code == 0
        assert snrkit("report", tmp_path / "toy", "--out", tmp_path / "figures", "--figure", "training").code == 0
        assert unchanged.versions()["snrkit"] == "source"
    finally:
        unchanged.versions.cache_clear()
