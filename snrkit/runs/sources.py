"""Runs of a folder whose model is of a file that has changed since."""

from collections.abc import Sequence
from pathlib import Path

from snrkit.errors import SnrkitError, SpecError
from snrkit.models.naming import is_own
from snrkit.runs.folder import RunDir
from snrkit.specs.base import read_toml
from snrkit.specs.grid import run_name
from snrkit.specs.run import RunSpec


def require_same_source(specs: Sequence[RunSpec], folder: Path) -> None:
    """See to it that none of a sweep's runs stands in a folder already with an earlier state of its model's file.

    The file's digest is part of what a run is, so the sweep would not go on with that run but train another beside it.

    Args:
        specs: the runs; where their model is of a file of the user's own, it is the same file.
        folder: of their directories.

    Raises:
        SpecError: one does.
    """
    own = [spec for spec in specs if is_own(spec.model.name)]
    if not own:
        return
    earlier = {digest for digest in _digests(folder, own[0].model.name) if digest != own[0].model.sha256}
    for digest in sorted(earlier):
        for spec in own:
            as_it_was = spec.model_copy(update={"model": spec.model.model_copy(update={"sha256": digest})})
            name = run_name(as_it_was)
            if RunDir(folder / name).config.exists():
                problem = f"{spec.model.name} is not as it was when the run '{name}' of this folder began"
                raise SpecError("model", problem, "put the file back as it was, or give another `out`")


def _digests(folder: Path, name: str) -> set[str]:
    """Of the files that runs of a folder record under a model's name; those of runs that cannot be read are left out."""
    found = set()
    for config in folder.glob("*/config.toml"):
        try:
            recorded = read_toml(config).get("model", {})
        except SnrkitError:
            continue
        if isinstance(recorded, dict) and recorded.get("name") == name and isinstance(recorded.get("sha256"), str):
            found.add(recorded["sha256"])
    return found
