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
        "rws": "snrkit.estimators.rws:Rws",
        "rws-dreg": "snrkit.estimators.rws_dreg:RwsDreg",
        "wake-sleep": "snrkit.estimators.wake_sleep:WakeSleep",
        "reinforce": "snrkit.estimators.reinforce:Reinforce",
        "vimco": "snrkit.estimators.vimco:Vimco",
        "ovis-tilde": "snrkit.estimators.ovis_tilde:OvisTilde",
        "ovis-mc": "snrkit.estimators.ovis_mc:OvisMc",
        "rloo": "snrkit.estimators.rloo:Rloo",
        "tvo": "snrkit.estimators.tvo:Tvo",
        "vr-iwae": "snrkit.estimators.vr_iwae:VrIwae",
        "jvi": "snrkit.estimators.jvi:Jvi",
        "u-statistic": "snrkit.estimators.u_statistic:UStatistic",
        "gdreg": "snrkit.estimators.gdreg:Gdreg",
        "vae-annealed": "snrkit.estimators.vae_annealed:VaeAnnealed",
        "vae-analytic": "snrkit.estimators.vae_analytic:VaeAnalytic",
    },
    group="snrkit.estimators",
    what="snrkit.estimators.base:Estimator",
)
