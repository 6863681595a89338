"""The runs that all sections are of."""

from collections.abc import Iterator
from typing import Any

from analyses.common.report import Place
from analyses.common.runs import spec_of, trained
from snrkit.run import Run
from snrkit.specs.run import RunSpec

_SEED = 0


def spec_for(settings: dict[str, Any], name: str, seed: int) -> RunSpec:
    """The specification of a run."""
    own = settings["runs"][name]
    model = {"name": "sentence", "options": {**settings["model"], "keep": own["keep"]}}
    estimator = {"name": "vae-analytic", "M": 1, "K": 1, "options": {"beta": own["kl"]}}
    return spec_of(settings["base"], {"model": model, "estimator": estimator}, seed)


def opened(place: Place, name: str, seed: int) -> Run:
    """A run, trained if it is not there."""
    return Run.open(trained(spec_for(place.settings, name, seed), place).path, device="cpu")


def first_seed(place: Place) -> int:
    """The seed of what is shown of one run only."""
    return int(place.settings["seeds"][_SEED])


def every(place: Place) -> Iterator[tuple[str, int, Run]]:
    """Name, seed and run of all, seed by seed."""
    for seed in place.settings["seeds"]:
        for name in place.settings["runs"]:
            yield name, seed, opened(place, name, seed)


def in_words(settings: dict[str, Any]) -> str:
    """What the runs have in common."""
    base, model = settings["base"], settings["model"]
    data = base["data"]
    longest = f" of up to {data['max_words']} words" if "max_words" in data else ""
    return (
        f"{data['name']}{longest}, {base['epochs']} epochs in batches of {base['batch_size']}, LSTM {model['hidden']}, word "
        f"vectors {model['embed']}, latent {model['latent']}, `vae-analytic` at K = 1"
    )
