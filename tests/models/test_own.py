"""A model of a user's own file: trained, measured and opened where the file is named, and nowhere else."""

import random

import numpy
import pandas as pd
import pytest
import torch

import snrkit
from snrkit.cli.main import main
from snrkit.errors import SpecError
from snrkit.models.base import build_model
from snrkit.models.own import OwnModel, lending
from snrkit.models.summary import DataSummary
from snrkit.runs.checkpoint import load_checkpoint
from snrkit.specs.run import RunSpec
from tests.support import own

SHORT = [
    "--data",
    "digits",
    "--set",
    "data.train_limit=60",
    "--set",
    "eval_points=0",
    "--batch-size",
    "30",
    "--epochs",
    "1",
    "--K",
    "3",
    "--quiet",
]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return own.write(tmp_path_factory.mktemp("mine"))


@pytest.fixture(scope="module")
def trained(file, tmp_path_factory):
    """A run of the file's class."""
    out = tmp_path_factory.mktemp("runs") / "run"
    main(["train", *SHORT, "--model", f"{file}:MyVAE", "--set", "model.options.latent=3", "--out", str(out)])
    return out


def refused(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("nope.py:MyVAE", ["there is no file", "write FILE.py:CLASS"]),
        ("ave.py:MyVAE", ["there is no file", "did you mean 'vae.py'"]),
        ("vae.py", ["names no class", "vae.py:MyVAE"]),
        ("vae.py:MyVEA", ["has no 'MyVEA'", "did you mean 'MyVAE'", "Half, Raises, Drops, small"]),
        ("vae.py:MyVAE", ["needs latent", "--set model.options.latent=20", "MyVAE takes latent, pixels=64"]),
        ("vae.py:Half", ["Half has no log_joint", "define encode(x)"]),
        ("vae.py:Raises", ["Raises(...)", '`self.table = {}["missing"]`', "KeyError: 'missing'"]),
        ("vae.py:made", ["is a MyVAE", "a function that returns a model"]),
        ("absent.py:A", ["line 2 `import nowhere_to_be`", "ModuleNotFoundError"]),
        ("syntax.py:A", ["line 1 `def f(:`", "SyntaxError"]),
        ("script.py:A", ["ends the program", "__main__"]),
    ],
)
def test_what_cannot_be_used_is_told_with_a_remedy(file, tmp_path, capsys, given, says):
    (file.parent / "absent.py").write_text("import torch\nimport nowhere_to_be\n")
    (file.parent / "syntax.py").write_text("def f(:\n")
    (file.parent / "script.py").write_text("raise SystemExit(3)\n")
    said = refused(capsys, "train", *SHORT, "--model", file.parent / given, "--out", tmp_path / "run")
    assert said.startswith("snrkit: --model: ")
    for part in says:
        assert part in said
    assert not (tmp_path / "run").exists()


def test_an_option_that_the_class_does_not_take_is_named(file, tmp_path, capsys):
    words = ["--set", "model.options.latnt=3", "--out", tmp_path / "run"]
    said = refused(capsys, "train", *SHORT, "--model", f"{file}:MyVAE", *words)
    assert "model.options.latnt: no such option; did you mean 'latent'?" in said


def test_random_numbers_of_its_own_are_refused_in_training(file, tmp_path, capsys):
    words = ["--set", "model.options.latent=3", "--out", tmp_path / "run"]
    assert "draws from the generators of torch" in refused(capsys, "train", *SHORT, "--model", f"{file}:Drops", *words)


def test_a_run_records_file_class_and_digest(file, trained):
    spec = load_checkpoint(trained).run_spec().model
    assert (spec.name, spec.path, spec.options) == ("vae.py:MyVAE", str(file), {"latent": 3})
    assert spec.sha256 == OwnModel.at(f"{file}:MyVAE").sha256


def test_the_run_opens_where_the_file_is_named_and_is_the_class_itself(file, trained):
    run = snrkit.Run.open(trained, model=f"{file}:MyVAE")
    names = {
        "encoder.0.weight",
        "encoder.0.bias",
        "encoder.2.weight",
        "encoder.2.bias",
        "decoder.weight",
        "decoder.bias",
    }
    assert set(run.model.state_dict()) == set(dict(run.model.named_parameters())) == names
    table = run.measure(snrkit.MeasureSpec(K=[2], draws=8, data_points=2)).table
    x, _ = run.points(2)
    direct = snrkit.measure(run.model, x, "iwae", K=2, draws=8)
    pd.testing.assert_series_equal(table["value"], direct["value"])


@pytest.mark.slow
def test_every_command_takes_the_file(file, trained, capsys):
    ask = ["--ckpt", str(trained), "--model", f"{file}:MyVAE", "--quiet"]
    main(["snr", *ask, "--K", "1,2", "--draws", "8"])
    main(["evaluate", *ask, "--samples", "128", "--points", "4"])
    main(["advise", *ask, "--budget", "2", "--draws", "8", "--data-points", "2"])
    assert "SNR inference" in capsys.readouterr().out
    main(["report", str(trained), "--out", str(trained / "figures"), "--figure", "snr_vs_k", "--quiet"])
    assert "snr_vs_k.pdf" in capsys.readouterr().out


