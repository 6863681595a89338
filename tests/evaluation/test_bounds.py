"""Evaluation against the Gaussian toy's exact marginal, and against plain formulas."""

import math
import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn

import snrkit.evaluation.bounds as module
import snrkit.evaluation.passes
from snrkit.core.logweights import effective_sample_size
from snrkit.core.streams import Streams
from snrkit.errors import ModelError, NonFiniteError, ResourceError, SpecError
from snrkit.evaluation.bounds import evaluate, point_scores, sample_log_weights
from snrkit.evaluation.passes import Noise, Pass, pass_within, rows_within
from snrkit.models.gaussian import Gaussian
from tests.zoo import images, mlp, toy

N, SAMPLES = 6, 64 * 21


@pytest.fixture
def near():
    """A toy close to its optimum, q nearly as good as it can be, and 6 points."""
    return toy(points=N, perturb=0.05)


def test_bounds_bracket_the_exact_marginal(near):
    model, x = near
    exact = model.log_marginal(x).detach().numpy()
    runs = [point_scores(model, x, SAMPLES, Streams(seed)) for seed in range(25)]
    iwae, log_p, elbo = (np.array([getattr(run, name) for run in runs]) for name in ("iwae_64", "log_p", "elbo"))

    def mean_and_error(values):
        return values.mean(0), values.std(0, ddof=1) / math.sqrt(len(runs))

    for lower, upper in ((elbo, iwae), (iwae, log_p), (log_p, np.tile(exact, (25, 1)))):
        gap, error = mean_and_error(upper - lower)
        assert (gap > -4 * error).all()
    # The first two are gaps one can see; the last has all but closed.
    assert (mean_and_error(iwae - elbo)[0] > 0.05).all()
    value, error = mean_and_error(log_p)
    assert (error < 0.01).all()
    # The bias of the 1344-sample bound is about -Var(w)/(2 K p^2).
    assert (np.abs(value - exact) < 4 * error + 2e-3).all()


def test_five_thousand_samples_are_close_at_every_point(near):
    model, x = near
    scores = point_scores(model, x, 5000, Streams(1))
    # sd of log_p is sd(w/p)/sqrt(K) = sqrt((K/ESS - 1)/K).
    error = np.sqrt((5000 / scores.ess - 1) / 5000)
    assert (np.abs(scores.log_p - model.log_marginal(x).detach().numpy()) < 4 * error).all()


def test_against_plain_formulas(near):
    model, x = near
    scores = point_scores(model, x, 150, Streams(3))
    for point in range(N):
        noise = Streams(3).normal("evaluate", (point,), (1, 1, 150, 4), dtype=torch.float64, device=x.device)
        w = np.exp(model(x[point : point + 1], noise).log_w.detach().numpy().ravel())
        groups = w[:128].reshape(2, 64)
        assert scores.elbo[point] == pytest.approx(np.log(w).mean(), rel=1e-12)
        assert scores.log_p[point] == pytest.approx(np.log(w.mean()), rel=1e-12)
        assert scores.iwae_64[point] == pytest.approx(np.log(groups.mean(1)).mean(), rel=1e-12)
        assert scores.ess[point] == pytest.approx(w.sum() ** 2 / (w**2).sum(), rel=1e-12)
        assert scores.ess_64[point] == pytest.approx((groups.sum(1) ** 2 / (groups**2).sum(1)).mean(), rel=1e-12)


@pytest.mark.parametrize("rows", [1, 7, 64, 100_000])
@pytest.mark.parametrize("make", [lambda: toy(points=N), lambda: (mlp(), images(points=N))], ids=["toy", "mlp"])
def test_streaming_changes_nothing(monkeypatch, make, rows):
    model, x = make()
    reference = sample_log_weights(model, x, 150, Streams(0))[2]
    monkeypatch.setattr(snrkit.evaluation.passes, "_ROWS", rows)
    streamed = sample_log_weights(model, x, 150, Streams(0))[2]
    assert streamed.shape == (150,)
    torch.testing.assert_close(streamed, reference, rtol=0, atol=1e-10)


def test_a_points_score_does_not_depend_on_the_others(near):
    model, x = near
    whole, part = point_scores(model, x, 64, Streams(0)), point_scores(model, x[:3], 64, Streams(0))
    assert np.array_equal(whole.log_p[:3], part.log_p)


