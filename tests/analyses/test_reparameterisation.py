"""The estimator-variance analysis: the formula on a case known exactly, the floor, and that all four agree in the mean."""

import math

import pytest
import torch

from analyses.reparameterisation import classifier, gradients, run
from snrkit.diagnostics.measure import measure
from tests.support.gradients import value_of
from tests.zoo import numbers

pytestmark = pytest.mark.slow

N, FEATURES, HIDDEN = 6, 3, 2


@pytest.fixture(scope="module")
def own():
    """Everything that the analysis's modules define."""
    return {**vars(classifier), **vars(gradients), **vars(run)}


@pytest.fixture
def layers(own):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return own["Layers"](FEATURES, HIDDEN, 1.0).double()


@pytest.fixture
def data():
    features = numbers(1, N, FEATURES)
    return torch.cat([(numbers(2, N, 1) > 0).double(), features], dim=1)


def draws(own, model, estimator, M, count):
    """Minibatch gradients ``[count, P]``, by plain vmap of grad."""
    x = torch.zeros(M, 1, dtype=torch.float64)
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def one(values, noise):
        weights = torch.func.functional_call(model, values, (x, noise, estimator.needs.path))
        return value_of(estimator, weights, "generative")

    noise = numbers(3 + M, count, M, 1, 1, *model.noise_shape(x))
    found = torch.func.vmap(torch.func.grad(one), (None, 0))(parameters, noise)
    return torch.cat([gradient.flatten(1) for gradient in found.values()], dim=1)


def trace(gradients):
    """(trace of the covariance, its standard error)."""
    squares = (gradients - gradients.mean(0)).square().sum(1)
    return float(squares.mean()), float(squares.std()) / math.sqrt(len(squares))


@pytest.mark.parametrize("name", ["Pathwise", "Score"])
def test_the_formula_in_float64(own, layers, data, name):
    """Var and Cov from pairs written out point by point; the variance of a minibatch of 7 follows, shared or not."""
    estimator, count, M = own[name](), 30_000, 7
    for kind in (own["SharedWeights"], own["OwnWeights"]):
        model = own["RandomMinibatch"](kind(layers), data)
        single, pairs, batch = (trace(draws(own, model, estimator, size, count)) for size in (1, 2, M))
        cov = 2 * pairs[0] - single[0]
        predicted = single[0] / M + (M - 1) / M * cov
        error = math.hypot(batch[1], (1 / M - (M - 1) / M) * single[1], 2 * (M - 1) / M * pairs[1])
        assert abs(batch[0] - predicted) < 4 * error
        cov_error = math.hypot(2 * pairs[1], single[1])
        if kind is own["SharedWeights"]:
            assert cov > 6 * cov_error
        else:
            assert abs(cov) < 4 * cov_error


def test_floor_with_shared_noise_and_none_with_own(own, layers, data):
    """At M = 200: shared noise leaves Cov, measured on all points; own noise leaves Var/M."""
    estimator = own["Pathwise"]()
    shared, local = own["SharedWeights"](layers), own["OwnWeights"](layers)
    floor = own["variances"](shared, data, estimator, 4000, 5, "")
    for model, limit in ((shared, floor["all"]), (local, (0.0, 0.0))):
        random = own["RandomMinibatch"](model, data)
        single = own["variances"](random, torch.zeros(1, 1), estimator, 4000, 6)["all"]
        large = own["variances"](random, torch.zeros(200, 1), estimator, 2000, 7)["all"]
        expected = single[0] / 200 + limit[0] * 199 / 200
        assert abs(large[0] - expected) < 4 * math.hypot(large[1], single[1] / 200, limit[1])
    assert floor["all"][0] > 10 * single[0] / 200


def test_all_four_have_the_same_mean(own, layers, data):
    found = [
        draws(own, own["RandomMinibatch"](kind(layers), data), estimator, 2, 40_000)
        for kind in (own["SharedWeights"], own["OwnWeights"])
        for estimator in (own["Pathwise"](), own["Score"]())
    ]
    for other in found[1:]:
        error = ((found[0].var(0) + other.var(0)) / len(other)).sqrt()
        assert ((found[0].mean(0) - other.mean(0)).abs() < 4.5 * error).all()


def test_minibatches_are_drawn_with_replacement(own, layers, data):
    """Every point is picked as often as the others, and pairs of picks are independent."""
    picked = []
    model = own["RandomMinibatch"](own["OwnWeights"](layers), data)
    model.model.forward = lambda x, noise, path: picked.append(x)
    x = torch.zeros(2, 1, dtype=torch.float64)
    for seed in range(2000):
        model(x, numbers(seed, 2, 1, 1, *model.noise_shape(x)))
    rows = torch.stack([(pick[:, None] == data).all(-1).double().argmax(-1) for pick in picked])
    counts = torch.zeros(N, N, dtype=torch.float64)
    counts.index_put_((rows[:, 0], rows[:, 1]), torch.ones(2000, dtype=torch.float64), accumulate=True)
    expected = 2000 / N**2
    chi2 = float(((counts - expected).square() / expected).sum())
    degrees = N**2 - 1
    assert abs(chi2 - degrees) < 4 * math.sqrt(2 * degrees)


def test_shared_weights_are_drawn_directly(own, layers, data):
    model = own["RandomMinibatch"](own["SharedWeights"](layers), data)
    table = measure(model, torch.zeros(4, 1), [own["Pathwise"]()], K=[1], draws=40)
    assert set(table.method) == {"direct"}
    assert "data points are not independent" in table.attrs["remarks"][0]