def test_nothing_of_a_checkpoint_is_run_of_its_own_accord(file, trained, tmp_path, capsys):
    """Not by opening it, not by going on with it, not from settings; and not a file that is not as it was."""
    marker = tmp_path / "was-run"
    other = own.write(tmp_path / "other")
    other.write_text(f"open({str(marker)!r}, 'w')\n{own.SOURCE}")
    said = refused(capsys, "snr", "--ckpt", trained, "--quiet")
    assert "is run only where you name it" in said
    assert f"add --model {file}:MyVAE" in said
    assert "run only where you name it" in refused(capsys, "train", "--resume", "--out", trained, "--epochs", 2)
    settings = ["--set", f"model.name={other}:MyVAE", "--set", "model.options.latent=3"]
    refused(capsys, "train", *SHORT, *settings, "--out", tmp_path / "run")
    for words in (["snr", "--ckpt", trained], ["train", "--resume", "--out", trained, "--epochs", 2]):
        assert "not as it was" in refused(capsys, *words, "--model", f"{other}:MyVAE", "--quiet")
    assert not marker.exists()
    assert "trained with MyVAE, not Half" in refused(capsys, "snr", "--ckpt", trained, "--model", f"{file}:Half")
    assert "has the model vae.py:MyVAE, not mlp" in refused(capsys, "snr", "--ckpt", trained, "--model", "mlp")


def test_a_file_that_changed_or_went_is_told(file, trained, capsys):
    kept = file.read_text()
    file.write_text(kept + "\n")
    assert "it has changed since, so put it back" in refused(capsys, "snr", "--ckpt", trained)
    file.unlink()
    assert f"'{file}' is not there any more" in refused(capsys, "snr", "--ckpt", trained)
    file.write_text(kept)


def test_a_run_goes_on_where_the_file_lies_elsewhere(file, trained, tmp_path):
    moved = own.write(tmp_path / "moved")
    words = ["--out", str(trained), "--epochs", "2", "--quiet", "--model", f"{moved}:MyVAE"]
    main(["train", "--resume", *words])
    whole = tmp_path / "whole"
    once = [*SHORT, "--epochs", "2", "--model", f"{file}:MyVAE", "--set", "model.options.latent=3", "--out", str(whole)]
    main(["train", *once])
    first, second = (load_checkpoint(path) for path in (trained, whole))
    assert first.epoch == second.epoch == 2
    assert all(torch.equal(value, second.model[name]) for name, value in first.model.items())


def test_where_a_file_lies_is_no_part_of_what_a_run_is(file, tmp_path):
    specs = [RunSpec(model=OwnModel.at(f"{at}:MyVAE").specified({"latent": 3})) for at in (file, own.write(tmp_path))]
    assert specs[0].identity() == specs[1].identity()
    changed = specs[0].model.model_copy(update={"sha256": "0"})
    assert specs[0].identity() != specs[0].model_copy(update={"model": changed}).identity()


def test_from_python_a_function_may_make_the_model(file, tmp_path):
    spec = RunSpec.parse({"data": {"train_limit": 60}, "epochs": 0, "eval_points": 0}, "here")
    run = snrkit.train(spec, tmp_path / "run", model=f"{file}:small")
    assert run.spec.model.name == "vae.py:small"
    assert run.model.state_dict()["decoder.weight"].shape == (64, 2)
    with pytest.raises(SpecError, match="run only where you name it"):
        snrkit.Run.open(tmp_path / "run")


def test_parameters_that_begin_from_numpy_or_random_are_a_function_of_the_seed(file, tmp_path):
    text = file.read_text() + (
        "\n\nimport random\nimport numpy\n\n\nclass Drawn(MyVAE):\n"
        "    def __init__(self, latent=2):\n        super().__init__(latent)\n"
        "        self.first = torch.nn.Parameter(torch.tensor(numpy.random.rand(3)).float())\n"
        "        self.second = torch.nn.Parameter(torch.tensor([random.random()]))\n"
    )
    drawn = tmp_path / "drawn.py"
    drawn.write_text(text)
    own_model = OwnModel.at(f"{drawn}:Drawn")
    spec, summary = own_model.specified({}), DataSummary(torch.full((64,), 0.5, dtype=torch.float64), real=False)
    state = numpy.random.get_state()[1].tolist(), random.getstate()
    with lending(spec, f"{drawn}:Drawn"):
        one, two, other = (build_model(spec, summary, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in ("first", "second"))
    assert not any(torch.equal(one[name], other[name]) for name in ("first", "second"))
    assert (numpy.random.get_state()[1].tolist(), random.getstate()) == state
