"""Data are what their contents say: sets that share MNIST's file names, files of a user's own, other layouts and names."""

import gzip
import hashlib
import logging

import numpy as np
import pytest

from snrkit.data import load, mnist
from snrkit.data.base import DataFile
from snrkit.data.folder import SAME_NAMES, check
from snrkit.data.remarks import remark
from snrkit.errors import DataError, SpecError
from snrkit.specs.run import DataSpec
from tests.support.data import idx, refusal

TRAIN, TEST, LABELS = (file.name for file in mnist.FILES["mnist"])


def labels(values):
    return b"\0\0\x08\x01" + len(values).to_bytes(4, "big") + bytes(values)


@pytest.fixture
def sets(monkeypatch):
    """Three sets of four and two images in place of the real ones; returns source to its three files' bytes."""
    generator = np.random.default_rng(5)
    contents = {}
    for name in mnist.FILES:
        images = generator.integers(0, 256, (6, 28, 28), dtype=np.uint8)
        contents[name] = [idx(images[:4]), idx(images[4:]), labels([1, len(contents)])]
    files = {}
    for name, parts in contents.items():
        digest = [hashlib.sha256(part).hexdigest() for part in parts]
        packed = [hashlib.sha256(gzip.compress(part, mtime=0)).hexdigest() for part in parts]
        files[name] = tuple(
            DataFile(file, plain if name == "mnist" else None, None if name == "mnist" else pack)
            for file, plain, pack in zip((TRAIN, TEST, LABELS), digest, packed, strict=True)
        )
    monkeypatch.setattr(mnist, "FILES", files)
    monkeypatch.setattr(mnist, "COUNTS", {TRAIN: 4, TEST: 2})
    return contents


def put(folder, parts, packed=True, names=(TRAIN, TEST, LABELS)):
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in zip(names, parts, strict=False):
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(part, mtime=0) if packed else part)


def test_the_published_digests_are_those_of_the_real_files(data_dir):
    """The labels of Fashion-MNIST are small enough to be known in both forms; MNIST lies here."""
    for file in mnist.FILES["mnist"]:
        assert check(data_dir, "mnist", file).state == "ok"
    assert check(data_dir, "kmnist", mnist.FILES["kmnist"][0]).state == "missing"


@pytest.mark.parametrize("place", ["{own}", "{torch}/raw", "{torch}", "", "raw", "{own}/raw", "mnist"])
@pytest.mark.parametrize("name", list(SAME_NAMES))
def test_every_set_is_found_wherever_it_lies(sets, tmp_path, name, place):
    put(tmp_path / place.format(own=name, torch=SAME_NAMES[name]), sets[name])
    data = load(DataSpec(name=name), tmp_path)
    assert data.name == name
    assert idx(data.train.reshape(4, 28, 28)) == sets[name][0]
    assert idx(data.test.reshape(2, 28, 28)) == sets[name][1]
    assert data.test_labels[1] == list(sets).index(name)


def test_the_contents_decide_between_files_of_one_name(sets, tmp_path):
    put(tmp_path, sets["fashion-mnist"])
    put(tmp_path / "KMNIST" / "raw", sets["kmnist"])
    put(tmp_path / "MNIST" / "raw", sets["mnist"], packed=False)
    for name in SAME_NAMES:
        assert idx(load(DataSpec(name=name), tmp_path).train.reshape(4, 28, 28)) == sets[name][0]


@pytest.mark.parametrize("other", ["fashion-mnist", "kmnist"])
def test_another_set_under_the_names_of_mnist_is_named_and_refused(sets, tmp_path, other):
    put(tmp_path / "mnist", sets[other])
    message = refusal(lambda: load(DataSpec(name="mnist"), tmp_path))
    assert f"holds images of {other}, not of mnist" in message
    assert f"`data.name={other}`" in message
    # The remedy works as it is.
    assert load(DataSpec(name=other), tmp_path).name == other


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", list(SAME_NAMES))
def test_unknown_images_under_a_known_name_are_refused(sets, tmp_path, name, packed):
    changed = bytearray(sets[name][0])
    changed[-1] ^= 1
    put(tmp_path, [bytes(changed), *sets[name][1:]], packed=packed)
    message = refusal(lambda: load(DataSpec(name=name), tmp_path))
    assert f"28x28 images that are not those of {name}" in message
    assert "`data.name=idx` `data.path=" in message
    own = load(DataSpec(name="idx", path=str(tmp_path)), None)
    assert idx(own.train.reshape(4, 28, 28)) == bytes(changed)


