"""DRAW: its windows against closed forms, its densities against torch.distributions, its gradients in every engine."""

import math

import pytest
import torch
from torch import distributions

from snrkit.core.logweights import Parts
from snrkit.core.streams import Streams
from snrkit.diagnostics.engines import ENGINES
from snrkit.diagnostics.engines.base import PassSize
from snrkit.diagnostics.engines.vmap import VmapEngine
from snrkit.diagnostics.measure import measure
from snrkit.diagnostics.problem import Problem
from snrkit.errors import CapabilityError, SpecError
from snrkit.estimators.base import build_estimator
from snrkit.models.attentive import Attentive, AttentiveOptions
from snrkit.models.base import build_model
from snrkit.models.densities import bernoulli_log_prob, standard_normal_log_prob
from snrkit.models.summary import DataSummary
from snrkit.models.windows import Window
from snrkit.specs.run import ModelSpec, RunSpec
from snrkit.training import ahead, ensemble
from snrkit.training.alone import looks_ahead
from snrkit.trial.needs import needs_by_name, unmet
from snrkit.trial.opening import opened
from tests.support.training import learns, trainer
from tests.zoo import B, K, M, images, numbers

SHAPE = (3, 4)
PIXELS = 12


def small(seed=0, shape=SHAPE, **options):
    """Three steps of two latents, with weights that matter; sizes differ pairwise."""
    chosen = AttentiveOptions(**({"steps": 3, "hidden": 5, "latent": 2, "read": 2, "write": 2} | options))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Attentive(shape, chosen).double()
        for parameter in model.parameters():
            parameter.data.mul_(2).add_(0.1 * torch.randn_like(parameter))
    return model


ways = pytest.mark.parametrize("options", [{}, {"read": 0, "write": 0}], ids=["attention", "plain"])


def count(model, network):
    named = dict(model.named_parameters())
    x = torch.zeros(2, model.pixels)
    return sum(named[name].numel() for name, of in model.networks(x).items() if of == network)


@pytest.mark.parametrize(
    ("shape", "options", "inference", "generative"),
    [
        ((28, 28), {"steps": 2, "latent": 100, "read": 2}, 586_189, 374_062),
        ((8, 8), {"steps": 2, "hidden": 48, "latent": 6, "read": 3, "write": 3}, 22_913, 11_310),
    ],
)
def test_parameter_counts(shape, options, inference, generative):
    """They do not depend on the number of steps."""
    model = Attentive(shape, AttentiveOptions(**options))
    assert (count(model, "inference"), count(model, "generative")) == (inference, generative)


def test_parameter_counts_of_other_sizes():
    def total(**options):
        return sum(parameter.numel() for parameter in Attentive((28, 28), AttentiveOptions(**options)).parameters())

    assert total(steps=64, latent=100, read=0, write=0) == 2_750_184
    assert total() == 864_839


def test_it_needs_images_of_a_known_shape():
    mean = torch.full((PIXELS,), 0.5, dtype=torch.float64)
    with pytest.raises(SpecError, match="height and width"):
        build_model(ModelSpec(name="draw"), DataSummary(mean, real=False), 0)
    with pytest.raises(SpecError, match="real-valued"):
        build_model(ModelSpec(name="draw"), DataSummary(mean, real=True, image_shape=SHAPE), 0)
    with pytest.raises(SpecError, match=r"draw\.steps"):
        build_model(ModelSpec(name="draw", options={"steps": 0}), DataSummary(mean, real=False, image_shape=SHAPE), 0)


def test_a_window_as_large_as_the_image_is_the_identity():
    image, narrow = numbers(1, B, 64), torch.tensor([0, 0, math.log(1e-3), 0, 0.7], dtype=torch.float64)
    window = Window.of(narrow, 8, (8, 8))
    eye = torch.eye(8, dtype=torch.float64)
    torch.testing.assert_close(window.rows, eye)
    torch.testing.assert_close(window.columns, eye)
    torch.testing.assert_close(window.read(image), math.exp(0.7) * image)
    torch.testing.assert_close(window.write(window.read(image)), image)


