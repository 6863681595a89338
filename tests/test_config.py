"""Specs: what is refused and in which words, TOML round trips, settings on the command line."""

import os
from pathlib import Path

import pydantic
import pytest

from snrkit.config import DataSpec, ModelSpec, RunSpec, apply_settings, assign, parse_value, read_toml
from snrkit.errors import SpecError

FULL = RunSpec.parse(
    {
        "data": {"name": "npz", "path": 'a "quoted" file.npz', "binarise": "fixed", "seed": 7, "train_limit": 30},
        "model": {"name": "mlp", "options": {"hidden": [8, 6], "latent": 3}},
        "estimator": {"name": "ciwae", "M": 2, "K": 5, "options": {"beta": 0.25}},
        "optimiser": {"schedule": "burda", "lr": 0.003, "betas": [0.8, 0.99], "eps": 1e-4},
        "epochs": 4, "batch_size": 9, "seed": 2**63 - 1, "dtype": "float64", "checkpoint_every": 3, "eval_points": 0,
    },
    "test",
)  # fmt: skip


@pytest.mark.parametrize("spec", [RunSpec(), FULL])
def test_toml_reads_back_equal(spec):
    again = RunSpec.from_toml(spec.to_toml(), "text")
    assert again == spec
    assert again.digest() == spec.digest()


def test_digest_tells_specs_apart():
    specs = [RunSpec(), RunSpec(seed=1), RunSpec(epochs=1), RunSpec(data=DataSpec(seed=1)), FULL]
    assert len({spec.digest() for spec in specs}) == len(specs)


def test_specs_are_immutable():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        RunSpec().epochs = 3


@pytest.mark.parametrize(
    ("data", "field", "problem"),
    [
        ({"epoch": 3}, "epoch", "no such setting"),
        ({"estimator": {"k": 3}}, "estimator.k", "no such setting"),
        ({"epochs": "many"}, "epochs", "valid integer"),
        ({"epochs": -1}, "epochs", "greater than or equal to 0"),
        ({"epochs": 1.5}, "epochs", "valid integer"),
        ({"estimator": 3}, "estimator", "got 3"),
        ({"estimator": {"K": 0}}, "estimator.K", "greater than or equal to 1"),
        ({"estimator": {"M": -2}}, "estimator.M", "greater than or equal to 1"),
        ({"estimator": {"options": {"beta": "x"}}}, "estimator.options.beta", "valid number"),
        ({"optimiser": {"lr": 0}}, "optimiser.lr", "greater than 0"),
        ({"optimiser": {"lr": float("nan")}}, "optimiser.lr", "finite"),
        ({"optimiser": {"lr": float("inf")}}, "optimiser.lr", "finite"),
        ({"optimiser": {"betas": [0.9]}}, "optimiser.betas.1", "required"),
        ({"optimiser": {"betas": [0.9, 1]}}, "optimiser.betas.1", "less than 1"),
        ({"optimiser": {"schedule": "cosine"}}, "optimiser.schedule", "'constant' or 'burda'"),
        ({"dtype": "float16"}, "dtype", "'float32' or 'float64'"),
        ({"data": {"binarise": "maybe"}}, "data.binarise", "got 'maybe'"),
        ({"seed": 2**63}, "seed", "less than"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"batch_size": 0}, "batch_size", "greater than or equal to 1"),
    ],
)
def test_refusals_name_the_setting_and_the_source(data, field, problem):
    with pytest.raises(SpecError) as caught:
        RunSpec.parse(data, "my.toml")
    assert caught.value.argument == field
    assert problem in caught.value.problem
    assert "my.toml" in caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("0.5", 0.5), ("1e-3", 1e-3), ("true", True), ("[4, 5]", [4, 5]), ("[4,5]", [4, 5]), ('"7"', "7"),
        ("iwae", "iwae"), ("a b", "a b"), ("", ""), ("data/x.npz", "data/x.npz"),
    ],
)  # fmt: skip
def test_values_of_settings(text, value):
    found = parse_value(text)
    assert (found, type(found)) == (value, type(value))