def test_scores_are_means_with_standard_errors_over_points(near):
    model, x = near
    points = point_scores(model, x, SAMPLES, Streams(0))
    found = {score.metric: score for score in evaluate(model, x, SAMPLES, Streams(0))}
    assert list(found) == ["iwae_64", "log_p", "kl_q_p", "elbo", "ess_64", "ess", "active_units"]
    for name, values in (("log_p", points.log_p), ("kl_q_p", points.log_p - points.iwae_64), ("ess", points.ess)):
        assert found[name].value == pytest.approx(values.mean(), rel=1e-12)
        assert found[name].stderr == pytest.approx(values.std(ddof=1) / math.sqrt(N), rel=1e-12)
    assert str(SAMPLES) in found["log_p"].definition
    assert "21 groups" in found["iwae_64"].definition


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("perturb", [0, 0.6])
def test_kl_is_never_negative_at_any_point(seed, perturb):
    model, x = toy(seed=seed, points=N, perturb=perturb)
    points = point_scores(model, x, 64 * 5, Streams(seed))
    assert (points.log_p - points.iwae_64 >= -1e-12).all()
    assert (points.ess_64 >= 1).all()
    assert (points.ess_64 <= 64 + 1e-9).all()


def test_with_64_samples_both_bounds_are_one():
    model, x = toy(points=N)
    points = point_scores(model, x, 64, Streams(0))
    np.testing.assert_allclose(points.log_p, points.iwae_64, rtol=1e-14)


def test_modes_are_left_as_they_were():
    model = mlp()
    model.train()
    model.decoder.eval()
    evaluate(model, images(points=2), 128, Streams(0))
    assert (model.training, model.encoder.training, model.decoder.training) == (True, True, False)
    model.decoder = nn.Sequential(nn.Linear(4, 8))  # no longer fits 9 pixels
    with pytest.raises(ModelError):
        evaluate(model, images(points=2), 128, Streams(0))
    assert model.encoder.training


def test_evaluation_happens_in_evaluation_mode():
    model = mlp()
    model.encoder.insert(0, nn.Dropout(0.5))
    first, again = (point_scores(model, images(points=3), 64, Streams(0)).elbo for _ in range(2))
    assert np.array_equal(first, again)
    assert model.encoder[0].training


@pytest.mark.parametrize(("samples", "points", "argument"), [(127, 5, "samples"), (128, 1, "points")])
def test_too_few(samples, points, argument):
    model, x = toy(points=points)
    with pytest.raises(SpecError) as caught:
        evaluate(model, x, samples, Streams(0))
    assert caught.value.argument == argument


def test_points_of_the_wrong_size():
    with pytest.raises(ModelError, match=r"encode fails on x float64\[2, 16\]"):
        evaluate(mlp(), images(points=3, pixels=16), 128, Streams(0))


def test_parameters_that_are_nan():
    model, x = toy(points=3)
    with torch.no_grad():
        model.mu.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="log_joint: is NaN or infinite at data point 0"):
        evaluate(model, x, 128, Streams(0))


class Holes(Gaussian):
    """The toy, with no density where the first latent is below a level that the data point's first number sets."""

    def log_joint(self, x, z):
        return torch.where(z[..., 0] < x[..., 0], -torch.inf, super().log_joint(x, z))


def holes(levels):
    model, x = toy(points=len(levels))
    model.__class__ = Holes
    x[:, 0] = torch.tensor(levels, dtype=x.dtype)
    return model, x