def test_a_window_is_where_it_is_said_to_be():
    """Of an image of 5 x 9 the middle of the right half, and a stride of half of (9 - 1) / (3 - 1)."""
    parameters = torch.tensor([0.5, 0, math.log(0.01), math.log(0.5), 0], dtype=torch.float64)
    window = Window.of(parameters, 3, (5, 9))
    assert (window.rows.shape, window.columns.shape) == ((3, 5), (3, 9))
    left, top, stride = (float(value) for value in vars(window.place).values())
    assert (left, top, stride) == (pytest.approx(7.5), pytest.approx(3.0), pytest.approx(2.0))
    pixels = torch.arange(1, 10, dtype=torch.float64)
    torch.testing.assert_close(window.rows @ pixels[:5], torch.tensor([1.0, 3, 5], dtype=torch.float64))
    torch.testing.assert_close((window.columns @ pixels)[:2], torch.tensor([5.5, 7.5], dtype=torch.float64))
    delta = torch.zeros(5, 9, dtype=torch.float64)
    delta[2, 4:6] = 1  # between pixels 5 and 6 of the third row
    seen = window.read(delta.flatten()).view(3, 3)
    assert seen[1, 0] > 0.9
    assert seen.sum() - seen[1, 0] < 1e-6


def test_filters_sum_to_one_wherever_they_are():
    """Far outside the image, too narrow and too wide to be computed naively; values and derivatives are finite."""
    parameters = torch.tensor(
        [[50.0, -50, -3, 1, 0], [3e3, 0, -300, 0, 0], [0, 0, 300, 0, 0], [0, 0, -300, 0, 0]], requires_grad=True
    )
    window = Window.of(parameters, 3, (7, 8))
    for filters in (window.rows, window.columns):
        torch.testing.assert_close(filters.sum(-1), torch.ones(4, 3))
    assert (window.columns[1].argmax(-1) == 7).all()  # it holds to the border
    seen = window.read(numbers(1, 4, 56, dtype=torch.float32)).square().sum()
    (gradient,) = torch.autograd.grad(seen, parameters)
    assert gradient.isfinite().all()


def test_a_single_filter_has_no_stride():
    wide = torch.tensor([0.2, 0, 0, 3.0, 0], dtype=torch.float64)
    window = Window.of(wide, 1, (5, 6))
    assert window.columns.shape == (1, 6)
    torch.testing.assert_close(window.columns, Window.of(wide * torch.tensor([1, 1, 1, 0, 1]), 1, (5, 6)).columns)
    assert float(window.place.stride) == 0
    assert window.columns.isfinite().all()


@ways
def test_the_recurrence_written_out(options):
    """Step by step, with LSTM cells of torch and torch.distributions."""
    model, x, noise = small(**options), images(pixels=PIXELS), numbers(2, B, M, K, 6)
    cells = {}
    for name in ("encoder", "decoder"):
        own = getattr(model, name)
        cells[name] = torch.nn.LSTMCell(own.input.in_features, 5).double()
        cells[name].load_state_dict(
            {
                "weight_ih": own.input.weight, "bias_ih": own.input.bias, "weight_hh": own.state.weight,
                "bias_hh": torch.zeros(20),
            }
        )  # fmt: skip

    def seen(image, h):
        if not model.options.read:
            return image
        window = Window.of(model.read_window(h), 2, SHAPE)
        return (
            torch.einsum("nih,nhw,njw->nij", window.rows, image.view(-1, *SHAPE), window.columns)
            .mul(window.intensity)
            .flatten(1)
        )

    rows = B * M * K
    image = x[:, None, None].expand(B, M, K, PIXELS).reshape(rows, PIXELS)
    enc, dec = ((torch.zeros(rows, 5, dtype=x.dtype),) * 2 for _ in range(2))
    canvas, log_q, z, kl, prior = model.canvas.expand(rows, -1), 0, [], 0, distributions.Normal(x.new_zeros(()), 1)
    for e in noise.view(rows, 3, 2).unbind(1):
        error = image - torch.sigmoid(canvas)
        enc = cells["encoder"](torch.cat([seen(image, dec[0]), seen(error, dec[0]), dec[0]], 1), enc)
        loc, log_scale = model.posterior(enc[0]).split(2, 1)
        q = distributions.Normal(loc, log_scale.exp())
        z.append(loc + log_scale.exp() * e)
        log_q = log_q + q.log_prob(z[-1]).sum(1)
        kl = kl + distributions.kl_divergence(q, prior).sum(1)
        dec = cells["decoder"](z[-1], dec)
        added = model.write(dec[0])
        if model.options.write:
            window = Window.of(model.write_window(dec[0]), 2, SHAPE)
            added = (window.rows.mT @ added.view(-1, 2, 2) @ window.columns / window.intensity).flatten(1)
        canvas = canvas + added
    log_p = prior.log_prob(torch.cat(z, 1)).sum(1) + bernoulli_log_prob(image, canvas)
    found = model(x, noise, parts=Parts(path=True, kl=True, prior=True))
    for part, value in (("log_q", log_q), ("log_q_path", log_q), ("log_p", log_p), ("kl", kl)):
        torch.testing.assert_close(getattr(found, part).flatten(), value)
    torch.testing.assert_close(model.encode(x).log_prob(torch.cat(z, 1).view(B, M, K, 6)).flatten(), log_q)
    torch.testing.assert_close(model.pixel_means(torch.cat(z, 1)), torch.sigmoid(canvas))
    assert len(model.states(torch.cat(z, 1))) == 4


