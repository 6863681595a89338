"""``snrkit data`` as a user meets it: exit codes, one-line errors, results on stdout."""

import json
import shutil

import pytest

from snrkit.cli.main import main
from snrkit.data import SOURCES


@pytest.fixture
def run(capsys):
    def call(*argv):
        code = 0
        try:
            main(["data", *map(str, argv)])
        except SystemExit as exit_:
            code = exit_.code
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_list_shows_every_source_and_what_is_not_found(run, tmp_path):
    code, out, err = run("list", "--data-dir", tmp_path)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[1::2]] == SOURCES.names
    assert next(line for line in lines if line.startswith("mnist")).endswith("not found")


def test_list_as_json(run, tmp_path):
    (tmp_path / "omniglot28.npz").write_bytes(b"")
    code, out, _ = run("list", "--json", "--data-dir", tmp_path)
    listed = json.loads(out)
    assert (code, listed["folder"]) == (0, str(tmp_path))
    found = {entry["name"]: entry["found"] for entry in listed["sources"]}
    assert found == dict.fromkeys(SOURCES.names, True) | {"mnist": False, "fashion-mnist": False, "kmnist": False}


def test_verify_missing_exits_2_with_one_line_and_the_remedy(run, tmp_path):
    code, out, err = run("verify", "mnist", "--data-dir", tmp_path)
    assert code == 2
    assert out.splitlines() == ["train-images-idx3-ubyte: missing", "t10k-images-idx3-ubyte: missing"]
    assert err.count("\n") == 1
    assert "snrkit data fetch mnist" in err


def test_verify_tells_damaged_from_missing(run, tmp_path):
    (tmp_path / "omniglot28.npz").write_bytes(b"damaged")
    code, out, err = run("verify", "omniglot", "--json", "--data-dir", tmp_path)
    states = {name: file["state"] for name, file in json.loads(out)["files"].items()}
    assert (code, states) == (2, {"chardata.mat": "missing", "omniglot28.npz": "differs"})
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["digits", "gaussian", "npz"])
def test_sources_without_files_need_nothing(run, name, tmp_path):
    assert run("verify", name, "--data-dir", tmp_path)[0] == 0
    code, out, _ = run("fetch", name, "--data-dir", tmp_path)
    assert (code, "nothing to fetch" in out) == (0, True)


def test_fetch_omniglot_says_which_file_to_put_where(run, tmp_path):
    code, out, err = run("fetch", "omniglot", "--data-dir", tmp_path)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "chardata.mat" in err


def test_unknown_name_suggests_the_nearest(run):
    code, _, err = run("verify", "mnits")
    assert code == 2
    assert "did you mean 'mnist'" in err


def test_real_files_verify_and_need_no_fetch(run, data_dir, tmp_path):
    for name in ("mnist", "omniglot"):
        code, out, err = run("verify", name, "--data-dir", data_dir)
        assert (code, err) == (0, "")
        assert ": ok" in out
    code, out, _ = run("fetch", "mnist", "--data-dir", data_dir)
    assert (code, "already complete" in out) == (0, True)
    # Half of it, renamed into the plain folder: still found, still incomplete.
    shutil.copy(data_dir / "mnist" / "t10k-images-idx3-ubyte.gz", tmp_path)
    code, out, _ = run("verify", "mnist", "--json", "--data-dir", tmp_path)
    assert code == 2
    assert json.loads(out)["files"]["t10k-images-idx3-ubyte"]["state"] == "ok"
