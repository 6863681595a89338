"""The program called in this process, and small runs to call it on."""

import pytest

from snrkit.cli.main import main

TOY = [
    "--data", "gaussian", "--model", "gaussian", "--M", 2, "--K", 4, "--batch-size", 5,
    "--set", "data.size=23", "--set", "data.dim=3", "--set", "eval_points=7", "--device", "cpu",
]  # fmt: skip


class Result:
    """What one call gave."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def refused(self, *words, code=2):
        """It was refused: exit 2 for bad input, one line on stderr with these words, nothing on stdout."""
        assert (self.code, self.out) == (code, "")
        assert self.err.count("\n") == 1, self.err
        for word in words:
            assert word in self.err
        return True


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
