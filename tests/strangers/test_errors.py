"""What cannot be measured is told in one sentence, and what can is measured."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import snrkit
from snrkit.diagnostics.advise import advise
from snrkit.errors import CapabilityError, ModelError, ResourceError, SnrkitError, SpecError
from snrkit.estimators.base import build_estimator
from tests.strangers.models import (
    HIDDEN,
    LATENT,
    PIXELS,
    AlwaysDropout,
    Vae,
    agrees,
    data,
    made,
    own_draws,
    same_readings,
)

NETWORKS = ["inference", "generative"]
ENGINES = ["factors", "vmap", "loop"]


def measured(model, x=None, estimator="iwae", draws=400, K=4, **options):
    x = data() if x is None else x
    return snrkit.measure(model, x, estimators=[estimator], K=[K], draws=draws, blocks=NETWORKS, **options)


def one_line(error):
    assert "\n" not in str(error)
    assert len(error.problem) > 5
    assert len(error.remedy) > 5


class Scalar(Vae):
    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.zeros(()))

    def log_joint(self, x, z):
        return super().log_joint(x, z) * self.temperature.exp()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_scalar_parameter(engine):
    table = snrkit.measure(made(Scalar), data(), estimators=["iwae"], K=[4], draws=40, engine=engine)
    (row,) = table[(table.block == "temperature") & (table.metric == "variance")].itertuples()
    assert row.value > 0
    assert row.n_coordinates == 1


class Compiled(Vae):
    def __init__(self):
        super().__init__()
        self.decoder = torch.compile(self.decoder, backend="eager")


@pytest.mark.rest_slow
@pytest.mark.parametrize("estimator", ["iwae", "dreg"])
def test_a_compiled_model_and_a_compiled_part(estimator):
    reference = snrkit.measure(made(Vae), data(), estimators=[estimator], K=[4], draws=8)
    whole = torch.compile(made(Vae), backend="eager")
    for model in (whole, made(Compiled)):
        table = snrkit.measure(model, data(), estimators=[estimator], K=[4], draws=8)
        assert list(table.block) == list(reference.block)
        assert table.value.equals(reference.value)


class Holder(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *arguments):
        return self.module(*arguments)


@pytest.mark.rest_slow
@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, Holder, torch.optim.swa_utils.AveragedModel, lambda m: Holder(Holder(m))]
)
def test_wrappers_are_taken_off(wrap):
    table = measured(wrap(made(Vae)), draws=8)
    assert table.value.equals(measured(made(Vae), draws=8).value)


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and still around
        return torch.jit.script(nn.Linear(2, 2))


def test_what_is_no_model_is_refused_by_name():
    class Half(nn.Module):
        def encode(self, x):
            return x

    for wrong, said in (
        (nn.Linear(2, 2), "Linear has no encode and no log_joint"),
        (Half(), "Half has no log_joint"),
        (lambda x: x, "function"),
        (None, "NoneType"),
        (scripted(), "ScriptModule"),
        (made(Vae).to("meta"), "meta device"),
    ):
        with pytest.raises(SpecError, match=said) as caught:
            measured(wrong)
        one_line(caught.value)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("engine", ENGINES)
def test_reentrant_checkpointing_is_measured(engine):
    class Reentrant(Vae):
        def encode(self, x):
            return self.proposed(checkpoint(self.encoder, x.requires_grad_(), use_reentrant=True))

        def log_joint(self, x, z):
            logits = checkpoint(self.decoder, z, use_reentrant=True)
            return snrkit.standard_normal_log_prob(z) + snrkit.bernoulli_log_prob(x, logits)

    if engine == "vmap":
        with pytest.raises(CapabilityError, match="vmap") as caught:
            measured(made(Reentrant), engine=engine, draws=8)
        one_line(caught.value)
        return
    table = measured(made(Reentrant), engine=engine, draws=20)
    reference = measured(made(Vae), engine="loop", draws=20)
    assert torch.allclose(torch.tensor(table.value), torch.tensor(reference.value), rtol=1e-4, equal_nan=True)


def test_batch_norm_without_running_statistics():
    class Stateless(Vae):
        def __init__(self):
            super().__init__()
            norm = nn.BatchNorm1d(HIDDEN, track_running_stats=False)
            self.encoder = nn.Sequential(nn.Linear(PIXELS, HIDDEN), norm, nn.ReLU(), nn.Linear(HIDDEN, 2 * LATENT))

    model = made(Stateless)
    table = measured(model)
    assert set(table.method) == {"direct"}
    agrees(table, own_draws(model, data(), 4, 400))
    with pytest.raises(ModelError, match="at least two data points") as caught:
        measured(model, data(1))
    one_line(caught.value)


def test_a_validating_distribution_on_grey_values():
    class Validating(Vae):
        def log_joint(self, x, z):
            # torch's compiler, once loaded, turns the default off for the process.
            pixels = torch.distributions.Bernoulli(logits=self.decoder(z), validate_args=True)
            fit = pixels.log_prob(x.expand(*z.shape[:-1], PIXELS))
            return snrkit.standard_normal_log_prob(z) + fit.sum(-1)

    agrees(measured(made(Validating)), own_draws(made(Validating), data(), 4, 400))
    with pytest.raises(ModelError, match="validate_args=False") as caught:
        measured(made(Validating), 0.5 * data())
    assert isinstance(caught.value.__cause__, ValueError)
    one_line(caught.value)


@pytest.mark.parametrize(
    ("returned", "said"), [(None, "NoneType"), (3.0, "float"), ("x", "str"), (torch.zeros(4), "shape")]
)
def test_a_log_joint_that_returns_something_else(returned, said):
    class Odd(Vae):
        def log_joint(self, x, z):
            return returned

    with pytest.raises(SnrkitError, match=f"log_joint.*{said}") as caught:
        measured(made(Odd))
    one_line(caught.value)


@pytest.mark.parametrize(
    "error", [KeyError("x"), AttributeError("y"), AssertionError(), NotImplementedError(), OSError(5, "z")]
)
@pytest.mark.parametrize("method", ["encode", "log_joint"])
def test_any_error_of_a_users_method_is_one_of_ours(error, method):
    def broken(self, *arguments):
        raise error

    broken.__name__ = method
    model = made(type("Broken", (Vae,), {method: broken}))
    with pytest.raises(ModelError, match=type(error).__name__) as caught:
        measured(model)
    assert caught.value.__cause__ is error
    one_line(caught.value)


def test_an_error_that_comes_late_is_one_of_ours_too():
    class Late(Vae):
        def log_joint(self, x, z):
            value = super().log_joint(x, z)
            if z.shape[2] == 7:
                raise RuntimeError("seven\nlines")
            return value

    with pytest.raises(ModelError, match=r"log_joint fails on .*seven") as caught:
        measured(made(Late), K=7)
    one_line(caught.value)


def test_the_data_point_is_told_where_a_model_gives_no_number():
    class Dark(Vae):
        def log_joint(self, x, z):
            return super().log_joint(x, z) + x[..., 0].log() * 0

    x = torch.ones(6, PIXELS)
    x[4, 0] = 0
    with pytest.raises(SnrkitError, match="data point 4") as caught:
        measured(made(Dark), x)
    one_line(caught.value)


class Named(Vae):
    """Two encoders in one: dropout by name, a GRU."""

    def __init__(self):
        super().__init__()
        self.gru, self.head = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 2 * LATENT)

    def encode(self, x):
        return self.proposed(self.head(self.gru(x.view(-1, 4, 4))[0][:, -1]))


@pytest.mark.slow
def test_an_engine_that_a_model_does_not_allow_is_refused_by_name():
    with pytest.raises(CapabilityError, match=r"vmap.*loop") as caught:
        measured(made(Named), engine="vmap", draws=8)
    one_line(caught.value)
    agrees(measured(made(Named), draws=200), own_draws(made(Named), data(), 4, 200))


@pytest.mark.rest_slow
@pytest.mark.parametrize("engine", ENGINES)
def test_sparse_gradients(engine):
    class Sparse(Vae):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(5, 2 * LATENT, sparse=True)

        def encode(self, x):
            return self.proposed(self.encoder(x) + self.table(x[:, :1].long()).sum(1))

    dense = made(Sparse)
    dense.table.sparse = False
    try:
        table = measured(made(Sparse), engine=engine, draws=40)
    except CapabilityError as error:
        assert engine == "vmap"
        one_line(error)
        return
    same_readings(table, measured(dense, engine="loop", draws=40))
    if engine == "factors":
        agrees(measured(made(Sparse), draws=200), own_draws(dense, data(), 4, 200))


def test_one_estimator_by_its_name():
    table = snrkit.measure(made(Vae), data(), estimators="iwae", K=[2], draws=8)
    assert set(table.estimator) == {"iwae"}


class Attributes(dict):
    """A dict whose keys are attributes, as libraries for language models have them."""

    __getattr__ = dict.__getitem__


def test_data_that_look_like_something_else_are_refused_with_what_to_do():
    class ByAttribute(Vae):
        def encode(self, x):
            return super().encode(x.image)

    rows = data()
    for kind, x, said in (
        (Vae, list(rows), r"torch\.stack\(x\)"),
        (Vae, rows.bool(), r"x\.float\(\)"),
        (Vae, np.ma.masked_array(rows.numpy(), rows.numpy() > 0), r"x\.filled"),
        (ByAttribute, Attributes(image=rows), r"x\['name'\]"),
    ):
        with pytest.raises(SnrkitError, match=said) as caught:
            measured(made(kind), x, draws=8)
        one_line(caught.value)


@pytest.mark.parametrize("call", [1, 30])
def test_memory_that_runs_out_is_told_in_one_sentence(call):
    left = [call]

    class Large(Vae):
        def log_joint(self, x, z):
            left[0] -= 1
            if left[0] <= 0:
                raise MemoryError
            return super().log_joint(x, z)

    with pytest.raises(ResourceError, match="memory") as caught:
        measured(made(Large), draws=8)
    one_line(caught.value)


def test_advise_unwraps_and_refuses_as_measuring_does():
    class Broken(Vae):
        def encode(self, x):
            raise KeyError

    candidates = [build_estimator("iwae", {})]
    x = data()
    with pytest.raises(ModelError, match="encode fails"):
        advise(made(Broken), x, x, 2, candidates, draws=4, seed=0)
    before = torch.get_rng_state()
    with pytest.raises(CapabilityError, match="generators of torch"):
        advise(made(AlwaysDropout), x, x, 2, candidates, draws=4, seed=0)
    assert torch.equal(before, torch.get_rng_state())
    wrapped = advise(Holder(made(Vae)), x, x, 2, candidates, draws=8, seed=0)
    assert len(wrapped.table) == 2
