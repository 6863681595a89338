"""What the library says of arguments, in the words of the command line: ``samples`` becomes ``--samples``.

Messages of the library name an argument by itself, and within a remedy between backticks, with a value or without:
```give another `out```, ```use `device=cpu` ```, ```add `data.path=FILE` ``` (a setting). Here alone they become flags.
"""

import re
from collections.abc import Sequence

import click

from snrkit.errors import SnrkitError

_QUOTED = re.compile(r"`([\w.-]+)(?:=([^`]*))?`")

# Arguments of the library whose flags have names of their own.
_OTHER_NAMES = {"path": "ckpt"}


def error_in_flags(error: SnrkitError, command: click.Command, args: Sequence[str]) -> str:
    """The message of an error in the words of a command that was called with these arguments.

    An argument that is a setting too keeps the setting's name unless its flag was given, for it may come from a file.
    """
    flags = _flags(command)
    argument = flags.get(error.argument, error.argument)
    if error.argument == "executor" and "scheduler" in flags:
        argument = flags["workers" if _is_given(flags["workers"], args) else "scheduler"]
    is_given = _is_given(argument, args)
    if "settings" in flags and not is_given and ("." in error.argument or error.argument in _settings()):
        argument = error.argument
    return in_flags(f"{argument}: {error.problem}; {error.remedy}", command)


def _is_given(flag: str, args: Sequence[str]) -> bool:
    return any(arg == flag or arg.startswith(f"{flag}=") for arg in args)


def in_flags(text: str, command: click.Command) -> str:
    """A text in which arguments stand between backticks, in the words of a command."""
    flags = _flags(command)

    def flag(match: re.Match[str]) -> str:
        name, value = match.groups()
        setting = name if value is None else f"{name}={value}"
        short = name.removesuffix(".name")  # of a data set, a model or an estimator
        if short in flags:
            return flags[short] if value in (None, "True") else f"{flags[short]} {value}"
        option = setting.removeprefix("estimator.options.")
        if option != setting and "option" in flags:
            return f"--option {option}"
        return f"--set {setting}" if "settings" in flags and value is not None else setting

    return _QUOTED.sub(flag, text)


def _flags(command: click.Command) -> dict[str, str]:
    """Names of arguments to the flags of a command: by the flag's own name, and by that of the parameter it fills."""
    options = [option for option in command.params if isinstance(option, click.Option)]
    own = {option.opts[0].lstrip("-").replace("-", "_"): option.opts[0] for option in options}
    own |= {str(option.name).replace("__", "."): option.opts[0] for option in options}
    # The library names a setting of a measurement without its table, which may have an argument of the same name beside it.
    bare = {name.removeprefix("measure."): flag for name, flag in own.items() if name.startswith("measure.")}
    own = bare | own
    return own | {name: own[flag] for name, flag in _OTHER_NAMES.items() if flag in own}


def _settings() -> set[str]:
    from snrkit.specs.measure import MeasureSpec
    from snrkit.specs.run import RunSpec

    return {*RunSpec.model_fields, *MeasureSpec.model_fields}
