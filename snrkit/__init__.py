"""Gradient signal-to-noise diagnostics for multi-sample variational objectives.

``measure`` draws gradients of a model and tells their SNR, ``measure_loss`` those of any stochastic loss, which a
``Monitor`` measures along a training; ``check`` tells what a model is; ``LatentModel``, ``DiagonalNormal``,
``standard_normal_log_prob`` and ``bernoulli_log_prob`` help to write one, ``Estimator``, ``Term``,
``Objective``, ``Needs``, ``Theory``, ``Units`` and ``option`` to write an estimator, which ``build_estimator`` makes from
its name. ``train`` carries out a ``RunSpec``; a ``Run`` is what was trained, opened: it measures a ``MeasureSpec`` as an
``Execution`` says, evaluates, advises, reconstructs, samples its prior and interpolates.

Of a model at hand, without a run: ``evaluate`` gives bounds, ``diagnose`` all that can be measured (``diagnose_loss``
of losses), ``advise`` what to spend a budget of samples on. ``report`` draws tables, ``compare`` says what differs from
a baseline and what cannot be told, ``collect`` makes one table of many runs' results, ``save_table`` and ``load_table``
keep them; ``plot`` has the report's figures for tables in memory. ``from_functions``, ``from_pyro`` and ``from_pythae``
make models of what other libraries have, ``pyro_loss`` a loss for ``measure_loss``.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snrkit.adapters.functions import from_functions
    from snrkit.adapters.libraries import from_pyro, from_pythae, pyro_loss
    from snrkit.core.objective import Needs, Objective, Term
    from snrkit.diagnostics.measure import measure
    from snrkit.direct import advise, diagnose, evaluate
    from snrkit.estimators.base import Estimator, Theory, Units, build_estimator, option
    from snrkit.losses.measure import diagnose_loss, measure_loss
    from snrkit.models.base import LatentModel
    from snrkit.models.densities import DiagonalNormal, bernoulli_log_prob, standard_normal_log_prob
    from snrkit.monitor.monitor import Monitor
    from snrkit.report.against import compare
    from snrkit.report.collected import collect
    from snrkit.report.given import report
    from snrkit.run import Run, train
    from snrkit.runs.kinds.outside import load_table, save_table
    from snrkit.specs.measure import Execution, MeasureSpec
    from snrkit.specs.run import RunSpec
    from snrkit.trial.check import check

__all__ = [
    "DiagonalNormal",
    "Estimator",
    "Execution",
    "LatentModel",
    "MeasureSpec",
    "Monitor",
    "Needs",
    "Objective",
    "Run",
    "RunSpec",
    "Term",
    "Theory",
    "Units",
    "advise",
    "bernoulli_log_prob",
    "build_estimator",
    "check",
    "collect",
    "compare",
    "diagnose",
    "diagnose_loss",
    "evaluate",
    "from_functions",
    "from_pyro",
    "from_pythae",
    "load_table",
    "measure",
    "measure_loss",
    "option",
    "pyro_loss",
    "report",
    "save_table",
    "standard_normal_log_prob",
    "train",
]

_HOME = {
    "from_functions": "snrkit.adapters.functions",
    "from_pyro": "snrkit.adapters.libraries",
    "from_pythae": "snrkit.adapters.libraries",
    "pyro_loss": "snrkit.adapters.libraries",
    "Run": "snrkit.run",
    "train": "snrkit.run",
    "RunSpec": "snrkit.specs.run",
    "MeasureSpec": "snrkit.specs.measure",
    "Execution": "snrkit.specs.measure",
    "measure": "snrkit.diagnostics.measure",
    "measure_loss": "snrkit.losses.measure",
    "diagnose_loss": "snrkit.losses.measure",
    "Monitor": "snrkit.monitor.monitor",
    "check": "snrkit.trial.check",
    "evaluate": "snrkit.direct",
    "diagnose": "snrkit.direct",
    "advise": "snrkit.direct",
    "compare": "snrkit.report.against",
    "report": "snrkit.report.given",
    "collect": "snrkit.report.collected",
    "save_table": "snrkit.runs.kinds.outside",
    "load_table": "snrkit.runs.kinds.outside",
    "build_estimator": "snrkit.estimators.base",
    "Estimator": "snrkit.estimators.base",
    "Theory": "snrkit.estimators.base",
    "Units": "snrkit.estimators.base",
    "option": "snrkit.estimators.base",
    "Term": "snrkit.core.objective",
    "Objective": "snrkit.core.objective",
    "Needs": "snrkit.core.objective",
    "LatentModel": "snrkit.models.base",
    "DiagonalNormal": "snrkit.models.densities",
    "bernoulli_log_prob": "snrkit.models.densities",
    "standard_normal_log_prob": "snrkit.models.densities",
}


# Packages that are reached through this one, whose names they keep to themselves.
_PACKAGES = ("plot",)


def __getattr__(name: str) -> Any:
    # Imported on first use, so that the command line need not wait for torch.
    if name in _PACKAGES:
        return importlib.import_module(f"snrkit.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'snrkit' has no attribute '{name}'")
    found = getattr(importlib.import_module(_HOME[name]), name)
    # Importing the package that is called like the function has put it in its place; it can be called too.
    return globals().get(name, found)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES})
