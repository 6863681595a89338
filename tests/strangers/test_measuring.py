"""What strangers' models read, against plain loops; and what is refused."""

import logging
import math

import numpy as np
import pytest
import torch
from torch import nn

import snrkit
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.plan import Plan
from snrkit.errors import NonFiniteError, SpecError
from tests.strangers.models import (
    HIDDEN,
    LATENT,
    PIXELS,
    AlwaysDropout,
    Centred,
    Impossible,
    Vae,
    Vamp,
    WithDropout,
    agrees,
    data,
    made,
    own_draws,
    same_readings,
)

NETWORKS = ["inference", "generative"]
FEW = 20  # draws, where two tables are compared number by number


def measured(model, x=None, K=(8,), draws=400, estimators=("iwae",), **options):
    x = data() if x is None else x
    return snrkit.measure(model, x, estimators=list(estimators), K=list(K), draws=draws, blocks=NETWORKS, **options)


@pytest.mark.slow
def test_a1_dropout_that_is_always_on_is_seeded_by_the_draw(caplog):
    model = made(AlwaysDropout).eval()
    with caplog.at_level(logging.WARNING):
        table = measured(model)
    assert "draws from the generators of torch" in caplog.text
    assert table.attrs["remarks"]
    assert set(table.method) == {"direct"}
    assert set(table.engine) == {"loop"}
    agrees(table, own_draws(model, data(), 8, 400))
    torch.manual_seed(1)
    first = measured(model, draws=FEW)
    torch.manual_seed(2)
    assert first.value.equals(measured(model, draws=FEW).value)


@pytest.mark.slow
def test_a1_random_inputs_in_log_joint():
    class Noisy(Vae):
        def log_joint(self, x, z):
            return super().log_joint((x + 0.3 * torch.randn_like(x)).clamp(0, 1), z)

    model = made(Noisy)
    agrees(measured(model), own_draws(model, data(), 8, 400))


def test_a1_a_draw_with_inner_randomness_is_never_taken_in_portions():
    model = made(AlwaysDropout)
    with pytest.raises(snrkit.errors.SnrkitError, match="K"):
        measured(model, K=(3_000_000,), draws=4)


@pytest.mark.rest_slow
@pytest.mark.parametrize("batch_norm", [False, True])
def test_a2_training_mode(batch_norm):
    model = made(lambda: WithDropout(batch_norm)).eval()
    evaluation = measured(model)
    training = measured(model, mode="training")
    assert not model.training
    assert (set(evaluation["mode"]), set(training["mode"])) == ({"evaluation"}, {"training"})
    assert any("mode='training'" in remark for remark in evaluation.attrs["remarks"])
    agrees(evaluation, own_draws(model, data(), 8, 400))
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    agrees(training, own_draws(model.train(), data(), 8, 400))
    model.load_state_dict(buffers, strict=False)


@pytest.mark.slow
def test_a2_training_mode_of_several_outer_samples():
    model = made(WithDropout)
    table = measured(model, K=(4,), M=(3,), mode="training")
    agrees(table, own_draws(model.train(), data(), 4, 400, M=3))


def test_a2_a_model_already_in_training_keeps_what_it_has_frozen():
    model = made(lambda: WithDropout(True)).train()
    model.encoder[1].eval()
    table = measured(model, mode="training")
    assert not model.encoder[1].training
    agrees(table, own_draws(model, data(), 8, 400))


def test_a2_a_model_without_such_modules_reads_the_same_in_both_modes():
    model = made(Vae)
    assert measured(model, draws=FEW).value.equals(measured(model, draws=FEW, mode="training").value)


def test_a_mode_that_is_none_is_refused():
    with pytest.raises(SpecError, match="mode"):
        measured(made(Vae), mode="train")


def test_a8_dependent_points_are_drawn_directly(caplog):
    model = made(Centred)
    with caplog.at_level(logging.WARNING):
        table = measured(model)
    assert "data points are not independent" in caplog.text
    assert set(table.method) == {"direct"}
    agrees(table, own_draws(model, data(), 8, 400))
    with pytest.raises(SpecError, match="nested"):
        diagnose(model, data(), Plan(estimators="iwae", K=(2, 4), nested=True, draws=8))


