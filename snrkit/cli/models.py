"""``--model`` over settings as they were read: a registered name, or a class of a file of the user's own."""

from typing import Any

from snrkit.errors import SpecError
from snrkit.models.naming import is_own
from snrkit.specs.base import assign

# What records a file of the user's own, beside its name.
_RECORD = ("path", "sha256")


def put_model(data: dict[str, Any], given: str | None) -> str | None:
    """Put what ``--model`` named over the model of settings, in place.

    Args:
        data: settings of a run, as read from TOML.
        given: a registered name or ``FILE.py:CLASS``; None: nothing, and the settings stay.

    Returns:
        What it named if it is a class of a file, which may then be run; else None.

    Raises:
        SpecError: there is no such file, or the settings' model is no table.
    """
    if given is None:
        return None
    assign(data, "model.name", given)
    if not is_own(given):
        data["model"] = {key: value for key, value in data["model"].items() if key not in _RECORD}
        return None
    from snrkit.models.own import OwnModel

    own = OwnModel.at(given)
    for key, value in (("name", own.name), ("path", str(own.path)), ("sha256", own.sha256)):
        assign(data, f"model.{key}", value)
    return given


def put_sweeps_model(data: dict[str, Any], given: str | None) -> str | None:
    """The same for settings of a sweep, none of whose runs may then name a model of its own.

    Raises:
        SpecError: as for ``put_model``; or the grid, or some of its runs, name models.
    """
    if given is not None:
        from snrkit.specs.grid import varied

        named = next(
            (key for key in varied(data) if key in ("model", "model.name", *(f"model.{k}" for k in _RECORD))), None
        )
        if named is not None:
            problem = f"is named here, and the grid's own runs set {named} too"
            raise SpecError("model", problem, f"name it in one place: take {named} out of the file, or leave this out")
    return put_model(data, given)
