"""The trial before the first draw: what it finds, what it refuses, and no false alarm."""

import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import snrkit
from snrkit.errors import CapabilityError, NonFiniteError, ResourceError, SpecError
from snrkit.estimators import ESTIMATORS
from snrkit.models.adopt import as_latent_model
from snrkit.models.state import in_mode, unchanged
from snrkit.trial.examine import examine
from snrkit.trial.findings import Findings
from snrkit.trial.table import table
from tests.strangers.models import (
    HIDDEN,
    LATENT,
    PIXELS,
    AlwaysDropout,
    Annealed,
    Average,
    Centred,
    Discrete,
    Impossible,
    Vae,
    Vamp,
    WithDropout,
    data,
    made,
)


def found(model, x=None, mode="evaluation") -> Findings:
    subject = as_latent_model(model)
    x = data().to(next(subject.parameters()).dtype) if x is None else x
    with unchanged(subject), in_mode(subject, mode):
        return examine(subject, x, mode)


class Recurrent(Vae):
    def __init__(self):
        super().__init__()
        self.gru, self.head = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 2 * LATENT)

    def encode(self, x):
        return self.proposed(self.head(self.gru(x.view(-1, 4, 4))[0][:, -1]))


class Normed(Vae):
    def __init__(self):
        super().__init__()
        self.encoder[0] = nn.utils.parametrizations.spectral_norm(self.encoder[0])
        self.decoder[0] = nn.utils.parametrizations.weight_norm(self.decoder[0])


class BatchNormed(Vae):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.Linear(HIDDEN, 2 * LATENT))


class Cached(Vae):
    """Caches that depend on the shape alone, and results left as attributes."""

    ramp = None

    def encode(self, x):
        if self.ramp is None:
            self.ramp = {}
        if x.shape[-1] not in self.ramp:
            self.ramp[x.shape[-1]] = torch.arange(x.shape[-1]) / 1000
        return self.proposed(self.encoder(x + self.ramp[x.shape[-1]].to(x)))

    def log_joint(self, x, z):
        value = super().log_joint(x, z)
        self.loss, self.number = value.mean(), float(value.detach().sum())
        return value


class Checkpointed(Vae):
    def encode(self, x):
        return self.proposed(checkpoint(self.encoder, x, use_reentrant=False))


class Attention(Vae):
    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(16, 2 * LATENT)

    def encode(self, x):
        y = x.view(-1, 4, 4)
        return self.proposed(self.head(self.attention(y, y, y)[0].flatten(1)))


class FixedType(Vae):
    """Computes in float32 whatever it is given."""

    def encode(self, x):
        return self.proposed(
            torch.nn.functional.linear(x.float(), torch.eye(2 * LATENT, PIXELS)) + 0 * self.shift.float()
        )

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(2 * LATENT))


def frozen():
    model = Vae()
    model.encoder.requires_grad_(False)
    return model


def lazy():
    model = Vae()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.encoder = nn.Sequential(nn.LazyLinear(HIDDEN), nn.Tanh(), nn.LazyLinear(2 * LATENT))
    model.encoder(data())
    return model


INNOCENT = [
    Vae, Recurrent, Normed, BatchNormed, Cached, Checkpointed, Attention, FixedType, frozen, lazy,
    lambda: Vae().half(), lambda: Recurrent().bfloat16(), lambda: Vae().double(),
]  # fmt: skip


@pytest.mark.parametrize("kind", INNOCENT)
def test_no_false_alarm(kind):
    findings = found(made(kind))
    assert not findings.direct
    assert not findings.whole
    assert findings.reparameterised is not False
    assert not findings.shared
    assert not findings.detached
    assert not findings.global_proposal
    assert not findings.remarks


@pytest.mark.parametrize("kind", [Vae, Checkpointed, Recurrent, lambda: Vae().half()])
def test_a_reparameterised_proposal_is_seen_to_be_one(kind):
    assert found(made(kind)).reparameterised is True


