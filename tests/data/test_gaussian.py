"""The Gaussian toy against its moments."""

import numpy as np

from snrkit.data import load
from snrkit.specs.run import DataSpec


def toy(**options):
    return load(DataSpec(name="gaussian", **options), None)


def test_sizes_type_and_kind():
    data = toy(size=5, dim=3)
    assert data.train.shape == data.test.shape == (5, 3)
    assert data.train.dtype == np.float64
    assert (data.kind, data.image_shape) == ("real", None)


def test_points_scatter_around_one_mean_with_variance_two():
    data = toy(size=20_000, dim=4)
    # The standard error of a mean is 0.01, of a variance 0.02: five of them.
    mean = data.train.mean(0)
    assert np.abs(mean - data.test.mean(0)).max() < 5 * 0.01 * 2**0.5
    assert np.abs(np.cov(data.train.T) - 2 * np.eye(4)).max() < 5 * 0.02
    assert not np.array_equal(data.train, data.test)


def test_the_mean_itself_is_standard_normal():
    means = toy(size=1, dim=20_000, seed=3).train - (toy(size=1, dim=20_000, seed=3).test)
    assert abs(means.var() - 4) < 5 * 4 * (2 / 20_000) ** 0.5
    point = toy(size=1, dim=20_000, seed=3).train
    assert abs(point.var() - 3) < 5 * 3 * (2 / 20_000) ** 0.5


def test_seed_decides_and_size_does_not_move_the_points():
    assert np.array_equal(toy(size=9, dim=3).train[:4], toy(size=4, dim=3).train)
    assert not np.allclose(toy(size=4, dim=3, seed=1).train, toy(size=4, dim=3).train)
