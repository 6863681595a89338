"""Pyro's models: what is measured is what Pyro's own losses, differentiated in a loop by hand, give."""

import pytest
import torch
from torch import nn

import snrkit
from snrkit.errors import CapabilityError, SpecError
from tests.support.extras import library
from tests.support.loops import assert_agree, readings, snr_by_hand

pyro = library("pyro", "pyro")
pytestmark = [pytest.mark.extra, pytest.mark.filterwarnings("ignore")]

X = (torch.rand(3, 8, generator=torch.Generator().manual_seed(0)) < 0.4).float()


class Program(nn.Module):
    """A VAE as in Pyro's tutorial, with one latent site or two."""

    def __init__(self, two=False):
        super().__init__()
        torch.manual_seed(0)
        self.two = two
        self.enc, self.dec = nn.Linear(8, 6), nn.Linear(3, 8)
        if two:
            self.enc2, self.dec2 = nn.Linear(3, 4), nn.Linear(2, 3)

    def model(self, x):
        import pyro.distributions as dist

        pyro.module("program", self)
        with pyro.plate("data", len(x), dim=-1):
            loc = torch.zeros(len(x), 3)
            if self.two:
                loc = self.dec2(pyro.sample("z2", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1)))
            z = pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.dec(z)).to_event(1), obs=x)

    def guide(self, x):
        import pyro.distributions as dist

        pyro.module("program", self)
        with pyro.plate("data", len(x), dim=-1):
            mean, log_scale = self.enc(x).chunk(2, -1)
            z = pyro.sample("z", dist.Normal(mean, log_scale.exp()).to_event(1))
            if self.two:
                mean, log_scale = self.enc2(z).chunk(2, -1)
                pyro.sample("z2", dist.Normal(mean, log_scale.exp()).to_event(1))


@pytest.fixture(autouse=True)
def _store():
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


def by_hand(program, elbo, draws):
    parts = {"inference": ("enc", "enc2"), "generative": ("dec", "dec2")}
    networks = {
        name: [p for part in own for p in getattr(program, part, nn.Identity()).parameters()]
        for name, own in parts.items()
    }
    return snr_by_hand(lambda: elbo.loss_and_grads(program.model, program.guide, X), networks, draws)


@pytest.mark.parametrize(
    ("two", "estimator", "K"),
    [
        (False, "vae", 1),
        (False, "iwae", 4),
        (True, "vae", 1),
        pytest.param(True, "vae-analytic", 1, marks=pytest.mark.slow),
    ],
)
def test_what_is_measured_is_what_pyro_trains_with(two, estimator, K):
    from pyro.infer import RenyiELBO, Trace_ELBO, TraceMeanField_ELBO

    program, draws = Program(two), 150
    own = RenyiELBO(alpha=0, num_particles=K, vectorize_particles=True, max_plate_nesting=1)
    elbo = {"vae": Trace_ELBO(), "iwae": own, "vae-analytic": TraceMeanField_ELBO()}[estimator]
    adapted = snrkit.from_pyro(program.model, program.guide)
    table = snrkit.measure(adapted, X, estimator, K=K, draws=draws, blocks=["inference", "generative"])
    assert table.attrs["remarks"] == []
    assert len(pyro.get_param_store()) == 0
    assert_agree(table, by_hand(program, elbo, draws))


def test_engines_and_estimators_serve_it():
    adapted = snrkit.from_pyro(Program(True).model, Program(True).guide, modules=[])
    found = {
        engine: readings(snrkit.measure(adapted, X, ["dreg", "vimco"], K=2, draws=8, engine=engine))
        for engine in ("factors", "loop")
    }
    for block, (value, _) in found["loop"].items():
        assert found["factors"][block][0] == pytest.approx(value, rel=1e-4)
    assert snrkit.evaluate(adapted, X, 128).loc["kl_q_p", "value"] > -1.0


@pytest.mark.parametrize("name", ["TraceGraph_ELBO", "ReweightedWakeSleep"])
def test_a_loss_of_pyros_is_measured_as_it_is(name):
    import pyro.infer

    program = Program()
    elbo = {
        "TraceGraph_ELBO": pyro.infer.TraceGraph_ELBO,
        "ReweightedWakeSleep": lambda: pyro.infer.ReweightedWakeSleep(
            num_particles=3, vectorize_particles=True, max_plate_nesting=1
        ),
    }[name]()
    loss = snrkit.pyro_loss(program.model, program.guide, elbo)
    parts = {"inference": program.enc, "generative": program.dec}
    table = snrkit.measure_loss(loss, program, X, draws=100, groups=parts)
    assert_agree(table, by_hand(program, elbo, 100))
    with pytest.raises(SpecError, match="elbo: is a int"):
        snrkit.pyro_loss(program.model, program.guide, 3)


