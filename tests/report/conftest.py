"""Result folders, and ``snrkit report`` called on them."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from snrkit.cli.main import main
from snrkit.report import save
from snrkit.runs.kinds.snr import SNR
from tests.support.results import make_run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with a VAE run measured with two estimators, and an IWAE run."""
    make_run(tmp_path / "runs", "demo-vae", "vae", measured=["vae", "iwae"])
    make_run(tmp_path / "runs", "demo_iwae", "iwae")
    return tmp_path / "runs"


@pytest.fixture
def svg_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are drawn as SVG alone, other files are empty: for tests of what stands in a figure and beside it."""
    drawn = save.render
    monkeypatch.setattr(
        save, "render", lambda figure, ending, dpi: drawn(figure, ending, dpi) if ending == "svg" else b""
    )


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Call ``snrkit report``; gives the exit code, what it printed and what it said on stderr."""

    def call(*argv: object) -> tuple[int, str, str]:
        code = 0
        try:
            main(["report", *map(str, argv)])
        except SystemExit as exit_:
            code = int(str(exit_.code))
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def one_table(tmp_path: Path) -> Callable[[pd.DataFrame], Path]:
    """Write a table to a bare Parquet file."""

    def write(frame: pd.DataFrame) -> Path:
        path = tmp_path / "bare.parquet"
        SNR.write(path, frame)
        return path

    return write