@pytest.mark.parametrize("name", ["fashion-mnist", "kmnist"])
def test_damaged_files_of_a_set_are_not_to_be_replaced_by_another(sets, tmp_path, name):
    put(tmp_path / name, [idx(np.zeros((3, 28, 28), np.uint8)), sets[name][1]])
    message = refusal(lambda: load(DataSpec(name=name), tmp_path))
    assert "(3, 28, 28), not (4, 28, 28)" in message
    assert "fetch mnist" not in message


def test_labels_of_another_set_are_refused(sets, tmp_path):
    put(tmp_path, [*sets["mnist"][:2], sets["kmnist"][2]])
    assert "labels that are not those of mnist" in refusal(lambda: load(DataSpec(name="mnist"), tmp_path))
    (tmp_path / f"{LABELS}.gz").unlink()
    assert load(DataSpec(name="mnist"), tmp_path).test_labels is None


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_names_with_a_dot_are_found(sets, tmp_path, suffix):
    dotted = [name.replace("-idx", ".idx") for name in (TRAIN, TEST, LABELS)]
    put(tmp_path, sets["mnist"], packed=bool(suffix), names=dotted)
    assert load(DataSpec(name="mnist"), tmp_path).test_labels is not None


def test_what_looks_like_it_is_named(tmp_path):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train_images.ubyte").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"")
    message = refusal(lambda: load(DataSpec(name="mnist"), tmp_path))
    assert "train_images.ubyte is there" in message
    assert "notes" not in message


def test_a_file_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path):
    with gzip.open(tmp_path / f"{TRAIN}.gz", "wb", compresslevel=1) as stream:
        for _ in range(200):
            stream.write(bytes(2**20))
    (tmp_path / TEST).write_bytes(b"")
    message = refusal(lambda: load(DataSpec(name="mnist"), tmp_path))
    assert f"has more than {mnist.MOST_BYTES:,} bytes unpacked" in message


def own(path):
    return load(DataSpec(name="idx", path=str(path)), None)


@pytest.mark.parametrize(
    "names",
    [(TRAIN, TEST), ("emnist-letters-train-images-idx3-ubyte", "emnist-letters-test-images-idx3-ubyte"),
     ("train-images.idx3-ubyte", "t10k-images.idx3-ubyte"), ("train_images", "test_images")],
)  # fmt: skip
@pytest.mark.parametrize("packed", [True, False])
def test_own_files_in_mnists_format(tmp_path, names, packed):
    images = np.random.default_rng(2).integers(0, 256, (5, 6, 4), dtype=np.uint8)
    put(tmp_path, [idx(images[:3]), idx(images[3:])], packed, names)
    first = tmp_path / (names[0] + (".gz" if packed else ""))
    for path in (tmp_path, first):
        data = own(path)
        assert np.array_equal(data.train, images[:3].reshape(3, 24))
        assert np.array_equal(data.test, images[3:].reshape(2, 24))
        assert (data.image_shape, data.kind) == ((6, 4), "grey")
        assert data.label.startswith(f"idx {tmp_path.name} ")


def test_own_files_that_do_not_fit(tmp_path):
    images = np.zeros((3, 6, 4), np.uint8)
    assert "no such file or folder" in refusal(lambda: own(tmp_path / "none"))
    assert "no file that looks like it" in refusal(lambda: own(tmp_path))
    put(tmp_path, [idx(images), idx(images[:, :5])])
    assert "images of (5, 4), and train-images-idx3-ubyte.gz of (6, 4)" in refusal(lambda: own(tmp_path))
    put(tmp_path, [idx(images), idx(images), labels([1])])
    assert "does not hold 3 labels" in refusal(lambda: own(tmp_path))
    put(tmp_path, [idx(images)], names=("more-train-images-idx3-ubyte",))
    assert "not one file of training images" in refusal(lambda: own(tmp_path))
    with pytest.raises(SpecError, match=r"^data\.path: "):
        load(DataSpec(name="idx"), None)


