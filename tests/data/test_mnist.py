"""The IDX parser against good and bad bytes, and the real files where there are any."""

import gzip
import hashlib

import numpy as np
import pytest

from snrkit.data import load, mnist
from snrkit.errors import DataError
from snrkit.specs.run import DataSpec
from tests.support.data import idx, refusal


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, (5, 28, 28), dtype=np.uint8)


def test_parse_gives_back_the_images():
    oblong = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)
    assert np.array_equal(mnist.parse_idx(idx(oblong), "file"), oblong)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gz"])
def test_read_images_raw_and_packed(tmp_path, images, pack):
    path = tmp_path / "file"
    path.write_bytes(pack(idx(images)))
    assert np.array_equal(mnist.read_images(path, 5), images.reshape(5, 784))


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda b: b[:-1], "bytes long where its header says"),
        (lambda b: b + b"\0", "bytes long where its header says"),
        (lambda b: b[:10], "cut short within the header"),
        (lambda b: b"", "not IDX images"),
        (lambda b: b"\0\0\x08\x01" + b[4:], "not IDX images"),
        (lambda b: b"\0\0\x0d\x03" + b[4:], "not IDX images"),
        (lambda b: gzip.compress(b)[:-9], "damaged gzip file"),
        (lambda b: gzip.compress(b)[:-8] + bytes(8), "damaged gzip file"),
        (lambda b: b"\x1f\x8b" + b, "damaged gzip file"),
    ],
    ids=["short", "long", "header", "empty", "labels", "floats", "gz-short", "gz-checksum", "gz-noise"],
)
def test_damaged_files_are_refused(tmp_path, images, spoil, problem):
    path = tmp_path / "file"
    path.write_bytes(spoil(idx(images)))
    message = refusal(lambda: mnist.read_images(path, 5))
    assert problem in message
    assert str(path) in message


def test_wrong_number_or_size_of_images_is_refused(tmp_path, images):
    path = tmp_path / "file"
    path.write_bytes(idx(images))
    assert "not (6, 28, 28)" in refusal(lambda: mnist.read_images(path, 6))
    path.write_bytes(idx(images[:, :27]))
    assert "(5, 27, 28)" in refusal(lambda: mnist.read_images(path, 5))


def test_missing_files_name_the_command_that_gets_them(tmp_path):
    message = refusal(lambda: load(DataSpec(name="mnist"), tmp_path))
    assert "train-images-idx3-ubyte" in message
    assert "snrkit data fetch mnist" in message
    assert list(tmp_path.iterdir()) == []


def test_the_real_files(data_dir):
    data = load(DataSpec(name="mnist"), data_dir)
    assert (data.train.shape, data.test.shape) == ((60_000, 784), (10_000, 784))
    # Published checksums of the original distribution, over header and pixels.
    published = {"train": "6bbc9ace898e44ae57da46a324031adb", "test": "2646ac647ad5339dbf082846283269ea"}
    for split, md5 in published.items():
        pixels = getattr(data, split).reshape(-1, 28, 28)
        assert hashlib.md5(idx(pixels)).hexdigest() == md5


def test_environment_variable_names_the_folder(data_dir, monkeypatch, tmp_path):
    monkeypatch.setenv("SNRKIT_DATA", str(data_dir))
    assert len(load(DataSpec(name="mnist", train_limit=3), None).train) == 3
    with pytest.raises(DataError):
        load(DataSpec(name="mnist"), tmp_path)


def test_labels(tmp_path, data_dir):
    labels = load(DataSpec(name="mnist"), data_dir).test_labels
    assert labels.shape == (10_000,)
    assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    wrong = tmp_path / "labels"
    wrong.write_bytes(b"\0\0\x08\x01" + bytes(5))
    assert "10,000 labels" in refusal(lambda: mnist.read_labels(wrong))
