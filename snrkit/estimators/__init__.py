"""Gradient estimators, by name. An estimator is one file here and one line in this table."""

from snrkit.registry import Registry

ESTIMATORS = Registry(
    "estimator",
    {
        "vae": "snrkit.estimators.vae:Vae",
        "iwae": "snrkit.estimators.iwae:Iwae",
        "miwae": "snrkit.estimators.miwae:Miwae",
        "ciwae": "snrkit.estimators.ciwae:Ciwae",
        "piwae": "snrkit.estimators.piwae:Piwae",
        "dreg": "snrkit.estimators.dreg:Dreg",
        "stl": "snrkit.estimators.stl:Stl",
    },
    group="snrkit.estimators",
    what="snrkit.estimators.base:Estimator",
)