class NumpyNoise(Vae):
    def encode(self, x):
        return self.proposed(self.encoder(x) + float(np.random.randn()))


class PythonNoise(Vae):
    def log_joint(self, x, z):
        return super().log_joint(x, z) * random.uniform(0.9, 1.1)


@pytest.mark.parametrize(("kind", "name"), [(AlwaysDropout, "torch"), (NumpyNoise, "numpy"), (PythonNoise, "random")])
def test_global_generators_are_named(kind, name):
    findings = found(made(kind))
    assert findings.draws == (name,)
    assert findings.direct
    assert findings.whole


class Unused(Vae):
    def encode(self, x):
        torch.randn(3)
        return super().encode(x)


def test_numbers_without_effect_do_not_count():
    assert not found(made(Unused)).draws


class Private(Vae):
    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(3)

    def encode(self, x):
        return self.proposed(self.encoder(x) + torch.randn(1, generator=self.generator))


class InList(Vae):
    def __init__(self):
        super().__init__()
        self.history = []

    def log_joint(self, x, z):
        self.history.append(1)
        return super().log_joint(x, z) * (1 + 1e-4 * len(self.history))


class OfClass(Vae):
    calls = 0

    def log_joint(self, x, z):
        type(self).calls += 1
        return super().log_joint(x, z) + 0.01 * type(self).calls


class StaleCache(Vae):
    """A cache by the number of points, whatever they are."""

    seen = None

    def encode(self, x):
        if self.seen is None or len(self.seen) != len(x):
            self.seen = self.encoder(x)
        return self.proposed(self.seen)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(Annealed, "calls"), (Average, "average"), (Private, "generator"), (InList, "history"), (OfClass, "OfClass.calls"),
     (StaleCache, "seen")],
)  # fmt: skip
def test_values_that_change_from_call_to_call_are_refused_by_name(kind, name):
    model = made(kind)
    with pytest.raises(CapabilityError, match=name):
        found(model)


_HIDDEN = [0]


class HiddenCounter(Vae):
    def log_joint(self, x, z):
        _HIDDEN[0] += 1
        return super().log_joint(x, z) + _HIDDEN[0]


def test_a_counter_outside_the_model_is_found_by_its_values():
    with pytest.raises(CapabilityError, match="hidden counter"):
        found(made(HiddenCounter))


class Counting(Vae):
    calls = 0

    def log_joint(self, x, z):
        self.calls += 1
        return super().log_joint(x, z)


def test_a_counter_without_effect_is_put_back_and_told():
    model = made(Counting)
    findings = found(model)
    assert findings.changes == ("calls",)
    assert findings.whole
    assert not findings.direct
    assert model.calls == 0


def coupled(strength):
    class Coupled(Vae):
        def encode(self, x):
            return self.proposed(self.encoder(x - strength * x.mean(0)))

    return Coupled


class FirstNoise(Vae):
    """One draw of the noise serves all points."""

    def encode(self, x):
        class Shared(type(super().encode(x))):
            def sample(self, noise):
                return super().sample(noise[:1].expand_as(noise))

        posterior = super().encode(x)
        return Shared(posterior.loc, posterior.scale)


@pytest.mark.parametrize("kind", [Centred, coupled(1e-3), coupled(1e-6), FirstNoise])
def test_dependent_points_are_found(kind):
    assert found(made(kind)).independent is False


def test_one_point_is_not_asked_whether_it_is_independent():
    assert found(made(Centred), data(1)).independent is None


class MeanOverSamples(Vae):
    def log_joint(self, x, z):
        return super().log_joint(x, z - 0.1 * z.mean(dim=2, keepdim=True))


def test_dependent_samples_are_found():
    findings = found(made(MeanOverSamples))
    assert findings.exchangeable is False
    model, estimators = made(MeanOverSamples), ["iwae"]
    assert set(snrkit.measure(model, data(), estimators=estimators, K=[4], draws=8).method) == {"units"}
    assert set(snrkit.measure(model, data(), estimators=estimators, K=[4], M=[2], draws=8).method) == {"direct"}
    with pytest.raises(ResourceError, match="depend on one another"):
        snrkit.measure(model, data(), estimators=estimators, K=[3_000_000], draws=4)