def test_weights_of_zero_leave_the_bounds_that_are_finite():
    model, x = holes([-9.0, -1.0, -9.0])
    found = {score.metric: score for score in evaluate(model, x, SAMPLES, Streams(0))}
    log_w, zero = [], 0
    for point in range(3):
        noise = Streams(0).normal("evaluate", (point,), (1, 1, SAMPLES, 4), dtype=torch.float64, device=x.device)
        log_w.append(model(x[point : point + 1], noise).log_w.detach().numpy().ravel())
        zero += sum(value == -math.inf for value in log_w[-1])
    assert 0 < zero < SAMPLES
    assert (found["elbo"].value, found["elbo"].sd) == (-math.inf, None)
    assert "-infinite" in found["elbo"].definition
    assert found["log_p"].value == pytest.approx(np.mean([np.log(np.exp(w).mean()) for w in log_w]), rel=1e-12)
    groups = [np.exp(w).reshape(-1, 64) for w in log_w]
    assert found["iwae_64"].value == pytest.approx(np.mean([np.log(g.mean(1)) for g in groups]), rel=1e-12)
    ess = np.mean([g.sum(1) ** 2 / (g**2).sum(1) for g in groups])
    assert found["ess_64"].value == pytest.approx(ess, rel=1e-12)
    assert found["zero_weights"].value == pytest.approx(zero / SAMPLES / 3)
    assert f"{zero:,} in all, at 1 test point (1)" in found["zero_weights"].definition


def test_groups_without_weight_have_no_effective_sample():
    log_w = torch.full((192,), -torch.inf, dtype=torch.float64)
    log_w[:64] = 0.0
    elbo, iwae_64, log_p, ess_64, ess, zero = module._summaries(log_w[None])[0].tolist()
    assert (elbo, iwae_64, zero) == (-math.inf, -math.inf, 128)
    assert log_p == pytest.approx(math.log(64 / 192))
    assert (ess_64, ess) == (pytest.approx(64 / 3), pytest.approx(64))


def test_a_point_without_any_weight_is_named():
    model, x = holes([-9.0, 50.0, -9.0, 50.0])
    with pytest.raises(NonFiniteError, match=r"every importance weight is zero .* at 2 test points \(1, 3\)"):
        evaluate(model, x, 128, Streams(0))


def test_noise_is_never_made_for_all_samples(monkeypatch, near):
    model, x = near
    largest = []
    forward = type(model).forward
    monkeypatch.setattr(type(model), "forward", lambda *args: (largest.append(args[2].numel()), forward(*args))[1])
    tracemalloc.start()
    point_scores(model, x[:2], 300_000, Streams(0))
    peak = tracemalloc.get_traced_memory()[1]  # numpy's, which makes the noise
    tracemalloc.stop()
    assert max(largest) == 2048 * 4
    assert peak < 300_000 * 4  # all at once would be 4 float32 numbers a sample


def test_large_numbers_of_groups_are_averaged_alike(monkeypatch):
    log_w = torch.randn(64 * 1000 + 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = module._summaries(log_w.clone()[None])
    monkeypatch.setattr(module, "_GROUPS", 13)
    assert torch.equal(module._summaries(log_w.clone()[None]), whole)
    assert whole[0, 4] == effective_sample_size(log_w)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: not enough memory"),
        torch.OutOfMemoryError("CUDA out of memory."),
    ],
)
def test_a_pass_without_memory_is_halved(monkeypatch, near, error):
    model, x = near
    whole = point_scores(model, x, 5000, Streams(0))
    forward = type(model).forward

    def short(self, x, noise, path=False):
        if noise.shape[2] > 500:
            raise error
        return forward(self, x, noise, path)

    monkeypatch.setattr(type(model), "forward", short)
    halved = point_scores(model, x, 5000, Streams(0))
    np.testing.assert_allclose(halved.log_p, whole.log_p, rtol=1e-12)
    monkeypatch.setattr(type(model), "forward", lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises(ResourceError, match="memory ran out with 5,000 samples per point; ask for fewer"):
        point_scores(model, x, 5000, Streams(0))


@pytest.mark.parametrize("samples", [10**13, 10**30])
def test_more_samples_than_memory_are_refused_before_any_work(samples):
    model, x = toy(points=2)
    for ask in (evaluate, sample_log_weights):
        with pytest.raises(ResourceError, match=r"samples: .* samples per point need .*TB of memory, and .* are free"):
            ask(model, x, samples, Streams(0))


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError, MemoryError])
def test_modes_are_put_back_whatever_happens(stop):
    model = mlp().train()

    def update(*_):
        raise stop

    with pytest.raises((stop, ResourceError)):
        evaluate(model, images(points=3), 128, Streams(0), update)
    assert all(module.training for module in model.modules())


