"""TOML as read, and settings on the command line: what is refused and in which words."""

import os
from pathlib import Path

import pytest

from snrkit.errors import SpecError
from snrkit.specs.base import apply_settings, assign, parse_value, read_toml
from snrkit.specs.run import RunSpec


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
    assert caught.value.argument == "settings"


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