def half_detached(posterior):
    class Half(type(posterior)):
        def sample(self, noise):
            z = super().sample(noise)
            return torch.cat([z[..., :1].detach(), z[..., 1:]], dim=-1)

    return Half(posterior.loc, posterior.scale)


class HalfDetached(Vae):
    def encode(self, x):
        return half_detached(super().encode(x))


@pytest.mark.parametrize("kind", [Discrete, lambda: Discrete("straight-through"), HalfDetached])
@pytest.mark.parametrize("estimator", ["iwae", "vae", "dreg"])
def test_a_proposal_without_its_derivative_is_refused_by_name(kind, estimator):
    model = made(kind)
    assert found(model).reparameterised is False
    with pytest.raises(CapabilityError, match=f"{estimator}.*reparameterised"):
        snrkit.measure(model, data(), estimators=[estimator], K=[2], draws=8)


@pytest.mark.parametrize("estimator", ["dreg", "stl"])
def test_estimators_that_take_networks_apart_are_refused_where_they_share(estimator):
    model = made(Vamp)
    with pytest.raises(CapabilityError, match=f"{estimator}.*encoder.*choose vae, iwae"):
        snrkit.measure(model, data(), estimators=[estimator], K=[2], draws=8)
    snrkit.measure(model, data(), estimators=["iwae"], K=[2], draws=8)


class LeakyDetached(Vae):
    def encode(self, x):
        posterior = super().encode(x)

        class Leaky(type(posterior)):
            def detached(self):
                return self

        return Leaky(posterior.loc, posterior.scale)


def test_a_detached_density_that_is_not_detached_is_refused():
    model = made(LeakyDetached)
    with pytest.raises(CapabilityError, match=r"dreg.*still depends on parameters"):
        snrkit.measure(model, data(), estimators=["dreg"], K=[2], draws=8)
    snrkit.measure(model, data(), estimators=["iwae"], K=[2], draws=8)


class Global(Vae):
    """Weights of a regression as the latent: one proposal, whatever the data."""

    def __init__(self):
        super().__init__()
        self.loc, self.log_scale = nn.Parameter(torch.zeros(1, PIXELS)), nn.Parameter(torch.zeros(1, PIXELS))

    def encode(self, x):
        return snrkit.DiagonalNormal(self.loc.expand(len(x), -1), self.log_scale.exp().expand(len(x), -1))

    def log_joint(self, x, z):
        return snrkit.standard_normal_log_prob(z) + snrkit.standard_normal_log_prob((x * z).flatten(3))


def test_a_draw_of_weights_for_each_row_is_refused_and_the_minibatch_as_one_point_is_not():
    with pytest.raises(CapabilityError, match=r"same for all 4 data points.*x\[None\]"):
        snrkit.measure(made(Global), data(), estimators=["vae"], K=[1], draws=8)

    class Whole(Global):
        def log_joint(self, x, z):
            fit = snrkit.standard_normal_log_prob((x * z[..., None, :]).flatten(3))
            return snrkit.standard_normal_log_prob(z) + fit

    snrkit.measure(made(Whole), data()[None], estimators=["vae"], K=[1], draws=8)


def test_a_head_begun_at_zero_is_no_global_proposal():
    model = made(Vae)
    nn.init.zeros_(model.encoder[2].weight)
    assert not found(model).global_proposal


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_log_weights_that_are_no_numbers_are_refused(value):
    class Wrong(Vae):
        def log_joint(self, x, z):
            return super().log_joint(x, z) + value

    with pytest.raises(NonFiniteError, match="log_joint"):
        found(made(Wrong))


def test_an_uninitialised_lazy_module_is_refused():
    model = made(Vae)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.encoder = nn.Sequential(nn.LazyLinear(2 * LATENT))
    with pytest.raises(SpecError, match="lazy"):
        found(model)
    assert isinstance(model.encoder[0], nn.LazyLinear)