def test_passes_of_several_points_are_halved_too(monkeypatch, near):
    model, x = near
    many = Pass(4 * 640, many=True)
    whole = point_scores(model, x, 640, Streams(0), at_once=many)
    forward, seen = type(model).forward, []

    def short(self, x, noise, path=False):
        if noise.shape[:3].numel() > 300:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        seen.append(tuple(noise.shape[:3]))
        return forward(self, x, noise, path)

    monkeypatch.setattr(type(model), "forward", short)
    halved = point_scores(model, x, 640, Streams(0), at_once=many)
    assert set(seen) == {(1, 1, 160)}
    np.testing.assert_allclose(halved.log_p, whole.log_p, rtol=1e-12)


class OnePointOnly(Gaussian):
    """The toy for one data point, as a user may write it."""

    def log_joint(self, x, z):
        return super().log_joint(x.reshape(-1), z) if x.shape[0] == 1 else super().log_joint(x[:1], z)


class Refuses(Gaussian):
    """The toy, which fails on two data points."""

    def log_joint(self, x, z):
        return super().log_joint(x.reshape(self.latent), z)


@pytest.mark.parametrize("kind", [OnePointOnly, Refuses])
def test_a_model_that_takes_one_point_only_gets_one(near, kind):
    model, x = near
    assert pass_within(model, x, 2**30) == Pass(2**17, many=True)
    model.__class__ = kind
    at_once = pass_within(model, x, 2**30)
    assert not at_once.many
    assert [list(part) for part in at_once.parts(3, 64)] == [[0], [1], [2]]
    found = point_scores(model, x, 150, Streams(3), at_once=at_once)
    model.__class__ = Gaussian
    np.testing.assert_allclose(found.log_p, point_scores(model, x, 150, Streams(3)).log_p, rtol=1e-12)


def test_a_pass_takes_a_quarter_of_the_free_memory_and_no_more_than_helps():
    assert rows_within(free=8000, each=100) == 20
    assert rows_within(free=10, each=100) == 1
    assert rows_within(free=2**40, each=100) == 2**17
    at_once = Pass(10_000, many=True)
    assert [(part.start, part.stop) for part in at_once.parts(5, 5000)] == [(0, 2), (2, 4), (4, 5)]
    assert at_once.points(20_000) == 1
    assert Pass(10_000).points(10) == 1


def test_log_weights_of_several_points_at_once(near):
    model, x = near
    one, many = (sample_log_weights(model, x, 70, Streams(0), at_once) for at_once in (None, Pass(300, many=True)))
    assert one.shape == (N, 70)
    torch.testing.assert_close(many, one, rtol=1e-12, atol=1e-12)


def test_progress_is_told_after_every_pass(near):
    model, x = near
    told = []
    point_scores(model, x, 64, Streams(0), lambda *each: told.append(each), Pass(4 * 64, many=True))
    assert told == [(4, N, "points"), (6, N, "points")]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_noise_drawn_by_several_threads_is_each_points_own(monkeypatch, near, threads):
    _, x = near
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    noise = Noise(Streams(5), 40, (4,), x)
    for point in range(N):
        expected = Streams(5).normal("evaluate", (point,), (40, 4), dtype=x.dtype, device=x.device)
        portions = list(noise.portions(point, 13, N))
        assert [len(portion) for portion in portions] == [13, 13, 13, 1]
        assert torch.equal(torch.cat(portions), expected)
    again = noise.portions(2, 40, N)
    assert torch.equal(next(again), Streams(5).normal("evaluate", (2,), (40, 4), dtype=x.dtype, device=x.device))


def test_the_proposal_of_a_streamed_point_is_computed_once_and_hooks_are_heard(monkeypatch):
    model, x = mlp(), images(points=2)
    monkeypatch.setattr(snrkit.evaluation.passes, "_ROWS", 50)
    encoded, heard = [], []
    encode = type(model).encode
    monkeypatch.setattr(type(model), "encode", lambda self, x: (encoded.append(len(x)), encode(self, x))[1])
    plain = sample_log_weights(model, x, 500, Streams(0))
    assert len(encoded) == 1 + 2  # the shape of the noise is asked for first
    model.register_forward_hook(lambda *_: heard.append(1))
    assert torch.equal(sample_log_weights(model, x, 500, Streams(0)), plain)
    assert len(heard) == 2 * 10
