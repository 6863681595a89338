"""Users' own files: every type of number that is accepted, and every way a file can be wrong."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from snrkit.data import load
from snrkit.errors import DataError, SpecError
from snrkit.specs.run import DataSpec


def own(path):
    return load(DataSpec(name="npz", path=str(path)), None)


@pytest.fixture
def save(tmp_path):
    def write(**arrays):
        path = tmp_path / "own.npz"
        np.savez_compressed(path, **arrays)
        return path

    return write


def refusal(path):
    with pytest.raises(DataError) as caught:
        own(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.remedy
    return str(caught.value)


GREY = np.array([[0, 128, 255], [7, 1, 2]], np.uint8)
UNIT = np.array([[0.0, 0.25, 1.0], [0.5, 0.1, 0.2]])


@pytest.mark.parametrize(
    ("stored", "expected", "kind"),
    [
        (GREY, GREY, "grey"),
        (GREY.astype(np.int64), GREY, "grey"),
        (GREY > 100, np.array([[0, 255, 255], [0, 0, 0]], np.uint8), "grey"),
        ((GREY > 100).astype(np.uint8), np.array([[0, 255, 255], [0, 0, 0]], np.uint8), "grey"),
        (UNIT, UNIT.astype(np.float32), "grey"),
        (UNIT.astype(">f4"), UNIT.astype(np.float32), "grey"),
        (UNIT.astype(np.float16) * 3, (UNIT.astype(np.float16) * 3).astype(np.float32), "real"),
        (UNIT.astype(np.float32) - 1, UNIT.astype(np.float32) - 1, "real"),
        (UNIT * 1e60, UNIT * 1e60, "real"),
    ],
    ids=["uint8", "int64", "bool", "binary-uint8", "unit", "big-endian", "half", "single", "double"],
)
def test_numbers_are_read_as_documented(save, stored, expected, kind):
    data = own(save(x_train=stored, x_test=stored[:1]))
    assert data.kind == kind
    assert data.train.dtype == data.test.dtype == expected.dtype
    assert data.train.dtype.isnative
    assert np.array_equal(data.train, expected)
    assert np.array_equal(data.test, expected[:1])


def test_kind_is_decided_over_both_arrays(save):
    data = own(save(x_train=UNIT, x_test=UNIT + 1))
    assert data.kind == "real"
    ones = own(save(x_train=np.ones((2, 3), np.uint8), x_test=GREY))
    assert ones.train.max() == 1


@pytest.mark.parametrize(
    ("event", "image"), [((4, 6), (4, 6)), ((1, 4, 6), (4, 6)), ((4, 6, 1), (4, 6)), ((24,), None), ((4, 2, 3), None)]
)
def test_points_of_any_shape_are_flattened(save, event, image):
    pixels = np.arange(48, dtype=np.uint8).reshape(2, *event)
    data = own(save(x_train=pixels, x_test=pixels[:1]))
    assert np.array_equal(data.train, np.arange(48).reshape(2, 24))
    assert data.image_shape == image


def test_origin_names_the_file_and_its_content(save):
    first = own(save(x_train=GREY, x_test=GREY)).origin
    second = own(save(x_train=GREY, x_test=GREY[:1])).origin
    assert first.startswith("own.npz (SHA-256 ")
    assert first != second


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_values_are_counted_and_located(save, bad):
    spoilt = np.full((3, 2, 4), 0.5)
    spoilt[1, 0, 3] = spoilt[2, 1, 1] = bad
    assert "x_test holds 2 NaN or infinite values, the first at (1, 0, 3)" in refusal(
        save(x_train=np.full((3, 2, 4), 0.5), x_test=spoilt)
    )


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"x_train": GREY}, "has no array x_test"),
        ({"data": GREY}, "has no array x_train and no array x_test"),
        ({"x_train": GREY, "x_test": GREY[:, :2]}, "x_train has shape (3,), one of x_test (2,)"),
        ({"x_train": GREY, "x_test": GREY[:0]}, "x_test is empty"),
        ({"x_train": GREY[:, :0], "x_test": GREY[:, :0]}, "x_train is empty"),
        ({"x_train": np.uint8(3), "x_test": GREY}, "x_train is empty or no array of points"),
        ({"x_train": GREY, "x_test": GREY / 255}, "x_train is uint8 but x_test is float64"),
        ({"x_train": GREY.astype(int) + 1, "x_test": GREY}, "integers from 0 to 256"),
        ({"x_train": GREY.astype(int) - 1, "x_test": GREY}, "integers from -1 to 255"),
        ({"x_train": GREY.astype(complex), "x_test": GREY}, "x_train is of type complex128"),
        ({"x_train": GREY, "x_test": GREY.astype(str)}, "x_test is of type <U3"),
    ],
)
def test_unusable_arrays_are_refused(save, arrays, problem):
    assert problem in refusal(save(**arrays))


class Payload:
    """Creates a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickles_are_refused_and_never_executed(save, tmp_path):
    trace = tmp_path / "executed"
    # The payload does what it says, so that its absence below means something.
    pickle.loads(pickle.dumps(Payload(trace)))
    assert trace.exists()
    trace.unlink()
    path = save(x_train=np.array([Payload(trace)], dtype=object), x_test=GREY)
    assert "x_train holds Python objects" in refusal(path)
    plain = tmp_path / "plain.npz"
    plain.write_bytes(pickle.dumps(Payload(trace)))
    assert "not an npz file" in refusal(plain)
    assert not trace.exists()