class FirstCall(Vae):
    """Draws a projection when it is first called."""

    projection = None

    def encode(self, x):
        if self.projection is None:
            self.projection = torch.randn(PIXELS, PIXELS)
        return self.proposed(self.encoder(x @ self.projection))


def test_a_model_that_initialises_itself_at_its_first_call_is_refused():
    model = made(FirstCall)
    with pytest.raises(SpecError, match="first call"):
        found(model)
    assert model.projection is None


def test_training_mode_is_tried_as_such():
    findings = found(made(lambda: WithDropout(batch_norm=True)), mode="training")
    assert findings.draws == ("torch",)
    assert "encoder.1.running_mean" in findings.changes
    assert found(made(BatchNormed), mode="training").independent is False
    assert found(made(WithDropout)).mode_matters == ("Dropout",)


def test_zero_weights_are_counted():
    assert 0 < found(made(Impossible)).minus_inf < 1


def test_check_is_a_table_to_print():
    table = snrkit.check(made(Centred), data())
    assert list(table.columns) == ["question", "finding", "what follows"]
    row = table[table.question == "Are data points independent?"].iloc[0]
    assert (row.finding, row["what follows"]) == ("no", "drawn directly")


def follows(**wrong):
    rows = table(Findings("evaluation", "float64", **wrong))["what follows"]
    return [text for text in rows if "refused" in text]


def test_what_follows_names_the_registered_estimators_that_are_refused(monkeypatch):
    assert follows() == []
    path = "dreg, stl, rws, rws-dreg, reinforce, vimco, ovis-tilde, ovis-mc, rloo, tvo and gdreg are refused"
    assert follows(fixed_support=False) == follows(detached="why") == [path]
    # Own networks are asked for by those above and by wake-sleep; those of the path alone want them of one network only.
    scores = "rws, wake-sleep, reinforce, vimco, ovis-tilde, ovis-mc, rloo, tvo and gdreg are refused"
    assert follows(shared=("w",)) == [scores]
    assert follows(shared=("w",), shared_inference=("w",)) == [path.replace("rws-dreg,", "rws-dreg, wake-sleep,")]
    (pathless,) = follows(reparameterised=False, why_not="why")
    assert pathless.startswith("vae, iwae, miwae, ciwae, piwae, dreg, stl, rws-dreg, vr-iwae, jvi,")
    assert not any(name in pathless for name in ("vimco", "ovis", "rloo", "tvo", "reinforce", "wake-sleep"))
    some = {name: ESTIMATORS._entries[name] for name in ("iwae", "stl")}
    monkeypatch.setattr(ESTIMATORS, "_entries", some)
    assert follows(shared=("w",), shared_inference=("w",)) == ["stl is refused"]
    monkeypatch.setattr(ESTIMATORS, "_entries", {"iwae": some["iwae"]})
    assert follows(reparameterised=False, why_not="why") == ["every registered estimator is refused"]
    assert follows(shared=("w",)) == []


class LayerDrop(Vae):
    """A layer that is dropped now and then."""

    def log_joint(self, x, z):
        return super().log_joint(x, 0 * z if torch.rand(()) < 0.1 else z)


class DropWithGradients(Vae):
    """Random numbers only where gradients are recorded."""

    def log_joint(self, x, z):
        return super().log_joint(x, nn.functional.dropout(z, 0.3) if torch.is_grad_enabled() else z)


@pytest.mark.parametrize("kind", [LayerDrop, DropWithGradients])
def test_random_numbers_that_seldom_show_are_found(kind):
    assert found(made(kind)).draws == ("torch",)


class Ranked(Vae):
    """Coupled in a way that neither the first point alone nor another order shows."""

    def encode(self, x):
        ranks = x.sum(-1).argsort().argsort()[:, None]
        return self.proposed(self.encoder(x) + 0.1 * ranks)


