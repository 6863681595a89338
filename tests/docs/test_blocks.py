"""Every block of code in README.md and in docs/ runs, or says why it does not."""

import os
import subprocess
import sys
import tomllib
import warnings

import matplotlib as mpl
import pytest

from tests.docs.pages import PAGES, ROOT, blocks, is_notebook, name

WITH_PYTHON = [page for page in PAGES if any(one.is_run and one.language == "python" for one in blocks(page))]
QUICK = [
    pytest.param(page, marks=[pytest.mark.extra] if any(one.needs for one in blocks(page)) else [], id=name(page))
    for page in WITH_PYTHON
    if not is_notebook(page)
]
WHOLE = [
    page for page in PAGES if is_notebook(page) or any(one.is_run and one.language == "sh" for one in blocks(page))
]


def run_python(block, names, where):
    with mpl.rc_context(), warnings.catch_warnings():
        if block.needs:
            warnings.simplefilter("ignore")  # other libraries' own
        exec(compile(block.code, where, "exec"), names)


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """Runs lines of a shell where ``snrkit`` is this source tree's, with its examples beside; none is left at work."""
    (tmp_path / "bin").mkdir()
    for called in ("snrkit", "dask"):
        program = tmp_path / "bin" / called
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {called} "$@"\n')
        program.chmod(0o755)
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(folder)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    places = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "SNRKIT_DATA": str(tmp_path)}

    def run(code):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{code}"],
            check=False,
            env=places,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"

    return run


@pytest.mark.rest_slow
@pytest.mark.parametrize("page", QUICK)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for number, block in enumerate(blocks(page)):
        if block.is_run and block.is_served and block.language == "python":
            run_python(block, names, f"{name(page)}, block {number}")


@pytest.mark.slow
@pytest.mark.parametrize("page", WHOLE, ids=name)
def test_a_page_runs_from_top_to_bottom(page, shell):
    names = {"__name__": "page"}
    for number, block in enumerate(blocks(page)):
        if block.is_run and block.is_served and block.language == "python":
            run_python(block, names, f"{name(page)}, block {number}")
        elif block.is_run and block.language == "sh":
            shell(block.code)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_is_not_run_says_why_and_can_be_read(page):
    for block in blocks(page):
        assert block.language in ("python", "sh", "toml", "text"), block
        if block.language == "toml":
            tomllib.loads(block.code)
        if block.mark.startswith("not run"):
            assert len(block.mark.removeprefix("not run:").split()) > 3, block
            script = block.code.replace("<this repository>", "repository")
            read = subprocess.run(["bash", "-n"], check=False, input=script, text=True)
            assert read.returncode == 0, block


def test_little_is_not_run():
    every = [block for page in PAGES for block in blocks(page) if block.language in ("python", "sh")]
    left = [block for block in every if not block.is_run]
    assert len(every) > 40
    assert all(block.language == "sh" for block in left)
    assert len(left) < 8


def test_the_readmes_model_is_short():
    [code] = [block.code for block in blocks(ROOT / "README.md") if block.language == "python"]
    model = code[code.index("class") : code.index("x = ")].strip()
    assert len(model.splitlines()) < 25