def test_a8_declared_dependence_is_drawn_directly_too():
    class Declared(Vae):
        independent_points = False

    assert set(measured(made(Declared)).method) == {"direct"}


def test_a9_a_prior_that_calls_encode_reads_the_whole_derivative():
    model = made(Vamp)
    table = measured(model)
    rows = own_draws(model, data(), 8, 400)
    # The plain loop sorts by the decoder's name; the learnt inputs are generative here.
    named = [n for n, p in model.named_parameters() for _ in range(p.numel()) if not n.startswith("decoder")]
    rows["generative"] = torch.cat([rows["generative"], rows["inference"][:, [n == "inputs" for n in named]]], dim=1)
    rows["inference"] = rows["inference"][:, [n != "inputs" for n in named]]
    agrees(table, rows)


def test_a10_a_k_that_cannot_be_read_loses_only_itself(caplog):
    model = made(Impossible)
    with caplog.at_level(logging.WARNING):
        table = measured(model, K=(1, 64), draws=200)
    assert set(table.K) == {64}
    assert "at K=1 is left out" in caplog.text
    assert "data point" in caplog.text
    assert "-inf" in caplog.text
    agrees(table, own_draws(model, data(), 64, 200))


def test_a10_an_elbo_of_minus_infinity_is_refused_and_other_estimators_are_kept():
    model = made(Impossible)
    with pytest.raises(NonFiniteError, match=r"vae.*-inf.*data point"):
        measured(model, estimators=["vae"])
    table = measured(model, K=(64,), draws=100, estimators=["vae", "iwae"])
    assert set(table.estimator) == {"iwae"}