@pytest.mark.parametrize("path", ["a\udcff.npz", "a\0.npz", "x" * 5000, "loop/a.npz"])
@pytest.mark.parametrize("name", ["npz", "idx"])
def test_paths_that_are_none(tmp_path, name, path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises((SpecError, DataError)) as caught:
        load(DataSpec(name=name, path=f"{tmp_path}/{path}"), None)
    str(caught.value).encode()


@pytest.fixture
def remarks(caplog):
    remark.cache_clear()
    caplog.set_level(logging.WARNING)
    return lambda: " ".join(record.getMessage() for record in caplog.records)


def save(tmp_path, x):
    np.savez(tmp_path / "own.npz", x_train=x, x_test=x[:2])
    return load(DataSpec(name="npz", path=str(tmp_path / "own.npz")), None)


@pytest.mark.parametrize("shape", [(4, 8, 8, 3), (4, 3, 8, 8), (4, 8, 8, 4), (4, 192)])
@pytest.mark.parametrize("scale", [1, 255])
def test_colours_are_not_made_binary_without_a_word(tmp_path, remarks, shape, scale):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    assert save(tmp_path, pixels if scale == 1 else pixels / 255).kind == "grey"
    assert "8x8 in " in remarks()
    assert f"{np.prod(shape[1:])} grey pixels side by side" in remarks()


def test_grey_images_get_no_remark(tmp_path, remarks):
    save(tmp_path, np.random.default_rng(0).integers(0, 256, (4, 28, 28)).astype(np.uint8))
    save(tmp_path, np.random.default_rng(0).random((4, 1, 8, 8)))
    assert remarks() == ""


def test_integers_on_another_scale_get_a_remark(tmp_path, remarks):
    save(tmp_path, np.arange(34).reshape(2, 17) % 17)
    assert "integers from 0 to 16 are taken as grey levels of 255" in remarks()
    assert "store x / 16" in remarks()


def test_labels_in_place_of_points_are_refused(tmp_path):
    for shape in ((20,), (20, 1)):
        with pytest.raises(DataError, match="one whole number per point, as labels have"):
            save(tmp_path, np.arange(20).reshape(shape) % 10)
    assert save(tmp_path, np.linspace(-3, 3, 20)).kind == "real"


@pytest.mark.parametrize(
    ("scaled", "words"),
    [
        (lambda u: 255 * u, ("numbers from 0 to 255", "x / 255")),
        (lambda u: 250 * u, ("numbers from 0 to 250", "x / 255")),
        (lambda u: 16 * u, ("numbers from 0 to 16", "x / 16")),
        (lambda u: 65535 * u, ("numbers from 0 to 6.554e+04", "x / 65535")),
        (lambda u: 2 * u - 1, ("numbers from -1 to 1", "(x + 1) / 2")),
        (lambda u: 9 * u - 3, ("numbers from -3 to 6", "scale them to [0, 1]")),
    ],
)
@pytest.mark.parametrize("model", ["mlp", "hierarchical", "random-weights"])
def test_real_valued_data_say_their_range_and_the_remedy(tmp_path, scaled, words, model):
    from snrkit.models.base import build_model
    from snrkit.specs.run import ModelSpec
    from snrkit.training.opening import data_summary

    data = save(tmp_path, scaled(np.linspace(0, 1, 40).reshape(4, 10)))
    with pytest.raises(SpecError) as caught:
        build_model(ModelSpec(name=model), data_summary(data), 0)
    for word in (*words, "or choose model gaussian"):
        assert word in str(caught.value)
    with pytest.raises(SpecError) as caught:
        load(DataSpec(name="npz", path=str(tmp_path / "own.npz"), binarise="dynamic"), None)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0, 65535, "x / 65535"), (0, 4095, "x / 4095"), (-128, 127, "x + 128"), (-1, 255, "store grey as uint8")],
)
def test_integers_out_of_range_name_the_remedy(tmp_path, low, high, words):
    with pytest.raises(DataError) as caught:
        save(tmp_path, np.array([[low, high], [low, high]]))
    assert f"integers from {low} to {high}" in str(caught.value)
    assert words in str(caught.value)


def test_numbers_beyond_their_type_are_refused(tmp_path):
    np.savez(tmp_path / "own.npz", x_train=np.full((2, 3), 1e30, np.float32), x_test=np.full((2, 3), 2.0, np.float16))
    assert load(DataSpec(name="npz", path=str(tmp_path / "own.npz")), None).kind == "real"
    with pytest.raises(DataError, match="beyond float64"):
        save(tmp_path, np.full((2, 3), np.longdouble("1e4000")))


def test_labels_in_tables_tell_two_files_apart(tmp_path):
    from snrkit.evaluation.points import named_points
    from snrkit.specs.run import RunSpec
    from snrkit.training.opening import resolve_spec

    found = []
    for number in (1, 2):
        data = save(tmp_path, np.full((3, 4), 200 + number, np.uint8))
        spec = RunSpec(data=DataSpec(name="npz", path=str(tmp_path / "own.npz")))
        found.append(named_points(data, resolve_spec(spec, data), "cpu", 2)[1])
    assert found[0] != found[1]
    assert all(label.startswith("npz own.npz ") and ":test[0:2] dynamic seed 0" in label for label in found)
