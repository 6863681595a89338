"""A report that is up to date is told at once; whatever changed is drawn again."""

import json
import shutil
import subprocess
import sys

import pytest

from snrkit.report import unchanged
from snrkit.report.find import find
from snrkit.runs.folder import RunDir
from tests.support.results import make_run

pytestmark = pytest.mark.slow

ONE = ("--figure", "snr_vs_k")


@pytest.fixture
def report(tmp_path, run):
    """Call the program on one run; gives what it printed as JSON."""
    make_run(tmp_path / "runs", "demo", "iwae")

    def call(*argv):
        code, out, _ = run(tmp_path / "runs", "--out", tmp_path / "out", *ONE, "--json", *argv)
        assert code == 0
        return json.loads(out)

    return call


@pytest.fixture
def redrawn(monkeypatch):
    """Calls of ``build``, with the arguments of each."""
    calls = []
    from snrkit.report import build as module

    original = module.build
    monkeypatch.setattr(module, "build", lambda *args: calls.append(args) or original(*args))
    return calls


def test_the_same_command_says_the_same_without_building(report, redrawn):
    first = report("--html")
    assert (len(redrawn), first["drawn"]) == (1, ["snr_vs_k", "evaluation", "gradients"])
    assert report("--html") == first | {"drawn": []}
    assert len(redrawn) == 1


def test_plain_output_and_notes_are_as_before(runs, tmp_path, run, redrawn):
    argv = (runs, "--out", tmp_path / "out")
    first = run(*argv)
    assert "run 'snrkit" in first[2]
    assert run(*argv) == first
    assert run(*argv, "--quiet") == (0, first[1], "")
    assert len(redrawn) == 1


def test_page_is_made_and_opened(report, redrawn, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("click.launch", opened.append)
    report()
    assert report("--html")["written"][-1] == str(tmp_path / "out" / "report.html")
    assert len(redrawn) == 2
    for _ in range(2):
        report("--open")
    assert opened == 2 * [(tmp_path / "out" / "report.html").as_uri()]
    assert len(redrawn) == 2
    (tmp_path / "out" / "report.html").unlink()
    report("--open")
    assert (tmp_path / "out" / "report.html").exists()


def test_another_command_is_another_report(report, redrawn):
    report()
    for argv in (["--column", "slide"], ["--figure", "training"]):
        report(*argv)
        report(*argv)
    assert len(redrawn) == 3


@pytest.mark.parametrize("damage", ["delete", "change", "delete sidecar", "damage record", "delete record"])
def test_outputs_that_are_not_as_written(report, redrawn, tmp_path, damage):
    report()
    out = tmp_path / "out"
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    name = {"delete sidecar": "snr_vs_k.meta.json"}.get(damage, "snr_vs_k.png")
    path = out / (unchanged.FILE if "record" in damage else name)
    if "delete" in damage:
        path.unlink()
    else:
        path.write_text('{"key": [], "files": 3}')
    report()
    assert len(redrawn) == 2
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_inputs_that_changed(report, redrawn, tmp_path):
    files = RunDir(tmp_path / "runs" / "demo")
    report()
    changes = [
        lambda: files.evaluation.write_text(files.evaluation.read_text().replace("300", "301")),
        lambda: files.config.write_text(files.config.read_text() + "# a word\n"),
        lambda: files.set_status("failed"),
        lambda: shutil.copytree(files.path, tmp_path / "runs" / "deep" / "more"),
        lambda: shutil.rmtree(tmp_path / "runs" / "deep"),
    ]
    for number, change in enumerate(changes, start=2):
        change()
        report()
        report()
        assert len(redrawn) == number


def test_source_and_versions_count(report, redrawn, monkeypatch):
    report()
    monkeypatch.setattr(unchanged, "_code", lambda: "other source")
    report()
    monkeypatch.setattr(unchanged, "versions", lambda: {"numpy": "99"})
    report()
    assert len(redrawn) == 3


def test_a_report_below_its_own_inputs_settles(tmp_path, run, redrawn):
    make_run(tmp_path, "demo", "iwae")
    for _ in range(2):
        assert run(tmp_path, "--out", tmp_path / "demo" / "figures", "--html", *ONE)[0] == 0
    assert len(redrawn) == 1


def test_the_record_is_written_whole_or_not_at_all(report, tmp_path, monkeypatch):
    first = report()
    shutil.rmtree(tmp_path / "out")

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(AssertionError):
        report()
    assert not list((tmp_path / "out").iterdir())
    monkeypatch.undo()
    assert report() == first


def test_nothing_heavy_is_loaded(report, tmp_path):
    report("--html")
    argv = ["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), *ONE, "--html"]
    code = (
        f"import sys; from snrkit.cli.main import main; main({argv!r})\n"
        "heavy = ('torch', 'numpy', 'pandas', 'pyarrow', 'matplotlib', 'scipy', 'jinja2', 'pydantic')\n"
        "found = [name for name in heavy if name in sys.modules]\nassert not found, found"
    )
    found = subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60, capture_output=True)
    assert found.stdout.decode().splitlines()[-1] == str(tmp_path / "out" / "report.html")


def test_unreadable_inputs_are_named(tmp_path, run):
    make_run(tmp_path, "demo", "iwae")
    (tmp_path / "demo" / "x.points.parquet").symlink_to("nowhere")
    code, out, err = run(tmp_path, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert "x.points.parquet: cannot be read (FileNotFoundError); make it readable, or delete it" in err


def test_names_decide_the_kind(tmp_path):
    names = ["reconstructions.parquet", "reconstructions-1-vae.parquet", "latents-2.parquet", "snr.parquet", "a.json"]
    for name in names:
        (tmp_path / name).touch()
    found = {kind: [path.name for path in files] for kind, files in find([tmp_path]).items() if files}
    assert found == {"reconstructions": sorted(names[:2]), "latents": [names[2]], "snr": [names[3]]}
