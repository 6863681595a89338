"""The program called in this process, and small runs to call it on."""

import pytest

from snrkit.cli.main import main
from tests.support.program import TOY, Result


@pytest.fixture
def snrkit(capsys):
    def call(*argv):
        code = 0
        capsys.readouterr()
        try:
            main([str(arg) for arg in argv])
        except SystemExit as exit_:
            code = exit_.code
        return Result(code, *capsys.readouterr())

    return call


@pytest.fixture
def toy_run(snrkit, tmp_path):
    """The directory of a small float64 run on the Gaussian toy, not trained."""
    assert snrkit("train", *TOY, "--epochs", 0, "--dtype", "float64", "--out", tmp_path / "toy").code == 0
    return tmp_path / "toy"


@pytest.fixture
def contents():
    def of(folder):
        return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}

    return of
