"""A model of two functions is the model that a class of them is."""

import copy
import functools
import types
import weakref
from collections import deque

import pandas as pd
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

import snrkit
from snrkit.errors import CapabilityError, SpecError

ENCODER, DECODER = nn.Linear(6, 4), nn.Linear(2, 6)
X = (torch.rand(3, 6, generator=torch.Generator().manual_seed(1)) < 0.5).float()


def encode(x):
    mean, log_scale = ENCODER(x).chunk(2, dim=-1)
    return Normal(mean, log_scale.exp())


def log_joint(x, z):
    return Normal(0.0, 1.0).log_prob(z).sum(-1) + snrkit.bernoulli_log_prob(x, DECODER(z))


class Same(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc, self.dec = ENCODER, DECODER

    def encode(self, x):
        return encode(x)

    def log_joint(self, x, z):
        return log_joint(x, z)

    def prior_distribution(self):
        return Normal(0.0, 1.0)


def values(model, **named):
    return snrkit.measure(model, X, ["iwae", "dreg"], K=[1, 3], draws=8, blocks=["inference", "generative"], **named)[
        "value"
    ]


def test_it_is_what_a_class_of_them_is():
    model = snrkit.from_functions(encode, log_joint)
    assert set(dict(model.named_parameters())) == {
        f"{a}.{b}" for a in ("ENCODER", "DECODER") for b in ("weight", "bias")
    }
    for engine in ("factors", "vmap", "loop"):
        pd.testing.assert_series_equal(values(model, engine=engine), values(Same(), engine=engine))


def test_modules_are_found_wherever_functions_keep_them():
    inner = Same()

    def closed(x):
        return inner.encode(x)

    for first, second in (
        (closed, inner.log_joint),
        (functools.partial(lambda net, x: Normal(*net(x).chunk(2, -1)), ENCODER), log_joint),
        (inner.encode, lambda x, z: 1.0 * log_joint(x, z)),
    ):
        found = dict(snrkit.from_functions(first, second).named_parameters())
        assert {id(parameter) for parameter in found.values()} >= {id(p) for p in inner.parameters()}
        assert len(found) == 4


def test_a_prior_serves_the_kl_in_closed_form():
    model = snrkit.from_functions(encode, log_joint, prior=Normal(torch.zeros(2), torch.ones(2)))
    found = snrkit.measure(model, X, "vae-analytic", K=1, draws=8)["value"]
    pd.testing.assert_series_equal(found, snrkit.measure(Same(), X, "vae-analytic", K=1, draws=8)["value"])
    with pytest.raises(CapabilityError, match="does not say what its prior is"):
        snrkit.measure(snrkit.from_functions(encode, log_joint), X, "vae-analytic", K=1, draws=8)


def test_what_cannot_be_adapted_is_told():
    loose = nn.Parameter(torch.zeros(2))
    with pytest.raises(CapabilityError, match="'loose' is a parameter that lies in no module"):
        snrkit.from_functions(lambda x: Normal(loose.expand(len(x), 2), 1.0), log_joint)
    with pytest.raises(SpecError, match="encode: is a int"):
        snrkit.from_functions(3, log_joint)
    with pytest.raises(SpecError, match="reach no module"):
        snrkit.from_functions(lambda x: Normal(x, 1.0), lambda x, z: z.sum(-1))
    with pytest.raises(SpecError, match="holds a int"):
        snrkit.from_functions(encode, log_joint, modules=[3])


def by_default(x, z, *, network=DECODER):
    return Normal(0.0, 1.0).log_prob(z).sum(-1) + snrkit.bernoulli_log_prob(x, network(z))


def inside(x, z):
    return Normal(0.0, 1.0).log_prob(z).sum(-1) + snrkit.bernoulli_log_prob(x, sum(DECODER(each) for each in [z]))


def of_a_module(x, z):
    return Normal(0.0, 1.0).log_prob(z).sum(-1) + snrkit.bernoulli_log_prob(x, NETWORKS.decoder(z))


def by_a_function_of_a_module(x, z):
    return NETWORKS.joint(x, z)


class Slotted:
    __slots__ = ("net",)

    def __init__(self):
        self.net = DECODER


class Held:
    net = DECODER

    @staticmethod
    def joint(x, z):
        return log_joint(x, z)


class Called:
    def __init__(self):
        self.joint = log_joint

    def __call__(self, x, z):
        return self.joint(x, z)


def nested(depth):
    """The decoder, at the end of closures of closures."""
    inner = functools.partial(lambda network: network, DECODER) if depth == 0 else nested(depth - 1)

    def outer():
        return inner()

    return outer


WHERE = {
    "a set in a dict in a list": [{"a": {DECODER}}], "a queue": deque([DECODER]), "slots": Slotted(), "closures": nested(3),
}  # fmt: skip
RING = [DECODER]
RING.append(RING)


def log_joint_of(x, z, network):
    return Normal(0.0, 1.0).log_prob(z).sum(-1) + snrkit.bernoulli_log_prob(x, network(z))


@pytest.mark.parametrize("place", WHERE)
def test_a_network_is_found_in_whatever_holds_it(place):
    held = WHERE[place]
    reach = {
        "a set in a dict in a list": lambda: next(iter(held[0]["a"])), "a queue": lambda: held[0],
        "slots": lambda: held.net, "closures": held,
    }[place]  # fmt: skip
    found = snrkit.from_functions(encode, lambda x, z: log_joint_of(x, z, reach()))
    assert any(parameter is DECODER.weight for parameter in found.parameters())


def of_a_class(x, z):
    return log_joint_of(x, z, Held.net)


def by_a_static_method(x, z):
    return Held.joint(x, z)


def of_a_ring(x, z):
    return log_joint_of(x, z, RING[1][0])


@pytest.mark.parametrize("function", [of_a_class, by_a_static_method, of_a_ring, Called(), Called().__call__])
def test_a_network_of_a_class_a_ring_or_an_object_that_is_called_is_found(function):
    found = snrkit.from_functions(encode, function)
    assert {id(parameter) for parameter in found.parameters()} == {id(parameter) for parameter in Same().parameters()}


@pytest.mark.rest_slow
@pytest.mark.parametrize("engine", ["auto", "loop", "vmap"])
def test_a_network_that_is_not_found_is_never_taken_for_a_constant(engine):
    """Reached by a weak reference, by its name as a string, and as a copy's original."""
    weak = weakref.ref(DECODER)
    by_reference = snrkit.from_functions(encode, lambda x, z: log_joint_of(x, z, weak()))
    by_string = snrkit.from_functions(encode, lambda x, z: log_joint_of(x, z, globals()["DEC" + "ODER"]))
    copied = copy.deepcopy(snrkit.from_functions(encode, log_joint))
    for model, says in ((by_reference, "log_joint"), (by_string, "log_joint"), (copied, "encode")):
        with pytest.raises(SpecError, match=rf"modules: {says} uses a parameter .*modules=\[encoder, decoder\]"):
            snrkit.measure(model, X, "iwae", K=2, draws=8, engine=engine)
    named = snrkit.from_functions(encode, lambda x, z: log_joint_of(x, z, weak()), modules=DECODER)
    pd.testing.assert_series_equal(values(named, engine="loop"), values(Same(), engine="loop"))


def test_a_prior_that_is_trained_is_refused():
    learnt = Independent(Normal(ENCODER.bias[:2], 1.0), 1)
    with pytest.raises(CapabilityError, match="prior: depends on what is trained"):
        snrkit.from_functions(encode, log_joint, prior=learnt)


NETWORKS = types.ModuleType("networks_of_mine")
NETWORKS.decoder, NETWORKS.joint = DECODER, log_joint


@pytest.mark.parametrize("function", [by_default, inside, of_a_module, by_a_function_of_a_module])
def test_a_network_is_found_wherever_a_function_has_it_from(function):
    found = snrkit.from_functions(encode, function)
    assert {id(parameter) for parameter in found.parameters()} == {id(parameter) for parameter in Same().parameters()}


def test_libraries_that_are_absent_are_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyro", None)
    for name in [name for name in sys.modules if name.startswith("snrkit.adapters.pyro")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SpecError, match=r"pip install 'snrkit\[pyro\]'"):
        snrkit.from_pyro(encode, encode)
    with pytest.raises(SpecError, match="none of pythae's"):
        snrkit.from_pythae(ENCODER)
