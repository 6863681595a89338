"""What holds for every source: names, limits, binarisation defaults, and what listing may import."""

import subprocess
import sys

import numpy as np
import pytest

from snrkit.data import SOURCES, load, resolve
from snrkit.data.base import Dataset
from snrkit.errors import DataError, SpecError
from snrkit.specs.run import DataSpec


@pytest.mark.parametrize("name", SOURCES.names)
def test_every_source_describes_itself_in_one_line(name):
    source = SOURCES.load(name)
    assert source.name == name
    assert source.description
    assert "\n" not in source.description
    # Either it has files that can be found, or it says where its points come from.
    assert bool(source.files) != bool(source.where)
    # Nothing is downloaded without a checksum.
    assert not source.mirrors or all(file.sha256 for file in source.files)


def test_train_limit_keeps_the_first_training_points_and_all_test_points():
    whole, part = (load(DataSpec(train_limit=limit), None) for limit in (None, 7))
    assert np.array_equal(part.train, whole.train[:7])
    assert np.array_equal(part.test, whole.test)


def test_train_limit_beyond_the_data_is_refused():
    with pytest.raises(SpecError, match=r"data\.train_limit: 1498 is more than the 1497"):
        load(DataSpec(train_limit=1498), None)


def test_unknown_source_names_the_nearest():
    with pytest.raises(SpecError, match="did you mean 'digits'"):
        load(DataSpec(name="digit"), None)


def test_path_for_a_source_that_reads_no_user_file_is_refused():
    with pytest.raises(SpecError, match=r"data\.path"):
        load(DataSpec(name="digits", path="mine.npz"), None)


def test_default_binarisation_follows_the_kind_of_data():
    assert resolve(DataSpec(), "grey").binarise == "dynamic"
    assert resolve(DataSpec(), "real").binarise == "none"
    assert resolve(DataSpec(binarise="threshold"), "grey").binarise == "threshold"


@pytest.mark.parametrize("mode", ["dynamic", "fixed", "threshold"])
def test_real_valued_data_cannot_be_binarised(mode):
    with pytest.raises(SpecError, match=r"data\.binarise"):
        load(DataSpec(name="gaussian", size=3, dim=2, binarise=mode), None)


def test_dataset_refuses_unlike_splits():
    train = np.zeros((3, 4), np.uint8)
    for test in (np.zeros((2, 5), np.uint8), np.zeros((2, 4), np.float32), np.zeros((0, 4), np.uint8)):
        with pytest.raises(DataError):
            Dataset("some", train, test, "grey", None, "")


def test_listing_imports_nothing_slow():
    code = (
        "import sys; from snrkit.cli.main import main; main(['data', 'list']); "
        "slow = {'torch', 'sklearn', 'scipy', 'pandas'} & set(sys.modules); sys.exit(str(slow) if slow else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in SOURCES.names)
