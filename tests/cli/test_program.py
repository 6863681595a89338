"""The program as a whole: help, exit codes, imports, pipes."""

import subprocess
import sys

import click
import pytest
import torch

from snrkit.cli.main import Commands, called
from snrkit.cli.options import COUNTS, NAMES, parse_options
from snrkit.cli.output import progress
from snrkit.cli.wording import error_in_flags
from snrkit.errors import SpecError

COMMANDS = list(Commands.TABLE)


def python(code, **options):
    return subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60, **options
    )


@pytest.mark.parametrize("argv", [["--help"], ["-h"], *([name, "--help"] for name in COMMANDS)], ids=" ".join)
def test_help(snrkit, argv):
    result = snrkit(*argv)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("Usage: snrkit")


def test_help_lists_every_command_with_its_line(snrkit):
    shown = snrkit("--help").out
    assert all(name in shown and text in shown for name, (_, text) in Commands.TABLE.items())


def test_version(snrkit):
    result = snrkit("--version")
    assert (result.code, "version" in result.out) == (0, True)


def test_help_imports_nothing_slow():
    code = (
        "import sys\n"
        "from snrkit.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'numpy', 'pandas', 'matplotlib', 'scipy') if name in sys.modules])"
    )
    assert python(code).stdout.endswith("[]\n")


def test_no_commands_help_imports_torch():
    code = (
        "import sys\n"
        "from snrkit.cli.main import main\n"
        f"for name in {COMMANDS}:\n"
        "    try: main([name, '--help'])\n"
        "    except SystemExit as exit_: assert not exit_.code\n"
        "print('torch' in sys.modules)"
    )
    assert python(code).stdout.endswith("False\n")


def test_bad_settings_are_told_before_torch_is_loaded(tmp_path):
    code = (
        "import sys\n"
        "from snrkit.cli.main import main\n"
        "try: main(['train', '--K', '0'])\n"
        "except SystemExit as exit_: print(exit_.code, 'torch' in sys.modules)"
    )
    assert python(code, cwd=tmp_path).stdout == "2 False\n"


@pytest.mark.parametrize(
    "argv", [["trian"], ["train", "--epoch", "3"], ["snr"], ["train", "--K"], ["evaluate", "--ckpt", "x", "--points", "1"]]
)  # fmt: skip
def test_misuse(snrkit, argv):
    snrkit(*argv).refused("--help'")


def test_without_a_command_the_help_is_shown(snrkit):
    result = snrkit()
    assert (result.code, result.err) == (0, "")
    assert "Commands:" in result.out


def test_a_reader_that_goes_away_is_no_error():
    code = (
        "import os, sys, click\n"
        "from snrkit.cli.main import program, main\n"
        "read, write = os.pipe(); os.close(read); os.dup2(write, 1)\n"
        "main(['data', 'list'])"
    )
    result = python(code)
    assert (result.returncode, result.stderr) == (0, "")


def test_other_errors_show_where_they_came_from():
    code = (
        "import snrkit.cli.train as train\n"
        "from snrkit.cli.main import main\n"
        "def broken(*args): raise ZeroDivisionError\n"
        "train._written = broken\n"
        "main(['train'])"
    )
    result = python(code)
    assert result.returncode == 1
    assert "ZeroDivisionError" in result.stderr


@pytest.mark.parametrize("text", ["0", "1,x", "", ",", "1,,2", "-3", "1.5", "1,0", "1e2"])
def test_counts_refuse(text):
    with pytest.raises(click.BadParameter):
        COUNTS.convert(text, None, None)


def test_lists():
    assert COUNTS.convert("10, 1,10", None, None) == [10, 1]
    assert NAMES.convert(" vae,iwae ,vae", None, None) == ["vae", "iwae"]
    for nothing in ("", " , "):
        with pytest.raises(click.BadParameter):
            NAMES.convert(nothing, None, None)


def test_options_are_numbers():
    assert parse_options(("beta=0.5", " a = 1e-3")) == {"beta": 0.5, "a": 1e-3}
    for bad in ("beta", "beta=", "beta=x"):
        with pytest.raises(SpecError, match="NAME=NUMBER"):
            parse_options((bad,))


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cpu:", "mps", "", "meta"])
def test_unknown_devices(snrkit, toy_run, device):
    snrkit("snr", "--ckpt", toy_run, "--device", device).refused("--device", "cuda:N")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_cuda_where_there_is_none(snrkit, toy_run, device):
    for command in ("snr", "evaluate"):
        snrkit(command, "--ckpt", toy_run, "--device", device).refused("--device", "--device cpu")
    snrkit("train", "--device", device, "--out", toy_run.parent / "new").refused("--device")
    assert not (toy_run.parent / "new").exists()


def test_progress_elsewhere_than_on_a_terminal_is_one_line_every_30_s(capsys, monkeypatch):
    clock = iter([0.0, 10.0, 31.0, 40.0, 62.0])
    monkeypatch.setattr("snrkit.cli.output.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("rich.console.Console.is_terminal", False)
    with progress("work", False) as update:
        for done in (1, 2, 3, 4):
            update(done, 8, "note")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "work: 25 %, ETA 93 s, note\nwork: 50 %, ETA 62 s, note\n")


def test_a_bar_on_a_terminal_stays_off_stdout(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress("work", False) as update:
        update(1, 2, "note")
    out, err = capsys.readouterr()
    assert out == ""
    assert "work" in err


@pytest.mark.parametrize(
    ("argument", "remedy", "words", "told"),
    [
        ("samples", "give another `out`", ["evaluate"], "--samples: is wrong; give another --out"),
        ("path", "use `device=cpu`", ["evaluate"], "--ckpt: is wrong; use --device cpu"),
        ("k", "raise `k`", ["reconstruct"], "--resample: is wrong; raise --resample"),
        ("estimator.K", "add `resume=True`", ["train"], "estimator.K: is wrong; add --resume"),
        ("epochs", "add `data.path=FILE`", ["train"], "epochs: is wrong; add --set data.path=FILE"),
        ("epochs", "try `data.name=idx`", ["train", "--epochs", "0"], "--epochs: is wrong; try --data idx"),
        ("x", "give `estimator.options.beta=1`", ["train"], "x: is wrong; give --option beta=1"),
        ("out", "see to `data_dir`", ["data", "fetch"], "out: is wrong; see to --data-dir"),
        ("samples", "drop `samples`", ["report"], "samples: is wrong; drop samples"),
        ("executor", "start it", ["snr", "--scheduler", "tcp://h:1"], "--scheduler: is wrong; start it"),
        ("executor", "start it", ["sweep", "--workers", "2"], "--workers: is wrong; start it"),
    ],
)
def test_arguments_of_the_library_become_flags_of_the_command(argument, remedy, words, told):
    assert error_in_flags(SpecError(argument, "is wrong", remedy), called(words), words) == told