@ways
def test_the_divergence_is_that_of_the_samples(options):
    """E[log q - log p(z)] = E[sum of KL of the steps] and E[p(z) / q(z)] = 1, in standard errors over 10,000 samples."""
    model, x, samples = small(**options), images(pixels=PIXELS)[:1], 10_000
    with torch.no_grad():
        steps = model.encode(x).unroll(numbers(3, 1, 1, samples, 6), drawn=True)
        single, exact = steps.log_q - model.log_prior(steps.z), steps.kl.sum(-1)
    gap = single - exact
    assert abs(float(gap.mean())) < 4.5 * float(gap.std()) / math.sqrt(samples)
    assert float(exact.mean()) > 20 * float(gap.std()) / math.sqrt(samples)  # there is a divergence to miss
    assert exact.std() < 0.9 * single.std()
    ratio = (-single).exp()
    assert abs(float(ratio.mean()) - 1) < 4.5 * float(ratio.std()) / math.sqrt(samples)


def test_one_step_without_attention_is_a_plain_vae():
    """From an empty state: a proposal of x and of what the first canvas lacks, and a decoder of one z."""
    model = small(steps=1, read=0, write=0)
    x, noise = images(pixels=PIXELS), numbers(4, B, M, K, 2)
    unseen = torch.cat([x, x - torch.sigmoid(model.canvas), x.new_zeros(B, 5)], 1)
    i, _, g, o = model.encoder.input(unseen).chunk(4, 1)
    hidden = torch.sigmoid(o) * torch.tanh(torch.sigmoid(i) * torch.tanh(g))
    loc, log_scale = (part[:, None, None] for part in model.posterior(hidden).chunk(2, 1))
    z = loc + log_scale.exp() * noise
    i, _, g, o = model.decoder.input(z).chunk(4, -1)
    logits = model.canvas + model.write(torch.sigmoid(o) * torch.tanh(torch.sigmoid(i) * torch.tanh(g)))
    q = distributions.Normal(loc, log_scale.exp())
    log_w = standard_normal_log_prob(z) + bernoulli_log_prob(x[:, None, None], logits) - q.log_prob(z).sum(-1)
    torch.testing.assert_close(model(x, noise).log_w, log_w)


def test_the_generative_gradient_has_its_route_through_the_proposal():
    """Against central differences of the bound at the same noise."""
    model, x, noise = small(), images(pixels=PIXELS), numbers(5, B, M, K, 6)
    weight = model.decoder.input.weight

    def bound():
        return build_estimator("iwae", {}).bound(model(x, noise).log_w).mean()

    (gradient,) = torch.autograd.grad(bound(), weight)
    with torch.no_grad():
        values = []
        for move in (1e-5, -1e-5):
            weight[1, 1] += move
            values.append(bound().item())
            weight[1, 1] -= move
        weights = model(x, noise)
    assert (values[0] - values[1]) / 2e-5 == pytest.approx(gradient[1, 1].item(), rel=1e-6)
    held = (
        (model.log_joint(x[:, None, None], model.encode(x).sample(noise).detach()) - weights.log_q).logsumexp(-1).mean()
    )
    (alone,) = torch.autograd.grad(held, weight)
    assert (alone - gradient).norm() > 0.05 * gradient.norm()  # the route is of consequence


