import re
import shlex
from pathlib import Path

import pytest

from snrkit.cli.main import main
from tests.support.readme import written

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_readmes_own_model_runs(capsys):
    [code] = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    model = code[code.index("class") : code.index("x = ")].strip()
    assert len(model.splitlines()) < 25
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 1 + 3 * 2


def test_the_readmes_tables_are_those_of_the_registries():
    assert written(README) == README, "write them anew: python -m tests.support.readme"


@pytest.mark.slow
def test_the_readmes_networks_of_bits_and_flows_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = [line.strip() for line in README.splitlines() if re.match(r"    snrkit .*digits-(sbn|flow)", line)]
    assert len(lines) == 5
    for line in lines:
        main(shlex.split(line)[1:])
    for file in ("digits-sbn/snr.parquet", "digits-sbn/prior-samples.png", "digits-flow/interpolations.png"):
        assert (tmp_path / "checkpoints" / file).exists()
    assert "floor" in capsys.readouterr().out
