"""What measure takes for each argument, and what it refuses in one sentence of ours."""

import inspect

import numpy as np
import pandas as pd
import pytest
import torch

import snrkit
from snrkit.diagnostics.beta_curve import beta_curve
from snrkit.diagnostics.plan import Plan, chosen
from snrkit.errors import ResourceError, SpecError
from snrkit.estimators.base import build_estimator
from snrkit.estimators.iwae import Iwae
from snrkit.specs.given import counts, names
from tests.zoo import toy

IWAE, VAE = build_estimator("iwae", {}), build_estimator("vae", {})


def measured(**changes):
    model, x = toy(dim=2)
    return snrkit.measure(model, x, **{"estimators": ["iwae"], "K": [2], "draws": 4, "seed": 0} | changes)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("iwae", (IWAE,)), (IWAE, (IWAE,)), (["iwae", VAE], (IWAE, VAE)), (("vae", "vae"), (VAE,)),
        ({"vae", "iwae"}, (IWAE, VAE)), ((name for name in ("iwae",)), (IWAE,)), (np.array(["iwae", "vae"]), (IWAE, VAE)),
        (pd.Series(["vae"]), (VAE,)), ({"iwae": 1}.keys(), (IWAE,)), (frozenset([IWAE]), (IWAE,)),
    ],
)  # fmt: skip
def test_estimators(given, found):
    assert chosen(given) == found


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (10, (10,)), ([1, 10], (1, 10)), (1e3, (1000,)), (np.int64(7), (7,)), (np.array([5, 2, 5]), (5, 2)),
        (np.array(5), (5,)), (torch.tensor([3, 1]), (3, 1)), (torch.tensor(4), (4,)), ({10, 1}, (1, 10)),
        (range(1, 4), (1, 2, 3)), ((k for k in (2, 3)), (2, 3)), (np.float32(8), (8,)), (pd.Series([6]), (6,)),
        (2**63 - 1, (2**63 - 1,)),
    ],
)  # fmt: skip
def test_counts(given, found):
    assert counts("K", given) == found
    assert all(type(value) is int for value in counts("K", found))


NOTHING = [None, [], (), set(), iter(()), np.array([])]


@pytest.mark.parametrize(
    "given", [*NOTHING, 3, {"iwae": 1}, b"iwae", [None], [3], [Iwae], Iwae, [["iwae"]], "", object()]
)
def test_estimators_refused(given):
    with pytest.raises(SpecError, match=r"^estimators?: "):
        chosen(given)


@pytest.mark.parametrize(
    "given",
    [
        *NOTHING, 0, -3, 10**30, 2**63, True, [True], [False], 1.5, float("nan"), float("inf"), "10", [b"1"], ["1"], [None],
        1 + 0j, np.array([[1, 2]]), np.array([1.5]), np.bool_(True), torch.tensor([True]), torch.tensor([1.5]), [[1]],
        {1: 2}, object(), [10**30],
    ],
)  # fmt: skip
def test_counts_refused(given):
    with pytest.raises(SpecError, match=r"^K: "):
        counts("K", given)


def test_names_of_blocks():
    assert names("blocks", "all") == ("all",)
    assert names("blocks", ["inference", "all", "all"]) == ("inference", "all")
    for given in (*NOTHING, 3, [3], [None], "", [""], {"all": 1}):
        with pytest.raises(SpecError, match=r"^blocks: "):
            names("blocks", given)


@pytest.mark.parametrize(
    ("argument", "given"),
    [
        ("K", 10**30), ("K", None), ("M", True), ("M", []), ("estimators", None), ("blocks", []), ("blocks", 3),
        ("draws", 10**30), ("draws", 3), ("draws", None), ("draws", "100"), ("draws", True), ("draws", 7.5),
        ("seed", -1), ("seed", 2**63), ("seed", None), ("seed", "0"), ("seed", 0.5), ("engine", None), ("engine", ["vmap"]),
        ("engine", "vmpa"), ("direct", "no"), ("direct", None), ("direct", 1), ("chunk", 0), ("chunk", 10**30),
        ("chunk", "many"), ("progress", 5), ("threads", 0), ("threads", True), ("threads", "two"), ("threads", 10**30),
        ("executor", 3), ("executor", "processes"), ("send", "pickle"), ("send", None),
    ],
)  # fmt: skip
def test_measure_refuses_in_one_sentence(argument, given):
    with pytest.raises(SpecError, match=f"^{argument}") as caught:
        measured(**{argument: given})
    assert str(caught.value).count(";") >= 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "given"),
    [("bias", ["bound"]), ("bias", None), ("mean_from", 3), ("dsnr", "no"), ("nested", 1)],
)
def test_plan_refuses(option, given):
    with pytest.raises(SpecError):
        Plan(estimators=IWAE, K=2, **{option: given})


def test_draws_that_no_memory_accounts_for():
    with pytest.raises(ResourceError, match=r"^draws: accounts of 1,000,000,000,000,000 draws"):
        Plan(estimators=IWAE, K=2, draws=10**15)


def test_an_estimator_that_cannot_be_hashed():
    class Mine(Iwae):
        __hash__ = None

    with pytest.raises(SpecError, match="frozen dataclass"):
        chosen([Mine()])


def test_one_name_and_one_number_are_lists_of_one():
    plain = measured().drop(columns="seconds")
    for changes in (
        {"estimators": "iwae", "K": 2, "M": 1},
        {"estimators": {IWAE}, "K": np.array([2.0]), "M": torch.tensor(1)},
    ):
        pd.testing.assert_frame_equal(measured(**changes).drop(columns="seconds"), plain)
    one, several = (measured(blocks=blocks).drop(columns="seconds") for blocks in ("inference", ["inference"]))
    pd.testing.assert_frame_equal(one, several)
    assert "generative" not in set(one.block)


def test_endless_iterables_end():
    def forever():
        k = 0
        while True:
            yield (k := k + 1)

    with pytest.raises(SpecError, match="100,000 is the most"):
        Plan(estimators=IWAE, K=forever())


@pytest.mark.rest_slow
@pytest.mark.parametrize("betas", [None, [], 0.5, ["x"], [2], [float("nan")], [None]])
def test_betas(betas):
    model, x = toy(dim=2)
    with pytest.raises(SpecError, match=r"^betas"):
        beta_curve(model, x, 3, betas, draws=4)
    curve = beta_curve(model, x, 3, np.array([0.0, 1.0]), draws=8)
    assert sorted(curve.table.beta.unique()) == [0, 1]


def test_every_argument_of_measure_is_tried():
    tried = {"K", "M", "estimators", "blocks", "draws", "seed", "engine", "direct", "chunk", "progress"}
    tried |= {"threads", "executor", "send"}
    # The model and the data are tried elsewhere.
    assert set(inspect.signature(snrkit.measure).parameters) - {"model", "x", "mode"} == tried
