"""The parts of this analysis, one module each, and the runs that they share."""

from collections.abc import Iterator

from analyses.common.report import Place
from analyses.common.runs import spec_of, trained
from snrkit.runs.folder import RunDir


def runs(place: Place) -> Iterator[tuple[str, int, RunDir]]:
    """(model, seed, finished run) of every run of the settings."""
    for seed in place.settings["seeds"]:
        for name in place.settings["models"]:
            yield name, seed, run_of(place, name, seed)


def run_of(place: Place, name: str, seed: int) -> RunDir:
    """The finished run of a model and a seed."""
    return trained(spec_of(place.settings["base"], {"model": place.settings["models"][name]}, seed), place)
