"""``snrkit sweep --model``: many runs of a class of a user's own file."""

import pytest

from snrkit.runs.folder import RunDir
from tests.support import own
from tests.support.training import everything

GRID = """
epochs = 2
batch_size = 30
eval_points = 0
data = {name = "digits", train_limit = 60}
estimator = {name = "iwae", M = 1, K = 3}
[grid]
seed = [0, 1]
model.options.latent = [2, 3]
"""


@pytest.fixture
def file(tmp_path):
    return own.write(tmp_path / "mine")


@pytest.fixture
def sweep(snrkit, tmp_path, file):
    (tmp_path / "grid.toml").write_text(GRID)

    def call(*words, model=f"{file}:MyVAE", out="out"):
        named = [] if model is None else ["--model", model]
        return snrkit("sweep", tmp_path / "grid.toml", *named, "--out", tmp_path / out, "--device", "cpu", *words)

    return call


def runs_in(folder):
    return sorted(path for path in folder.iterdir() if path.is_dir())


def test_each_run_is_that_of_train_by_itself_and_side_by_side(sweep, snrkit, file, tmp_path):
    assert "4 waiting" in sweep("--dry-run").out
    assert sweep().out.endswith("4 done\n")
    run = runs_in(tmp_path / "out")[0]
    assert run.name.startswith("digits-vae.py:MyVAE-iwae")
    words = ["--config", run / "config.toml", "--model", f"{file}:MyVAE", "--out", tmp_path / "alone" / run.name]
    assert snrkit("train", *words, "--device", "cpu").code == 0
    assert everything(tmp_path / "alone")[run.name] == everything(tmp_path / "out")[run.name]
    assert sweep("--ensemble", 4, out="crews").out.endswith("4 done\n")
    bounds = [
        [RunDir(path).read_metrics()[-1]["bound"] for path in runs_in(tmp_path / out)] for out in ("out", "crews")
    ]
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-5)


def test_a_class_that_keeps_tensors_of_its_own_stands_by_itself(sweep, file, tmp_path):
    for size, out in ((1, "alone"), (4, "beside")):
        assert sweep("--ensemble", size, model=f"{file}:Keeps", out=out).out.endswith("4 done\n")
    assert everything(tmp_path / "alone") == everything(tmp_path / "beside")


def test_it_goes_on_with_the_file_as_it_was_and_with_no_other(sweep, file, tmp_path):
    sweep("--set", "epochs=1")
    kept = file.read_text()
    file.write_text(kept + "\n")
    result = sweep()
    assert (result.code, len(runs_in(tmp_path / "out"))) == (2, 4)
    assert "not as it was when the run 'digits-vae.py:MyVAE-iwae" in result.err
    file.write_text(kept)
    moved = own.write(tmp_path / "moved")
    assert sweep(model=f"{moved}:MyVAE").out.endswith("4 done\n")
    sweep(out="whole")
    assert everything(tmp_path / "out") == everything(tmp_path / "whole")


def test_a_grid_that_names_the_file_itself_needs_it_named_by_the_user_too(sweep, file, tmp_path):
    settings = ["--set", "epochs=0", "--set", "model.name=vae.py:MyVAE", "--set", f"model.path={file}"]
    refused = sweep(*settings, model=None)
    assert refused.code == 2
    assert "is run only where you name it" in refused.err
    assert f"--model {file}:MyVAE" in refused.err
    assert not list((tmp_path / "out").glob("*/run.pt"))


@pytest.mark.parametrize(
    ("model", "words", "said"),
    [
        ("nope.py:MyVAE", [], "there is no file 'nope.py'"),
        ("{file}:MyVEA", [], "did you mean 'MyVAE'"),
        ("{file}:MyVAE", ["--set", "model.options.latnt=2"], "did you mean 'latent'"),
        ("{file}:MyVAE", ["--set", 'grid.model.name=["mlp"]'], "set model.name too"),
        ("mpl", [], "unknown model 'mpl'; did you mean 'mlp'"),
        ("{file}:MyVAE", ["--set", 'runs=[{model={name="mlp"}}]'], "set model.name too"),
    ],
)
def test_what_cannot_be_named_is_said_in_a_line(sweep, file, model, words, said):
    result = sweep(*words, model=model.format(file=file))
    assert result.code == 2
    assert said in result.err + result.out


def test_a_registered_model_goes_over_the_files_own(sweep, tmp_path):
    options = ["--set", "epochs=0", "--set", "model.options.hidden=[5]"]
    assert sweep(*options, "--set", "model.name=vae.py:MyVAE", model="mlp").out.endswith("4 done\n")
    assert all(path.name.startswith("digits-iwae") for path in runs_in(tmp_path / "out"))