@pytest.mark.slow
@ways
def test_engines_agree_draw_by_draw(options):
    problem = Problem.units(small(**options), images(pixels=PIXELS), K, Streams(3))
    for name in ("dreg", "vae-analytic"):
        estimator = build_estimator(name, {})
        loop, *others = (
            ENGINES.load(engine)().moments(problem, estimator, range(2), range(13), PassSize(units=6, samples=10**6))
            for engine in ("loop", "vmap", "factors")
        )
        for found in others:
            for kind in ("mean", "m2"):
                for one, other in zip(getattr(found, kind), getattr(loop, kind), strict=True):
                    assert (one - other).norm() <= 1e-10 * other.norm()
                    assert other.norm() > 0


@pytest.mark.slow
@ways
def test_dreg_has_the_mean_of_iwae_in_the_encoder(options):
    """Of 20,000 paired draws, though the decoder's parameters move the proposal too; stl has another mean."""
    model, x, draws = small(**options), images(pixels=PIXELS)[:1], 20_000
    problem = Problem.units(model, x, 3, Streams(3))
    found = {}
    for name in ("iwae", "dreg", "stl"):
        parts = VmapEngine().gradients(
            problem, build_estimator(name, {}), range(1), range(draws), PassSize(1000, 10**6)
        )
        found[name] = torch.cat([torch.cat([tensor[:, 0].flatten(1) for tensor in part], 1) for part in parts])

    def furthest(name):
        gap = (found[name] - found["iwae"])[:, problem.layout.blocks["inference"]]
        spread = gap.std(0)
        return float((gap.mean(0) / (spread / math.sqrt(draws)))[spread > 1e-12].abs().max())

    assert furthest("dreg") < 4.5
    assert furthest("stl") > 10


def test_what_is_refused_and_what_works():
    model, x = small(), images(pixels=PIXELS)
    with pytest.raises(CapabilityError, match=r"no parameter is in both networks.*choose .*iwae.*dreg"):
        measure(model, x, ["vimco"], K=[2], draws=4)
    with opened(model, x, "evaluation") as subject:
        found = subject.findings
    works = {name for name, needs in needs_by_name().items() if not unmet(needs, found)}
    assert {"vae", "vae-analytic", "iwae", "miwae", "ciwae", "piwae", "dreg", "stl"} <= works
    assert not works & {"rws", "wake-sleep", "vimco", "ovis-mc", "ovis-tilde", "tvo"}
    assert found.shared_inference == ()


@pytest.mark.slow
def test_no_graph_is_captured_of_what_takes_steps(tmp_path, monkeypatch):
    """Beside one another two runs go through the plain step; those of another model through what ``CapturedStep`` makes."""
    monkeypatch.setattr(ahead, "CapturedStep", lambda step, state: None)
    options = {"steps": 2, "hidden": 4, "latent": 2, "read": 0, "write": 0}
    for name, own in (("draw", options), ("mlp", {"hidden": [4], "latent": 2})):
        table = {"data": {"name": "digits", "train_limit": 8}, "model": {"name": name, "options": own}}
        members = [
            trainer(RunSpec.parse(table | {"seed": seed}, "test"), tmp_path / f"{name}{seed}") for seed in (0, 1)
        ]
        crew = ensemble.Ensemble(members, tmp_path / "marker", way="captured")
        assert (crew._ahead is None) == (name == "draw")
        assert looks_ahead(members[0].state, members[0].feed, members[0].estimator) == (name == "mlp")


@pytest.mark.slow
@pytest.mark.parametrize("window", [0, 3])
def test_it_learns_digits_and_resumes_to_the_bit(tmp_path, window):
    options = {"steps": 2, "hidden": 16, "latent": 3, "read": window, "write": window}
    learns({"name": "draw", "options": options}, 3, 10, tmp_path)
