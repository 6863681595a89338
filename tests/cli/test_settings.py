"""Finding settings: the list of them, the resolved ones, and what was meant by one that is not there."""

import json
import tomllib

import pytest

import snrkit as package
from snrkit.specs.fields import keys
from snrkit.specs.measure import WatchFile
from snrkit.specs.run import RunSpec
from tests.support.program import TOY


def test_every_setting_is_listed_with_its_meaning(snrkit):
    rows = json.loads(snrkit("train", "--settings", "--json").out)["settings"]
    listed = [row["setting"] for row in rows if not row["of"]]
    assert listed == [*keys(RunSpec), *keys(WatchFile)]
    assert all(row["meaning"] and row["values"] for row in rows)
    by_key = {(row["setting"], row["of"]): row for row in rows}
    assert by_key["estimator.K", ""]["values"] == "integer >= 1"
    assert by_key["optimiser.lr", ""] | {"meaning": ""} == {
        "setting": "optimiser.lr", "of": "", "values": "number > 0", "default": "0.001", "meaning": "",
    }  # fmt: skip
    assert by_key["data.binarise", ""]["values"] == "dynamic | fixed | threshold | none"
    assert by_key["model.options.latent", "mlp"]["default"] == "50"
    beta = by_key["estimator.options.beta", "ciwae"]
    assert (
        beta["values"]
        == "number >= 0, <= 1 | list of one for each stage | {learn, start, lr} | {anneal, start, stop, until}"
    )
    assert beta["meaning"] == "weight of the ELBO."
    assert "iwae | " in by_key["estimator.name", ""]["values"]


def test_the_list_as_text(snrkit):
    shown = snrkit("train", "--settings").out
    assert "data.train_limit = (left out)    (integer >= 1)\n    use only the first so many training points." in shown


def test_the_resolved_settings_are_those_that_a_run_writes(snrkit, tmp_path):
    (tmp_path / "my.toml").write_text("epochs = 0\nseed = 3\n")
    argv = ["train", "--config", tmp_path / "my.toml", *TOY, "--option", "beta=0.25", "--estimator", "ciwae"]
    printed = snrkit(*argv, "--print-config", "--out", tmp_path / "run")
    assert (printed.code, printed.err) == (0, "")
    assert not (tmp_path / "run").exists()
    assert snrkit(*argv, "--out", tmp_path / "run").code == 0
    assert tomllib.loads(printed.out) == tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert tomllib.loads(printed.out)["data"]["binarise"] == "none"
    assert "# model.options.perturb = 0.01" in printed.out
    for wrong in (
        ["--estimator", "iwea"],
        ["--set", "model.options.purturb=1"],
        ["--data", "minst"],
        ["--set", "beta.lr=2"],
    ):
        snrkit(*argv, *wrong, "--print-config").refused()


@pytest.mark.parametrize(
    ("setting", "meant"),
    [
        ("train_limit=3", "'data.train_limit'"), ("estimator.k=3", "'estimator.K'"), ("epoch=3", "'epochs'"),
        ("lr=1", "'optimiser.lr'"), ("data.trainlimit=3", "'data.train_limit'"), ("latent=5", "model.options"),
        ("model.options.purturb=1", "'perturb'"), ("model.options.Perturb=1", "'perturb'"),
        ("estimator.options.beat=1", "'beta'"), ("optimizer.lr=1", "'optimiser"),
    ],
)  # fmt: skip
def test_what_was_meant(snrkit, tmp_path, setting, meant):
    snrkit("train", *TOY, "--estimator", "ciwae", "--set", setting, "--out", tmp_path / "run").refused(meant)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("estimator.K=0", ["greater than or equal to 1", "got 0"]),
        ("dtype=half", ["'float32' or 'float64'", "got 'half'"]),
        ("model.options.perturb=-1", ["greater than or equal to 0", "got -1"]),
        ("epochs=" + "x" * 10_000, ["valid integer", "..."]),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_ranges_are_in_the_message(snrkit, tmp_path, setting, words):
    result = snrkit("train", *TOY, "--set", setting, "--out", tmp_path / "run")
    assert result.refused(*words)
    assert len(result.err) < 400


def test_options_of_estimators_on_other_commands(snrkit, toy_run):
    snrkit("snr", "--ckpt", toy_run, "--estimator", "ciwae", "--option", "beat=1").refused("did you mean 'beta'?")


@pytest.mark.slow
def test_the_slope_table_says_which_m(snrkit, toy_run):
    argv = ["snr", "--ckpt", toy_run, "--draws", 40, "--data-points", 3, "--K", "1,2,4", "--device", "cpu"]
    for more, expected in (["--M", "1,5,9"], ["1,5,9", "1,2,4"]), (["--M", "1", "--direct"], ["1", "1,2,4"]):
        shown = snrkit(*argv, *more).out
        lines = shown[shown.index("slope of log snr_pooled") :].splitlines()
        heading = [cell.strip() for cell in lines[2].strip("┃").split("┃")]
        rows = [
            dict(zip(heading, (c.strip() for c in line.strip("│").split("│")), strict=True))
            for line in lines
            if line[:1] == "│"
        ]
        found = [row for row in rows if row["against"] == "K" and row["network"] == "inference"]
        assert [[row["M"], row["K"]] for row in found] == [expected]


def test_the_package_lists_its_names():
    assert set(package.__all__) <= set(dir(package))
    assert "measure" in dir(package)
