"""Whole files are read and written, or the old ones stay: on full disks, and where others delete, rename and block."""

import os
import shutil
import stat

import pytest

from snrkit import files
from snrkit.errors import OutputError, ResultsError
from snrkit.files import atomic_path, discard_partial, inside, pinned, read_json, require_writable, write_bytes
from snrkit.runs.folder import RunDir


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def gone(folder):
    shutil.rmtree(folder)


def renamed(folder):
    folder.rename(folder.with_name("elsewhere"))


def replaced(folder):
    renamed(folder)
    folder.mkdir()


@pytest.mark.parametrize("change", [gone, renamed, replaced])
def test_nothing_is_written_where_a_pinned_folder_was(tmp_path, change):
    folder = tmp_path / "run"
    folder.mkdir()
    run = RunDir(folder)
    with pinned(folder):
        write_bytes(folder / "steps" / "a", b"1")
        change(folder)
        for write in (
            lambda: write_bytes(folder / "a", b"2"),
            lambda: write_bytes(folder / "steps" / "b", b"2"),
            lambda: run.append_metrics({"epoch": 1}),
            lambda: run.set_status("done"),
        ):
            with pytest.raises(OutputError, match="deleted, renamed or replaced"):
                write()
    assert not folder.exists() or not list(folder.iterdir())
    write_bytes(folder / "a", b"3")  # afterwards it is a path like any other


def test_a_folder_that_another_process_tidied_away_is_made_again(tmp_path, monkeypatch):
    made = files.make_folder
    times = []

    def then_removed(folder):
        made(folder)
        times.append(folder)
        if len(times) < 3:
            folder.rmdir()

    monkeypatch.setattr(files, "make_folder", then_removed)
    write_bytes(tmp_path / "run.partial" / "block", b"1")
    assert (tmp_path / "run.partial" / "block").read_bytes() == b"1"


def test_what_is_being_written_is_not_discarded(tmp_path):
    path = tmp_path / "a.npz"
    (tmp_path / ".a.npz.x.tmp.npz").write_bytes(b"left by a killed process")
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"whole")
        discard_partial(path)
        assert [file.name for file in tmp_path.iterdir()] == [temporary.name]
    assert path.read_bytes() == b"whole"


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(ResultsError, match="cannot be read"):
        read_json(tmp_path / "a.json")
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(ResultsError, match="cannot be read"):
        RunDir(tmp_path).read_metrics()


@pytest.mark.parametrize(
    "text", ["[" * 5000, '{"a":' * 3000, "[" * 70 + "]" * 70, "9" * 5000, '{"a": 1' + "0" * 30 + "}"]
)
def test_json_without_end_is_one_line(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ResultsError, match="cannot be read"):
        read_json(tmp_path / "a.json")
    (tmp_path / "metrics.jsonl").write_text(f'{{"epoch": 1, "bound": {text}}}\n')
    with pytest.raises(ResultsError, match="line 1 is not a JSON object"):
        RunDir(tmp_path).read_metrics()


@pytest.mark.parametrize("name", ["../a", "a/b", "/etc/passwd", "..", ".", "", "a\0b", 3, None])
def test_names_that_lead_elsewhere(tmp_path, name):
    with pytest.raises(ResultsError, match="may lie elsewhere"):
        inside(tmp_path, name)


def test_a_sidecar_that_names_files_elsewhere_is_not_believed(tmp_path):
    import json

    from snrkit.report import unchanged

    (tmp_path / "secret").write_text("x")
    out = tmp_path / "figures"
    out.mkdir()
    for name, known in (("../secret", False), ("own", True)):
        (out / "own").write_text("x")
        kept = {"key": "k", "files": [[name, unchanged.digest(out / name)]], "notes": []}
        (out / unchanged.FILE).write_text(json.dumps(kept))
        assert (unchanged.recall(out, "k") is not None) == known


def test_a_write_that_fails_leaves_the_old_file_and_no_temporary_one(tmp_path, full_disk):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    with pytest.raises(OutputError, match="cannot be written") as caught:
        write_bytes(path, b"new" * 10_000)
    assert caught.value.argument == str(path)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_a_full_disk_is_called_so(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"no space left on device\); free some space"):
        write_bytes(tmp_path / "a", b"x")
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_any_exception_within_the_block_cleans_up(tmp_path, error):
    with pytest.raises(error), atomic_path(tmp_path / "a") as temporary:  # noqa: PT012
        temporary.write_bytes(b"half")
        raise error
    assert names(tmp_path) == []


def test_a_path_below_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    for attempt in (lambda path: write_bytes(path, b""), require_writable):
        with pytest.raises(OutputError, match="`out`"):
            attempt(tmp_path / "file" / "a.json")


def test_require_writable(tmp_path):
    require_writable(tmp_path / "new" / "a.json")
    assert names(tmp_path / "new") == []
    with pytest.raises(OutputError, match="is a directory"):
        require_writable(tmp_path / "new")


def test_written_files_have_the_permissions_of_any_new_file(tmp_path):
    write_bytes(tmp_path / "atomic", b"")
    (tmp_path / "plain").touch()
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("atomic", "plain")}
    assert len(modes) == 1
