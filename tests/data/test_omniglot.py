"""Omniglot from either of its two files."""

import shutil

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from snrkit.data import load
from snrkit.errors import DataError
from snrkit.specs.run import DataSpec

SPEC = DataSpec(name="omniglot")


def refusal(folder):
    with pytest.raises(DataError) as caught:
        load(SPEC, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def chardata():
    """A stand-in for chardata.mat: one image each, the rest empty, columns in MATLAB's column-major order."""
    picture = np.zeros((28, 28), np.uint8)
    picture[3, :20] = 1
    data, test = np.zeros((784, 24_345), np.uint8), np.zeros((784, 8_070), np.uint8)
    data[:, 5] = test[:, 2] = picture.ravel(order="F")
    return picture, {"data": data, "testdata": test}


def test_mat_columns_become_upright_rows(tmp_path, chardata):
    picture, arrays = chardata
    scipy.io.savemat(tmp_path / "chardata.mat", arrays, do_compression=True)
    data = load(SPEC, tmp_path)
    assert (data.train.shape, data.test.shape) == ((24_345, 784), (8_070, 784))
    assert data.train.dtype == np.float32
    assert np.array_equal(data.train[5].reshape(28, 28), picture)
    assert np.array_equal(data.test[2].reshape(28, 28), picture)
    assert data.train.sum() == data.test.sum() == 20
    assert data.origin == "chardata.mat"


def test_wrong_mat_files_are_refused(tmp_path, chardata):
    path = tmp_path / "omniglot" / "chardata.mat"
    path.parent.mkdir()
    _, arrays = chardata
    scipy.io.savemat(path, {"data": arrays["data"]}, do_compression=True)
    assert "'testdata' is missing" in refusal(tmp_path)
    path.write_bytes(path.read_bytes()[:3000])
    assert "cannot be read as a MATLAB file" in refusal(tmp_path)
    path.write_bytes(b"no such format" * 100)
    assert "cannot be read as a MATLAB file" in refusal(tmp_path)
    scipy.io.savemat(path, {"data": arrays["data"].T[:9], "testdata": arrays["testdata"]}, do_compression=True)
    assert "'data' has shape (9, 784), not (784, 24345)" in refusal(tmp_path)
    scipy.io.savemat(path, arrays | {"testdata": arrays["testdata"] * 2}, do_compression=True)
    assert "'testdata' has values outside [0, 1]" in refusal(tmp_path)


def test_missing_files_say_what_to_put_where(tmp_path):
    message = refusal(tmp_path)
    assert "chardata.mat" in message
    assert "omniglot28.npz" in message


def test_npz_of_other_images_is_refused(tmp_path):
    small = np.full((3, 8, 8), 9, np.uint8)
    np.savez(tmp_path / "omniglot28.npz", x_train=small, x_test=small)
    assert "does not hold grey images of 28x28" in refusal(tmp_path)


def test_the_real_npz(data_dir, tmp_path):
    shutil.copy(data_dir / "omniglot" / "omniglot28.npz", tmp_path)
    data = load(SPEC, tmp_path)
    assert (data.train.shape, data.test.shape) == ((24_345, 784), (8_115, 784))
    assert data.train.dtype == np.uint8
    assert data.image_shape == (28, 28)
    assert data.origin == "omniglot28.npz (SHA-256 a4a90c2a3b)"


@pytest.mark.slow
def test_arrays_of_another_kind_are_refused(tmp_path, chardata):
    path = tmp_path / "chardata.mat"
    _, arrays = chardata
    sparse = scipy.sparse.csc_matrix(arrays["testdata"].astype(float))
    for spoilt, kind in (
        (sparse, "sparse"),
        (arrays["testdata"].astype(complex) + 1j, "complex128"),
    ):
        scipy.io.savemat(path, arrays | {"testdata": spoilt}, do_compression=True)
        assert f"'testdata' is of type {kind}" in refusal(tmp_path)


def test_other_images_under_its_name_are_refused(tmp_path):
    images = np.full((3, 28, 28), 200, np.uint8)
    np.savez(tmp_path / "omniglot28.npz", x_train=images, x_test=images)
    assert "not those of omniglot" in refusal(tmp_path)
