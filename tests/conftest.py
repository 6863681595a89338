"""Fixtures for all tests."""

import gc
import os
import resource
import sys
from pathlib import Path

import pytest
import torch

from snrkit import registry
from snrkit.runs.folder import RunDir
from snrkit.specs.run import RunSpec
from snrkit.training.session import train

pytest.register_assert_rewrite("tests.support")

# Libraries that are extras reach for no network.
os.environ |= {
    "WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
}  # fmt: skip

from tests.support.axe import axe  # noqa: E402, F401 (a fixture)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Of a test marked ``rest_slow``, all cases but the first are slow."""
    seen = set()
    for item in items:
        if item.get_closest_marker("rest_slow"):
            test = item.nodeid.partition("[")[0]
            if test in seen:
                item.add_marker(pytest.mark.slow)
            seen.add(test)


def pytest_collection_finish():
    """What is there by now stays: looking through all of torch for garbage took a twentieth of the tests' time."""
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def unsynced():
    """No waiting for the disk: what a loss of power would take is seen by no test. A handle that is none still fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture(autouse=True)
def clean(request):
    """See to it that no test leaves a file where the tests are run; hidden ones are tools'."""
    folder = request.config.invocation_params.dir
    before = set(folder.iterdir())
    yield
    left = [path.name for path in set(folder.iterdir()) - before if path.name[0] != "." and path.name != "__pycache__"]
    assert not left, f"left in {folder}: {', '.join(sorted(left))}"


@pytest.fixture
def data_dir() -> Path:
    """The folder of real data files; tests that need them are skipped where there is none."""
    folder = os.environ.get("SNRKIT_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real data files: set SNRKIT_DATA to their folder")
    return Path(folder)


@pytest.fixture
def full_disk():
    """A device that takes 4,096 bytes of a file and no more, as far as this process can tell."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


CPU = torch.device("cpu")


def silent(done, total, note):
    pass


@pytest.fixture(scope="session")
def small():
    """The spec, with any settings changed."""

    def spec(**changes):
        data = {
            "data": {"name": "gaussian", "size": 23, "dim": 3},
            "model": {"name": "gaussian", "options": {"perturb": 0.3}},
            "estimator": {"name": "iwae", "M": 2, "K": 4},
            "epochs": 4, "batch_size": 5, "checkpoint_every": 3, "eval_points": 7,
        }  # fmt: skip
        return RunSpec.parse(data | changes, "test")

    return spec


@pytest.fixture
def go(tmp_path):
    """Train a spec in a named directory below the test's own."""

    def call(spec, name="run", resume=False, progress=silent):
        return train(spec, RunDir(tmp_path / name), data_dir=None, device=CPU, resume=resume, progress=progress)

    return call


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder where packages can be installed for the time of a test."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    registry.source_digest.cache_clear()
    for module in set(sys.modules) - before:
        if str(getattr(sys.modules[module], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[module]
