"""Sizes that no machine has room or time for: one sentence before the work, and nothing left behind."""

import pytest

from snrkit.backend.shortage import exit_code_of, shortage
from snrkit.diagnostics.budget import MOST_SETTINGS, divisors, settings
from snrkit.errors import SpecError
from snrkit.estimators.base import build_estimator
from snrkit.specs.grid import MOST_RUNS, expand
from snrkit.training.trainer import Trainer
from tests.support.program import TOY

HUGE, BEYOND = 10**15, 10**30
DIGITS = ["--data", "digits", "--model", "mlp"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--set", "data.size=1000000000000"], ["data.size", "1000000000000 points of 3 numbers", "TB"]),
        (["--set", "data.dim=100000000", "--set", "data.size=1", "--set", "eval_points=1"], ["model.options", "parameters"]),
        ([*DIGITS, "--set", "model.options.hidden=[1000000000]"], ["model.options", "280,000,000,164 parameters", "TB"]),
        ([*DIGITS, "--set", f"model.options.latent={HUGE}"], ["model.options", "parameters"]),
        ([*DIGITS, "--set", "model.options.hidden=[4000000000000000000,4000000000000000000]"], ["model.options"]),
        ([*DIGITS, "--model", "random-weights", "--set", f"model.options.hidden={HUGE}"], ["model random-weights"]),
        ([*DIGITS, "--model", "hierarchical", "--set", f"model.options.latents=[{HUGE}, 3]"], ["model hierarchical"]),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else None,
)  # fmt: skip
def test_models_and_data_that_do_not_fit(snrkit, tmp_path, argv, words):
    own = TOY if "digits" not in argv else ["--device", "cpu"]
    snrkit("train", *own, *argv, "--epochs", 1, "--out", tmp_path / "run").refused(*words, code=4)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["--K", "--M", "--epochs", "--batch-size", "--checkpoint-every", "--keep-every", "--seed",
                                  "--snr-every", "--snr-K", "--snr-M", "--snr-draws", "--snr-points"])  # fmt: skip
def test_numbers_beyond_64_bits_in_train(snrkit, tmp_path, flag):
    for number in (BEYOND, "9" * 5000):
        snrkit("train", *TOY, "--snr-every", 1, flag, number, "--out", tmp_path / "run").refused()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "argv",
    [
        ["snr", "--K"], ["snr", "--M"], ["snr", "--draws"], ["snr", "--data-points"], ["snr", "--K-ref"], ["snr", "--seed"],
        ["snr", "--chunk"], ["evaluate", "--samples"], ["evaluate", "--points"], ["evaluate", "--seed"], ["beta", "--K"],
        ["beta", "--M"], ["beta", "--draws"], ["beta", "--data-points"], ["reconstruct", "--resample"],
        ["reconstruct", "--samples"], ["reconstruct", "--points"], ["advise", "--budget"], ["advise", "--data-points"],
        ["advise", "--budget", "4", "--draws"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_numbers_beyond_64_bits_elsewhere(snrkit, toy_run, contents, argv):
    before = contents(toy_run)
    for number in (BEYOND, "9" * 5000):
        snrkit(*argv, number, "--ckpt", toy_run, "--device", "cpu").refused()
    assert contents(toy_run) == before


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["snr", "--draws", HUGE, "--K", 1], ["draws", "1,000,000,000,000,000 draws"]),
        (["beta", "--draws", HUGE], ["draws", "TB"]),
        (["evaluate", "--samples", HUGE], ["--samples", "1,000,000,000,000,000 samples"]),
        (["reconstruct", "--resample", HUGE], ["--resample", "TB"]),
        (["advise", "--budget", 2**39], ["--budget", f"{2**39:,} samples each"]),
    ],
)
def test_what_measures_is_asked_for_too_much(snrkit, toy_run, contents, argv, words):
    before = contents(toy_run)
    snrkit(*argv, "--ckpt", toy_run, "--device", "cpu").refused(*words, code=4)
    assert contents(toy_run) == before


def test_limits_that_are_stated(snrkit, toy_run):
    snrkit("advise", "--ckpt", toy_run, "--budget", 10**10).refused("362 ways", f"at most {MOST_SETTINGS}")
    snrkit("reconstruct", "--ckpt", toy_run, "--points", "0-99999999999").refused("more than 1,000,000 test points")
    many = ",".join(map(str, range(1, 400)))
    snrkit("snr", "--ckpt", toy_run, "--K", many, "--M", many).refused("159,201 settings", "100,000 is the most")
    grid = {"grid": {"seed": list(range(1100)), "batch_size": list(range(1, 1101))}}
    with pytest.raises(SpecError, match=f"makes 1,210,000 runs, and a sweep takes at most {MOST_RUNS:,}"):
        expand(grid, "grid.toml")


def test_a_first_step_without_room_leaves_nothing(snrkit, tmp_path, monkeypatch):
    def short(self):
        raise MemoryError("Unable to allocate 373. GiB for an array with shape (20, 1, 100000000, 50)")

    monkeypatch.setattr(Trainer, "take_step", short)
    snrkit("train", *TOY, "--epochs", 1, "--out", tmp_path / "run").refused("memory", "373 GiB", code=4)
    assert list(tmp_path.iterdir()) == []


def test_a_later_step_without_room_keeps_what_was_trained(snrkit, tmp_path, monkeypatch):
    step = Trainer.take_step

    def short(self):
        if self.step == 7:
            raise MemoryError
        step(self)

    monkeypatch.setattr(Trainer, "take_step", short)
    argv = ["train", *TOY, "--epochs", 2, "--checkpoint-every", 1]
    snrkit(*argv, "--out", tmp_path / "run").refused("memory", code=4)
    assert (tmp_path / "run" / "run.pt").exists()
    monkeypatch.undo()
    assert snrkit(*argv, "--resume", "--out", tmp_path / "run").code == 0


@pytest.mark.parametrize("number", [1, 2, 36, 97, 2**20, 3**12 * 7])
def test_divisors(number):
    found = divisors(number)
    assert all(number % d == 0 for d in found)
    assert found == sorted(set(found))
    if number < 10**5:
        assert found == [d for d in range(1, number + 1) if number % d == 0]


def test_settings_of_large_budgets_take_no_time():
    iwae = build_estimator("iwae", {})
    assert len(settings(10**10, [iwae])) == 121
    assert {M * K for _, M, K in settings(10**10, [iwae])} == {10**10}


def test_what_is_no_shortage():
    for error in (
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("bad"),
        OSError(28, "full"),
        KeyError(),
    ):
        assert shortage(error) is None
        assert exit_code_of(error) == 1
    assert exit_code_of(MemoryError()) == 4


def test_a_measurement_along_the_way_that_does_not_fit_is_refused_before_training(snrkit, tmp_path):
    argv = ["--epochs", 1, "--snr-every", 1, "--snr-draws", HUGE, "--out", tmp_path / "run"]
    snrkit("train", *TOY, *argv).refused("draws", "TB", code=4)
    many = ",".join(map(str, range(1, 400)))
    argv = ["--epochs", 1, "--snr-every", 1, "--snr-K", many, "--snr-M", many, "--out", tmp_path / "run"]
    snrkit("train", *TOY, *argv).refused("settings")
    assert list(tmp_path.iterdir()) == []