class Tokens(nn.Module):
    """A plain module on token numbers."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(900, 6), nn.Linear(6, 2 * LATENT)
        self.decoder = nn.Linear(LATENT, 5)

    def encode(self, x):
        mean, log_scale = self.head(self.embedding(x).mean(1)).chunk(2, -1)
        return snrkit.DiagonalNormal(mean, (0.3 * log_scale).exp())

    def log_joint(self, x, z):
        logits = self.decoder(z).log_softmax(-1)
        target = (x % 5).expand(*z.shape[:-1], x.shape[-1])
        return snrkit.standard_normal_log_prob(z) + logits.gather(-1, target).sum(-1)


def tokens():
    return torch.randint(0, 900, (4, 7), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("convert", [torch.Tensor.long, torch.Tensor.int, lambda x: x.numpy()])
def test_a11_integers_stay_integers(convert):
    model = made(Tokens)
    table = measured(model, convert(tokens()), draws=FEW)
    assert table.value.equals(measured(model, tokens(), draws=FEW).value)


def test_a11_integers_read_as_in_a_plain_loop():
    model = made(Tokens)
    agrees(measured(model, tokens()), own_draws(model, tokens(), 8, 400))


def test_a11_in_bfloat16_too():
    seen = []

    class Watching(Tokens):
        def encode(self, x):
            seen.append(x)
            return super().encode(x)

    measured(made(Watching).bfloat16(), tokens(), draws=4, engine="loop")
    assert all(x.dtype == torch.int64 for x in seen)
    assert max(int(x.max()) for x in seen) == int(tokens().max())


class Labelled(Vae):
    """Data as a structure: an image, a label and a mask."""

    def __init__(self):
        super().__init__()
        self.labels = nn.Embedding(3, HIDDEN)
        self.encoder = nn.ModuleList([nn.Linear(PIXELS, HIDDEN), nn.Linear(HIDDEN, 2 * LATENT)])

    def encode(self, x):
        image, label, mask = self.parts(x)
        return self.proposed(self.encoder[1](torch.tanh(self.encoder[0](image * mask) + self.labels(label))))

    def log_joint(self, x, z):
        image, _, mask = self.parts(x)
        logits = self.decoder(z)
        fit = mask * (image * logits - nn.functional.softplus(logits))
        return snrkit.standard_normal_log_prob(z) + fit.sum(-1)

    def parts(self, x):
        return (x["image"], x["label"], x["mask"]) if isinstance(x, dict) else x


def structure():
    mask = torch.ones(4, PIXELS, dtype=torch.bool)
    mask[:, ::3] = False
    return {"image": data(), "label": torch.tensor([0, 2, 1, 0]), "mask": mask}


@pytest.mark.rest_slow
@pytest.mark.parametrize("engine", ["factors", "vmap", "loop"])
def test_data_may_be_a_structure(engine):
    model, x = made(Labelled), structure()
    table = measured(model, x, engine=engine, draws=FEW)
    same_readings(table, measured(model, x, engine="loop", draws=FEW))
    assert measured(model, tuple(x.values()), engine=engine, draws=FEW).value.equals(table.value)
    arrays = {name: part.numpy() for name, part in x.items()}
    assert measured(model, arrays, engine=engine, draws=FEW).value.equals(table.value)


def test_a_structure_reads_as_in_a_plain_loop():
    model, x = made(Labelled), structure()
    agrees(measured(model, x), own_draws(model, x, 8, 400))


def test_direct_draws_of_a_structure():
    model, x = made(Labelled), structure()
    agrees(measured(model, x, direct=True, M=(2,)), own_draws(model, x, 8, 400, M=2))


def test_a15_one_draw_of_weights_for_a_minibatch_is_one_data_point():
    class Regression(Vae):
        """Bayesian linear regression; x is one minibatch ``[1, N, D + 1]``."""

        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = nn.Identity(), nn.Linear(1, 1, bias=False)
            self.loc, self.log_scale = nn.Parameter(torch.zeros(1, 3)), nn.Parameter(torch.full((1, 3), -1.0))

        def encode(self, x):
            return snrkit.DiagonalNormal(self.loc, self.log_scale.exp())

        def log_joint(self, x, z):
            features, target = x[..., :3], x[..., 3]
            error = target - (features * z[..., None, :]).sum(-1)
            fit = -0.5 * error.square().sum(-1) * self.decoder.weight.square().squeeze()
            return snrkit.standard_normal_log_prob(z) + fit

    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))[None]
    model = made(Regression)
    agrees(measured(model, x, K=(1,), estimators=["vae"]), own_draws(model, x, 1, 400, estimator="vae"))


def test_structures_are_refused_in_sentences():
    model = made(Labelled)
    x = structure()
    for wrong, said in (
        (x | {"label": x["label"][:3]}, "first axes differ"),
        (x | {"label": None}, r"x\['label'\].*None"),
        ({}, "empty dict"),
        (x | {"image": x["image"].to(torch.complex64)}, "complex"),
        (x | {"image": x["image"] * math.nan}, "finite"),
        (x | {"label": "abc"}, "str"),
    ):
        with pytest.raises(SpecError, match=said):
            measured(model, wrong)


def test_loaders_sets_and_the_like_are_refused_in_sentences():
    points = torch.utils.data.TensorDataset(data())
    loader = torch.utils.data.DataLoader(points, batch_size=2)
    packed = nn.utils.rnn.pack_sequence([data()[0], data()[1]])
    model = made(Vae)
    for wrong, said in (
        (loader, r"DataLoader.*next\(iter\(x\)\)"),
        (iter(loader), "one batch"),
        (points, "collate"),
        (packed, "PackedSequence"),
        (None, "None"),
        ("image", "str"),
        (torch.nested.nested_tensor([data()[0], data()[1]], layout=torch.jagged), "nested"),
        (data().to("meta"), "meta"),
        (np.array(["a", "b"]), "cannot be read as numbers"),
        (3.0, "axis of data points"),
        (data()[:0], "at least one data point"),
    ):
        with pytest.raises(SpecError, match=said):
            snrkit.measure(model, wrong, "iwae", K=4, draws=8)


@pytest.mark.slow
def test_arrays_and_tensors_of_any_make_are_taken():
    model = made(Vae)
    reference = measured(model, draws=8)
    array = data().numpy()
    readonly = array.copy()
    readonly.flags.writeable = False
    with torch.inference_mode():
        inference = data()
    for x in (
        array, readonly, array[::-1][::-1], array[:, ::-1][:, ::-1], array.astype(">f4"), array.astype("f2"), array.tolist(),
        data().double(), data().requires_grad_(), data().to_sparse(), inference, np.asfortranarray(array),
    ):  # fmt: skip
        assert measured(model, x, draws=8).value.equals(reference.value)
