"""Every registered estimator, with what it can be tested on: a model that offers its parts, and enough samples."""

import torch

from snrkit.errors import SpecError
from snrkit.estimators import ESTIMATORS
from snrkit.estimators.base import build_estimator
from tests.zoo import D, K, hierarchical, images, mlp, numbers

EVERY = [build_estimator(name, {}) for name in ESTIMATORS.names]
# Options that change what is computed, and not a number only.
VARIANTS = [
    build_estimator(name, options)
    for name, options in [
        ("rws", {"sleep": 0.3}),
        ("vimco", {"geometric": 0}),
        ("ovis-tilde", {"gamma": 0.7}),
        ("ovis-mc", {"S": 2}),
        ("tvo", {"intervals": 1}),
        ("vr-iwae", {"detached": 1}),
        ("jvi", {"dreg": 1}),
    ]
]


def title(estimator):
    """Name and options, for the names of tests."""
    return f"{estimator.name} {estimator.describe()}".strip()


def samples(estimator, wanted=K):
    """A number of samples that an estimator works with: the one wanted, if it does with that."""
    try:
        estimator.require_samples(wanted)
    except SpecError:
        return estimator.few_samples[1]
    return wanted


def subject(estimator):
    """A model that offers what an estimator asks for, and data."""
    return (hierarchical() if estimator.needs.regenerated else mlp()), images()


def noise_of(estimator, model, seed, *leading):
    """Noise ``[*leading, E]``, the same for all estimators, with that of dreams behind it where they are asked for."""
    own = numbers(seed, *leading, D)
    if not estimator.needs.sleep:
        return own
    return torch.cat([own, numbers(seed + 1000, *leading, model.dream_size)], dim=-1)


def parameters(model, x):
    """Of each network, ``inference`` first."""
    networks, named = model.networks(x), dict(model.named_parameters())
    return {
        network: [named[name] for name, own in networks.items() if own == network]
        for network in ("inference", "generative")
    }
