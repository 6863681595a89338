"""Every path option of every command: what no system takes, and what is of the wrong kind, is told before any work."""

import os

import click
import pytest

from snrkit.cli.main import program
from snrkit.cli.options import PathType
from tests.support.program import TOY

# Arguments that come before the path under test.
NEEDED = {
    "train": TOY, "sweep": ["grid.toml"], "evaluate": ["--ckpt", "x"], "snr": ["--ckpt", "x"], "beta": ["--ckpt", "x"],
    "reconstruct": ["--ckpt", "x"], "advise": ["--ckpt", "x", "--budget", "4"], "report": [], "data": [], "list": ["models"],
    "collect": ["--out", "table.csv"], "runs": [],
    "sample": ["--ckpt", "x"], "interpolate": ["--ckpt", "x"], "canvases": ["--ckpt", "x"],
}  # fmt: skip


def paths():
    context = click.Context(program)
    for name in program.list_commands(context):
        command = program.get_command(context, name)
        for words, own in [([name], command), *(([name, n], c) for n, c in getattr(command, "commands", {}).items())]:
            for option in own.params:
                if isinstance(option.type, PathType | click.Path):
                    flag = [option.opts[0]] if isinstance(option, click.Option) else []
                    yield pytest.param(words, flag, option.type, id=" ".join([*words, option.opts[0]]))


OPTIONS = list(paths())


def test_no_path_goes_unchecked():
    assert len(OPTIONS) >= 20
    assert all(isinstance(found.values[2], PathType) for found in OPTIONS)


@pytest.mark.parametrize(("words", "flag", "kind"), OPTIONS)
def test_what_is_no_path(snrkit, tmp_path, monkeypatch, words, flag, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    bad = {
        "": "is empty", "loop": "symbolic links", "loop/below": "symbolic links", "a\0b": "null byte",
        os.fsdecode(b"caf\xe9"): "not UTF-8", "x" * 300: "too long", "d/" * 3000: "too long",
    }  # fmt: skip
    for path, problem in bad.items():
        before = [] if not flag and words == ["sweep"] else NEEDED[words[0]]
        snrkit(*words, *before, *flag, path).refused(problem)
    assert [p.name for p in tmp_path.iterdir()] == ["loop"]


@pytest.mark.parametrize(("words", "flag", "kind"), [o for o in OPTIONS if o.values[2]._kind != "any"])
def test_the_wrong_kind_of_thing(snrkit, tmp_path, monkeypatch, words, flag, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    os.mkfifo(tmp_path / "pipe")
    wrong = (
        ["folder", "folder/", ".", "..", "/", "new/", "/dev/null", "pipe"]
        if kind._kind == "output"
        else ["file", "pipe"]
    )
    for path in [*wrong, "file/below"]:
        snrkit(*words, *NEEDED[words[0]], *flag, path).refused(flag[0])
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder", "pipe"]


def test_paths_of_the_right_kind_pass(tmp_path):
    (tmp_path / "file").write_text("")
    for kind, good in (
        ("any", ["new", "file", "."]),
        ("output", ["new", "file", "new/a.json"]),
        ("folder", ["new", "."]),
    ):
        for path in good:
            assert PathType(kind).convert(str(tmp_path / path), None, None) == tmp_path / path


def test_out_is_the_present_folder(snrkit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert snrkit("train", *TOY, "--epochs", 0, "--out", ".").code == 0
    assert (tmp_path / "run.pt").exists()


def test_data_path_that_no_system_takes(snrkit, tmp_path):
    for path in ("x" * 300, "a/" * 3000, "", r"a\u0000b"):
        result = snrkit("train", "--data", "npz", "--set", f'data.path="{path}"', "--out", tmp_path / "run")
        assert (result.code, result.err.count("\n")) == (2, 1), result.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_runs_names_its_runs(snrkit, toy_run):
    (toy_run.parent / "other").mkdir()
    (toy_run.parent / "other" / "run.pt").write_bytes((toy_run / "run.pt").read_bytes())
    for command in ("sample", "interpolate", "canvases"):
        snrkit(command, "--ckpt", toy_run.parent).refused(
            "2 runs or checkpoints (other, toy)", f"{toy_run.parent}/other"
        )


def test_a_present_folder_that_is_gone(snrkit, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    snrkit("evaluate", "--ckpt", "run").refused("the present folder", "No such file or directory")
