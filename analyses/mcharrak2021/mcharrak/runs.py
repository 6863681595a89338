"""The runs that the sections speak of."""

from typing import Any

from analyses.common.report import Place
from analyses.common.runs import finished, label, spec_of, trained
from snrkit.errors import ResultsError
from snrkit.runs.folder import RunDir
from snrkit.specs.run import RunSpec, UpdateSpec

ESTIMATORS: dict[str, dict[str, Any]] = {
    "iwae": {"name": "iwae", "M": 1, "K": 64},
    "piwae": {"name": "piwae", "M": 8, "K": 8},
    "miwae": {"name": "miwae", "M": 8, "K": 8},
    "ciwae": {"name": "ciwae", "M": 1, "K": 64, "options": {"beta": 0.5}},
    "vae": {"name": "vae", "M": 64, "K": 1},
}
# What the model is where the settings do not say.
REFERENCE = {"hidden": [200, 200], "latent": 50}


def obtain(place: Place, estimator: dict[str, Any], data: str | None = None, **changes: Any) -> tuple[RunDir, RunSpec]:
    """The run of an estimator on some data (default: the settings' first), with further settings changed.

    Raises:
        ResultsError: runs were given, and not exactly one of them is that.
    """
    own = place.settings
    name = data or own["ssim"]["data"][0]
    spec = spec_of(own["base"], {"estimator": estimator, "data": {"name": name}, **changes}, own["seed"])
    return _given(place, spec) if place.given else (trained(spec, place), spec)


def _given(place: Place, wanted: RunSpec) -> tuple[RunDir, RunSpec]:
    """The given run of that data, model, estimator and update, whatever its scale; of several that of the seed."""
    found = [pair for pair in finished(place.runs) if _key(pair[1]) == _key(wanted)]
    if len(found) > 1:
        found = [pair for pair in found if pair[1].seed == wanted.seed]
    if len(found) != 1:
        what = (
            f"{label(wanted)} ({wanted.estimator.M}, {wanted.estimator.K}) on {wanted.data.name}, {wanted.model.name}"
        )
        changed = "" if wanted.update == UpdateSpec() else f", update {wanted.update.model_dump(exclude_defaults=True)}"
        changed += f", options {wanted.estimator.model_dump()['options']}" if wanted.estimator.changes else ""
        untrained = "" if wanted.epochs else ", untrained"
        problem = f"{len(found) or 'no'} finished runs of {what}{changed}{untrained}, one needed"
        remedy = "ask for sections whose runs are there, or leave --runs out to have them trained"
        raise ResultsError(f"--runs {place.runs}", problem, remedy)
    return found[0]


def _key(spec: RunSpec) -> tuple[Any, ...]:
    options = (REFERENCE if spec.model.name == "mlp" else {}) | spec.model.options
    return spec.data.name, spec.model.name, options, spec.estimator, spec.update, spec.epochs == 0
