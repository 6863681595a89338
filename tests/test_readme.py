import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_readmes_own_model_runs(capsys):
    [code] = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    model = code[code.index("class") : code.index("x = ")].strip()
    assert len(model.splitlines()) < 25
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 1 + 3 * 2
