"""The embedded digits: sizes, scaling, and a split that never moves."""

import hashlib

import numpy as np
from sklearn.datasets import load_digits

from snrkit.data import load
from snrkit.specs.run import DataSpec


def test_sizes_and_types():
    data = load(DataSpec(), None)
    assert (data.train.shape, data.test.shape) == ((1497, 64), (300, 64))
    assert data.train.dtype == data.test.dtype == np.uint8
    assert (data.kind, data.image_shape) == ("grey", (8, 8))


def test_every_image_is_used_once_and_scaled_to_the_full_range():
    data = load(DataSpec(), None)
    ours = np.concatenate([data.train, data.test])
    theirs = np.round(load_digits().data * 255 / 16).astype(np.uint8)
    assert ours.max() == 255
    assert sorted(map(bytes, ours)) == sorted(map(bytes, theirs))


def test_labels_belong_to_their_images():
    data, theirs = load(DataSpec(), None), load_digits()
    label = dict(zip(map(bytes, np.round(theirs.data * 255 / 16).astype(np.uint8)), theirs.target, strict=True))
    assert [label[bytes(image)] for image in data.test] == list(data.test_labels)


def test_split_is_the_published_one_whatever_the_seed():
    digests = {hashlib.sha256(load(DataSpec(seed=seed), None).test.tobytes()).hexdigest()[:16] for seed in (0, 5)}
    assert digests == {"5db6535a6966648c"}