def test_settings_apply_in_order_and_nest():
    data = {"model": {"name": "mlp"}, "epochs": 1}
    apply_settings(data, ["epochs=2", "model.options.latent=3", " epochs = 5 ", "data.path=a=b.npz"])
    assert data == {"model": {"name": "mlp", "options": {"latent": 3}}, "epochs": 5, "data": {"path": "a=b.npz"}}


@pytest.mark.parametrize("setting", ["epochs", "=3", ""])
def test_a_setting_without_equals_is_refused(setting):
    with pytest.raises(SpecError, match="not key=value") as caught:
        apply_settings({}, [setting])
    assert caught.value.argument == "--set"


def test_a_key_through_a_value_is_refused():
    with pytest.raises(SpecError, match="'epochs' is a value, not a table"):
        assign({"epochs": 3}, "epochs.more", 1)


@pytest.mark.parametrize("content", [b"epochs = ", b"epochs = 1\nepochs = 2", b"\xff\xfe", b"[a"])
def test_a_file_that_is_no_toml(tmp_path, content):
    file = tmp_path / "bad.toml"
    file.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        read_toml(file)
    assert caught.value.argument == str(file)
    assert "\n" not in str(caught.value)


def test_a_missing_toml_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(SpecError, match="cannot be read"):
            read_toml(path)


def test_option_values_keep_their_types():
    spec = ModelSpec(options={"flag": True, "n": 1, "x": 1.0, "s": "1", "l": [1, 2]})
    assert [type(value) for value in spec.options.values()] == [bool, int, float, str, list]


DEEP = {
    "arrays": "a = " + "[" * 1000 + "]" * 1000,
    "open arrays": "a = " + "[" * 100_000,
    "some arrays": "a = " + "[" * 300 + "]" * 300,
    "tables": "a = " + "{b = " * 1000 + "1" + "}" * 1000,
    "keys": ".".join("a" * 3000) + " = 1",
    "headers": "[" + ".".join("a" * 3000) + "]",
    "digits": "epochs = " + "9" * 5000,
    "some digits": "epochs = " + "9" * 1000,
    "many bits": "epochs = 9223372036854775808",
    "within": "epochs = 3\nmodel = {options = {hidden = " + "[" * 200 + "]" * 200 + "}}",
}


@pytest.mark.parametrize("name", DEEP)
def test_text_without_end_is_one_line(tmp_path, name):
    path = tmp_path / "a.toml"
    path.write_text(DEEP[name])
    for read in (read_toml, lambda path: RunSpec.from_toml(path.read_text(), str(path))):
        with pytest.raises(SpecError) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "value", ["[" * 3000, "9" * 5000, "9" * 1000, "[" * 90 + "]" * 90, "{a = " * 90 + "1" + "}" * 90]
)
@pytest.mark.parametrize("key", ["epochs", "model.options.hidden", ".".join("a" * 2000)])
def test_settings_without_end_are_one_line(key, value):
    def use():
        data = {}
        apply_settings(data, [f"{key}={value}"])
        RunSpec.parse(data, "the flags")

    with pytest.raises(SpecError) as caught:
        use()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_pipe_is_not_waited_for_and_a_huge_file_not_parsed(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(SpecError, match="cannot be read"):
        read_toml(tmp_path / "pipe.toml")
    with (tmp_path / "huge.toml").open("wb") as stream:
        stream.truncate(2**30)
    with pytest.raises(SpecError, match="more than 16 MiB"):
        read_toml(tmp_path / "huge.toml")


def test_what_a_shell_puts_in_place_of_a_command_is_read():
    read, write = os.pipe()
    os.write(write, b"epochs = 7")
    os.close(write)
    assert read_toml(Path(f"/dev/fd/{read}")) == {"epochs": 7}
    os.close(read)