def programs(kind):
    """A model and guide with a site that cannot be served."""
    import pyro.distributions as dist

    net = nn.Linear(8, 2)

    def program(x, observed):
        if kind == "global":
            pyro.sample("w", dist.Normal(net.bias[:1], 1.0).to_event(1))
        size, few = (30, len(x)) if kind == "subsampled" else (len(x), None)
        with pyro.plate("data", size, subsample_size=few, dim=-1):
            if kind == "discrete":
                z = pyro.sample("z", dist.Bernoulli(logits=net(x)).to_event(1), infer={})
            elif kind == "enumerated":
                z = pyro.sample("z", dist.Categorical(logits=net(x)), infer={"enumerate": "parallel"})[
                    ..., None
                ].float()
            else:
                z = pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))
            if observed:
                pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x.sum(-1))

    return (lambda x: program(x, True)), (lambda x: program(x, False))


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("global", "'w' is global"),
        ("subsampled", r"'z' is scaled or masked \(subsampling"),
        ("discrete", "'z' is Bernoulli, and normal ones are served"),
        ("enumerated", "'z' is enumerated"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(kind, says):
    with pytest.raises(CapabilityError, match=says) as refused:
        snrkit.measure(snrkit.from_pyro(*programs(kind)), X, "vae", K=1, draws=8)
    assert "snrkit.pyro_loss" in refused.value.remedy


def test_sites_that_only_one_of_the_two_has_are_named():
    model, _ = programs("plain")
    program = Program(True)
    with pytest.raises(CapabilityError, match="site 'z2' is not in the model"):
        snrkit.measure(snrkit.from_pyro(model, program.guide), X, "vae", K=1, draws=8)


def test_parameters_of_the_store_are_measured():
    import pyro.distributions as dist
    from torch.distributions import constraints

    def model(x):
        scale = pyro.param("scale", torch.tensor(1.5), constraint=constraints.positive)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[..., None], scale).to_event(1), obs=x)

    def guide(x):
        weight = pyro.param("weight", torch.full((8,), 0.1))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x @ weight, 0.5))

    with pytest.raises(SpecError, match="reach no module"):
        snrkit.from_pyro(model, guide)
    pyro.infer.Trace_ELBO().loss(model, guide, X)
    adapted = snrkit.from_pyro(model, guide)
    before = {name: value.detach().clone() for name, value in pyro.get_param_store().items()}
    table = snrkit.measure(adapted, X, "vae", K=1, draws=8)
    assert {"store.scale", "store.weight"} <= set(table["block"])
    assert all(torch.equal(value, pyro.param(name)) for name, value in before.items())


def with_an_offset(program):
    """A model that has a parameter of ``pyro.param`` beside its modules."""

    def model(x):
        import pyro.distributions as dist

        offset = pyro.param("offset", torch.zeros(8))
        pyro.module("program", program)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 3), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=program.dec(z) + offset).to_event(1), obs=x)

    return model


def test_a_parameter_that_the_store_has_not_yet_is_no_constant():
    program = Program()
    model = with_an_offset(program)
    with pytest.raises(SpecError, match=r"'offset' is no module's.*run model and guide once"):
        snrkit.measure(snrkit.from_pyro(model, program.guide), X, "vae", K=1, draws=8)
    model(X)
    assert "store.offset" in set(
        snrkit.measure(snrkit.from_pyro(model, program.guide), X, "vae", K=1, draws=8)["block"]
    )


def test_parameters_of_the_store_follow_its_training():
    program = Program()
    model = with_an_offset(program)
    model(X)
    adapted = snrkit.from_pyro(model, program.guide)
    with torch.no_grad():
        pyro.get_param_store()._params["offset"] += 3.0
    anew = snrkit.from_pyro(model, program.guide)
    values = [snrkit.measure(each, X, "vae", K=1, draws=8)["value"] for each in (adapted, anew)]
    assert values[0].equals(values[1])