def test_files_that_are_no_npz(save, tmp_path):
    assert "no such file" in refusal(tmp_path / "absent.npz")
    assert "no such file" in refusal(tmp_path)
    np.save(tmp_path / "one.npy", GREY)
    assert "not an npz file" in refusal(tmp_path / "one.npy")
    whole = save(x_train=GREY, x_test=GREY).read_bytes()
    (tmp_path / "short.npz").write_bytes(whole[: len(whole) // 2])
    assert "cut short" in refusal(tmp_path / "short.npz")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("x_train", "words")
        archive.writestr("x_test", "words")
    assert "x_train is not an array" in refusal(tmp_path / "text.npz")


def test_a_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "own.npz"
    noise = np.random.default_rng(0).integers(0, 256, (50, 40), dtype=np.uint8)
    np.savez(path, x_train=noise, x_test=noise)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    assert "damaged npz file" in refusal(path)


def test_a_spec_without_path_names_the_setting():
    with pytest.raises(SpecError, match=r"^data\.path: "):
        load(DataSpec(name="npz"), None)


def _npy(header: str, payload: bytes = b"") -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + payload


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (
            f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**50}, 4), }}",
            "more than the 2,147,483,648 that are read",
        ),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (1000, 4), }", "its header says 4,000 bytes"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (2, 4), }", "holds Python objects"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (-2, 4), }", "damaged"),
        ("{'descr': 'no', 'fortran_order': False, 'shape': (2, 4), }", "not an array, or is damaged"),
        ("{'descr': '|u1', 'shape': " + "(" * 60, "not an array, or is damaged"),
        ("__import__('os').system('x')", "not an array, or is damaged"),
    ],
)
def test_headers_are_looked_at_before_anything_is_unpacked(tmp_path, header, problem):
    path = tmp_path / "own.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for key in ("x_train", "x_test"):
            archive.writestr(f"{key}.npy", _npy(header, bytes(8)))
    assert problem in refusal(path)


def test_a_file_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("snrkit.data.npz.MOST_BYTES", 10**6)
    zeros = np.zeros((1001, 1000), np.uint8)
    np.savez_compressed(tmp_path / "own.npz", x_train=zeros, x_test=zeros[:2])
    assert (tmp_path / "own.npz").stat().st_size < 10_000
    assert "x_train has 1,001,000 bytes" in refusal(tmp_path / "own.npz")
