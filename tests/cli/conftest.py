"""The program called in this process, and small runs to call it on."""

import contextlib
import shutil
from pathlib import Path

import pytest

from snrkit.cli.main import main
from tests.support.program import TOY, caller


@pytest.fixture
def snrkit(capsys):
    return caller(capsys)


@pytest.fixture(scope="session")
def untrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("untrained") / "toy"
    with contextlib.suppress(SystemExit):
        main([str(arg) for arg in ["train", *TOY, "--epochs", 0, "--dtype", "float64", "--quiet", "--out", folder]])
    assert (folder / "run.pt").exists()
    return folder


@pytest.fixture
def toy_run(untrained, tmp_path):
    """The directory of a small float64 run on the Gaussian toy, not trained."""
    return Path(shutil.copytree(untrained, tmp_path / "toy"))


@pytest.fixture
def contents():
    def of(folder):
        return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}

    return of
