"""Options that are made from the fields of specifications."""

import click
import pytest

from snrkit.cli import snr, train
from snrkit.cli.flags import flags, put
from snrkit.specs.fields import keys, meanings
from snrkit.specs.measure import Execution, MeasureSpec, WatchSpec
from snrkit.specs.run import RunSpec


def option(command, name):
    return next(option for option in command.params if name in option.opts)


def test_every_field_of_a_measurement_has_a_flag_and_every_setting_a_meaning():
    said = {option.name for option in snr.command.params}
    for table, spec in (("measure", MeasureSpec), ("execution", Execution)):
        assert {f"{table}__{name}" for name in spec.model_fields} <= said
    for spec in (MeasureSpec, WatchSpec, Execution):
        assert meanings(spec).keys() == spec.model_fields.keys()


def test_type_range_default_and_help_are_those_of_the_field():
    draws = option(snr.command, "--draws")
    assert "[default: 1000; at least 4]" in draws.help
    assert draws.help.startswith("Gradient draws R")
    assert option(snr.command, "--bias").type.choices == ("none", "bound", "log_p")
    assert option(train.command, "--schedule").type.choices == ("constant", "burda")
    assert "[default: 200" in option(train.command, "--snr-draws").help
    assert "dreg" in option(train.command, "--estimator").help
    with pytest.raises(click.BadParameter, match="at least 1"):
        option(train.command, "--K").type.convert("0", None, None)


def test_what_is_given_goes_to_its_place_and_nothing_else():
    @click.command()
    @flags(RunSpec, {"estimator.K": "--K", "seed": "--seed", "optimiser.lr": "--lr"})
    @flags(MeasureSpec, {"K": "--snr-K", "dsnr": "--dsnr"}, "measure")
    def command(**given):
        data = {"seed": 3, "estimator": {"M": 2}}
        put(data, given)
        return data

    call = lambda *argv: command.main(argv, standalone_mode=False)  # noqa: E731
    assert call() == {"seed": 3, "estimator": {"M": 2}}
    found = call("--K", "5", "--lr", "0.5", "--snr-K", "1,10", "--dsnr")
    assert found == {
        "seed": 3, "estimator": {"M": 2, "K": 5}, "optimiser": {"lr": 0.5}, "measure": {"K": [1, 10], "dsnr": True},
    }  # fmt: skip


def test_flags_of_train_are_settings():
    assert set(train._RUN) <= set(keys(RunSpec))