class CoupledFromThreeOn(Vae):
    def encode(self, x):
        return self.proposed(self.encoder(x - x.mean(0) if len(x) > 2 else x))


@pytest.mark.parametrize("kind", [Ranked, CoupledFromThreeOn])
def test_coupling_that_two_points_do_not_show(kind):
    x = data()
    x = x[x.sum(1).argsort()]
    assert found(made(kind), x).independent is False


class Masked(nn.Linear):
    """Masks its weight in place at every call, as many an autoregressive network does."""

    def forward(self, x):
        self.weight.data *= (torch.arange(self.in_features) % 2).to(self.weight)
        return super().forward(x)


class MaskedEncoder(Vae):
    def __init__(self):
        super().__init__()
        self.encoder[0] = Masked(PIXELS, HIDDEN)


class Bank(Vae):
    """Keeps what it has seen in a buffer that is written in place, and uses it at the next call."""

    def __init__(self):
        super().__init__()
        self.register_buffer("bank", torch.zeros(2 * LATENT))

    def encode(self, x):
        h = self.encoder(x)
        value = h + 0.1 * self.bank
        self.bank += h.detach().mean(0)
        return self.proposed(value)


@pytest.mark.parametrize(("kind", "mode"), [(MaskedEncoder, "evaluation"), (Bank, "training")])
def test_a_model_that_writes_into_its_tensors_is_tried_from_one_state(kind, mode):
    findings = found(made(kind), mode=mode)
    assert findings.reparameterised is True
    assert findings.independent is True


def narrowed(change):
    """An encoder that computes in a type of its own, with a right derivative or half of one."""

    class Narrowed(Vae):
        def encode(self, x):
            return change(self, x)

    return Narrowed


def in_float32(self, x):
    return self.proposed(self.encoder(x).float())


def half_of_it(self, x):
    return half_detached(in_float32(self, x))


def under_autocast(self, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        h = self.encoder(x)
    return self.proposed(h.float())


def in_bfloat16(self, x):
    return self.proposed(self.encoder(x).bfloat16().float())


@pytest.mark.parametrize(
    ("change", "right"), [(in_float32, True), (half_of_it, False), (under_autocast, True), (in_bfloat16, None)]
)
def test_an_encoder_that_narrows_its_type_is_no_false_alarm(change, right):
    findings = found(made(narrowed(change)))
    assert findings.reparameterised is right
    assert ("bfloat16" in findings.why_not) == (right is None)


def test_a_model_of_which_nothing_trained_counts_says_so():
    model = made(Vae).requires_grad_(False)
    model.spare = nn.Linear(2, 2)
    assert "no trained parameter" in " ".join(snrkit.check(model, data()).finding)
    with pytest.raises(SpecError, match="no trainable parameter"):
        snrkit.measure(model, data(), "iwae", K=2, draws=4)


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h):
        ctx.save_for_backward(h)
        return h.clamp(-1, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (h,) = ctx.saved_tensors
        return gradient * (h.abs() <= 1)


class OnceDifferentiable(Vae):
    def encode(self, x):
        return self.proposed(self.encoder[2](Once.apply(self.encoder[0](x))))


class Orthogonal(Vae):
    """Its parameter holds signs, at which differences jump."""

    def __init__(self):
        super().__init__()
        nn.utils.parametrizations.orthogonal(self.encoder[2])


@pytest.mark.parametrize("kind", [OnceDifferentiable, Orthogonal])
def test_a_derivative_that_is_hard_to_try_is_no_false_alarm(kind):
    assert found(made(kind)).reparameterised is True


def test_one_detached_coordinate_of_many_is_found():
    class Wide(Vae):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Linear(PIXELS, 2 * 1000)

        def encode(self, x):
            return half_detached(super().encode(x))

        def log_joint(self, x, z):
            return snrkit.standard_normal_log_prob(z) + snrkit.bernoulli_log_prob(x, self.decoder(z[..., :LATENT]))

    assert found(made(Wide)).reparameterised is False
