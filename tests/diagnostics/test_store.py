"""Interrupted measurements go on where they stopped, bit for bit."""

import copy
import io
import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from snrkit import checksums
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.plan import Job, Plan
from snrkit.diagnostics.store import Store, fingerprint
from snrkit.diagnostics.worker import Worker
from snrkit.estimators.base import build_estimator
from snrkit.estimators.ciwae import Ciwae
from snrkit.interrupt import Interrupted
from snrkit.specs.measure import Execution
from snrkit.trial.statement import said_of
from tests.zoo import Users, images, mlp, toy, users

PLAN = Plan(
    estimators=("iwae", "dreg"),
    K=(2, 3),
    M=(1, 4),
    draws=12,
    seed=1,
    bias="bound",
    dsnr=True,
)


class After:
    """Asks for a stop at the n-th question."""

    def __init__(self, questions):
        self.left = questions

    def __call__(self):
        self.left -= 1
        return self.left < 0


@pytest.fixture
def folded(monkeypatch):
    """The draws of every block that was really drawn."""
    seen = []
    block = Worker.block

    def spy(self, job, draws):
        seen.append((job.estimator.name, job.K, draws.start))
        return block(self, job, draws)

    monkeypatch.setattr(Worker, "block", spy)
    return seen


def same(one, two):
    for name in ("table", "slopes", "comparisons", "kept"):
        a, b = (getattr(m, name).drop(columns="seconds", errors="ignore") for m in (one, two))
        pd.testing.assert_frame_equal(a, b, check_exact=True)
    return True


@pytest.fixture(scope="module")
def undisturbed():
    """What is measured at once."""
    return diagnose(*toy(dim=3), PLAN)


@pytest.mark.rest_slow
@pytest.mark.parametrize("stops", [[3], [1, 2, 3, 0, 20]])
def test_an_interrupted_measurement_ends_with_the_same_result(tmp_path, undisturbed, folded, stops):
    model, x = toy(dim=3)
    for questions in stops:
        try:
            partial = diagnose(model, x, PLAN, folder=tmp_path / "blocks", stop=After(questions))
        except Interrupted:
            continue
        assert not partial.complete
    finished = diagnose(model, x, PLAN, folder=tmp_path / "blocks")
    assert finished.complete
    assert same(finished, undisturbed)
    once = len(folded)
    assert len(set(folded)) == once  # no block was drawn twice
    assert same(diagnose(model, x, PLAN, folder=tmp_path / "blocks"), undisturbed)
    assert len(folded) == once  # nor are any, until the tables are said to be safe
    finished.settle()
    assert not (tmp_path / "blocks").exists()


def test_a_partial_result_says_so(tmp_path):
    model, x = toy(dim=3)
    plan = PLAN.replaced(bias="none", dsnr=False)
    found = diagnose(model, x, plan, folder=tmp_path / "blocks", stop=After(8))
    assert not found.complete
    by_job = found.table.groupby(["K", "estimator"])
    # Six blocks of two draws for the first job, two for the second, none for the others.
    assert by_job.draws.unique().map(list).to_dict() == {(2, "dreg"): [4], (2, "iwae"): [12]}
    assert by_job.complete.unique().map(list).to_dict() == {(2, "dreg"): [False], (2, "iwae"): [True]}
    first = diagnose(model, x, plan).table
    iwae = found.table[found.table.estimator == "iwae"].reset_index(drop=True)
    expected = first[(first.estimator == "iwae") & (first.K == 2)].reset_index(drop=True)
    pd.testing.assert_frame_equal(iwae.drop(columns="seconds"), expected.drop(columns="seconds"), check_exact=True)


@pytest.mark.rest_slow
@pytest.mark.parametrize("change", [{"mean_from": "dreg"}, {"bias": "bound"}, {"bias": "log_p", "K_ref": 7}])
@pytest.mark.parametrize("questions", [7, 10])
def test_a_stop_while_drawing_what_others_need(change, questions):
    """Draws that only lend a mean or a target may end before those that need them."""
    known, x = toy(dim=3)
    name = "iwae" if "mean_from" in change else "dreg"
    plan = Plan(estimators=(build_estimator(name, {}),), K=3, draws=12, **change)
    model = users() if "K_ref" in change else known
    with pytest.raises(Interrupted):
        diagnose(model, images() if "K_ref" in change else x, plan, stop=After(questions))


def test_a_stop_in_the_second_pass_keeps_what_the_moments_say():
    model, x = toy(dim=3)
    plan = Plan(estimators="iwae", K=3, draws=12, dsnr=True)
    found = diagnose(model, x, plan, stop=After(8))
    whole = diagnose(model, x, plan).table
    assert not found.complete
    assert not found.table.complete.any()
    assert set(whole.metric) - set(found.table.metric) == {"dsnr", "dsnr_in_sample"}


DAMAGE = {
    "empty": lambda content: b"",
    "junk": lambda content: b"junk",
    "truncated": lambda content: content[: len(content) // 2],
    "flipped": lambda content: content[:400] + bytes([content[400] ^ 255]) + content[401:],
    "array": lambda content: b"\x93NUMPY" + content,
}


@pytest.mark.rest_slow
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_block_is_drawn_again(tmp_path, folded, damage):
    model, x = toy(dim=3)
    plan = Plan(estimators="iwae", K=2, draws=12)
    undisturbed = diagnose(model, x, plan)
    diagnose(model, x, plan, folder=tmp_path, stop=After(4))
    files = sorted(tmp_path.iterdir())
    assert len(files) == 4
    for file in files[:2]:
        file.write_bytes(DAMAGE[damage](file.read_bytes()))
    folded.clear()
    assert same(diagnose(model, x, plan, folder=tmp_path), undisturbed)
    assert len(folded) == 2 + 2


@pytest.mark.slow
def test_blocks_belong_to_their_parameters_data_seed_and_settings(tmp_path, folded):
    def begun():
        model, x = users(), images()
        plan = Plan(estimators=(Ciwae(0.25),), K=2, draws=12)
        return model, x, plan

    diagnose(*begun(), folder=tmp_path, stop=After(5))
    folded.clear()
    diagnose(*begun(), folder=tmp_path, stop=After(1))
    assert len(folded) == 1  # five are there
    model, x, plan = begun()
    shifted, frozen, held = users(), users(), users()
    shifted.shift.data[0] += 1e-12
    frozen.frozen.data.fill_(1.5)
    held.shift.requires_grad_(False)
    other = images()
    other[0, 0] = 1 - other[0, 0]
    cases = {
        "parameter": (shifted, x, plan),
        "frozen parameter": (frozen, x, plan),
        "no longer trained": (held, x, plan),
        "data": (model, other, plan),
        "seed": (model, x, plan.replaced(seed=1)),
        "K": (model, x, plan.replaced(K=(3,))),
        "estimator": (model, x, plan.replaced(estimators=(Ciwae(0.25 + 1e-9),))),
        "direct": (model, x, plan.replaced(direct=True)),
        "nested": (model, x, plan.replaced(K=(2, 4), nested=True)),
        "engine": (model, x, plan.replaced(how=Execution(engine="loop"))),
        "precision": (users().float(), x, plan),
    }
    for name, case in cases.items():
        folded.clear()
        diagnose(*case, folder=tmp_path, stop=After(2))
        assert len(folded) == 2, name


class Tempered(Users):
    """A model with a setting that is no tensor."""

    temperature = 1.0

    def log_joint(self, x, z):
        return super().log_joint(x, z) / self.temperature


class Renamed(Tempered):
    """The same by another name."""


@pytest.mark.slow
def test_blocks_belong_to_what_the_model_says_and_to_its_class(tmp_path, folded):
    def made(kind, temperature=1.0):
        model = kind().double()
        model.load_state_dict(users().state_dict())
        model.temperature = temperature
        return model

    plan = Plan(estimators="iwae", K=2, draws=12)
    diagnose(made(Tempered), images(), plan, folder=tmp_path, stop=After(5))
    for model, drawn in ((made(Tempered), 1), (made(Tempered, 1.001), 2), (made(Renamed), 2)):
        folded.clear()
        diagnose(model, images(), plan, folder=tmp_path, stop=After(drawn))
        assert len(folded) == drawn
    hot = made(Tempered, 4.0)
    assert same(diagnose(hot, images(), plan, folder=tmp_path), diagnose(hot, images(), plan))


class Held(Users):
    """A setting that shows in derivatives alone."""

    held = False

    def log_joint(self, x, z):
        return super().log_joint(x, z.detach() if self.held else z)


@pytest.mark.slow
def test_blocks_belong_to_the_derivatives_too(tmp_path, folded):
    def made(held):
        model = Held().double()
        model.load_state_dict(users().state_dict())
        model.held = held
        return model

    plan = Plan(estimators="iwae", K=2, draws=12)
    diagnose(made(False), images(), plan, folder=tmp_path, stop=After(5))
    folded.clear()
    assert same(diagnose(made(True), images(), plan, folder=tmp_path), diagnose(made(True), images(), plan))


@pytest.mark.slow
def test_blocks_belong_to_the_number_of_draws_by_which_an_engine_is_chosen(tmp_path, folded):
    """Ten draws are too few to find out what factors reach; of twelve the first ten fall into the same blocks."""
    model, x = mlp(dtype=torch.float32), images(dtype=torch.float32)
    few, more = (Plan(estimators="iwae", K=2, draws=draws) for draws in (10, 12))
    diagnose(model, x, few, folder=tmp_path)  # not settled
    assert same(diagnose(model, x, more, folder=tmp_path), diagnose(model, x, more))


def test_rounding_does_not_change_what_a_model_says():
    model, x = mlp(dtype=torch.float32), images(dtype=torch.float32)
    same_sums = copy.deepcopy(model).double()
    assert str(said_of(model, x)) == str(said_of(same_sums, x.double()))


def test_the_end_takes_away_nothing_but_its_own_blocks(tmp_path, folded):
    model, x = toy(dim=3)
    plan = Plan(estimators="iwae", K=2, draws=12)
    (tmp_path / "mine.npz").write_bytes(b"mine")
    diagnose(model, x, plan, folder=tmp_path, stop=After(3))
    theirs = set(tmp_path.iterdir())
    other = plan.replaced(seed=5)
    diagnose(model, x, other, folder=tmp_path, stop=After(3))
    for block in set(tmp_path.iterdir()) - theirs:
        (tmp_path / f".{block.name}.x.tmp.npz").write_bytes(b"left by a killed process")
    diagnose(model, x, other, folder=tmp_path).settle()
    assert set(tmp_path.iterdir()) == theirs
    folded.clear()
    diagnose(model, x, plan, folder=tmp_path).settle()
    assert len(folded) == 3  # of six
    assert [file.name for file in tmp_path.iterdir()] == ["mine.npz"]


def test_numpy_counts_name_the_same_blocks_as_plain_ones(tmp_path):
    plain, strange = (Plan(estimators="iwae", K=K, draws=40) for K in ((2, 3), tuple(np.array([2, 3, 2]))))
    assert plain == strange
    assert Store(tmp_path, "a").file(Job(strange.estimators[0], 1, strange.K[0], False, 1, 40), range(2))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_fingerprints_of_any_precision_and_shape(dtype):
    tensors = [("a", torch.ones(2, 3, dtype=dtype).T), ("b", torch.zeros((), dtype=dtype))]
    x = torch.zeros(2, dtype=dtype)
    one = fingerprint(tensors, x)
    assert one == fingerprint(tensors, x)
    assert one != fingerprint(tensors, x, "label")
    assert one != fingerprint(tensors[::-1], x)
    assert one != fingerprint([("a", tensors[0][1]), ("b", tensors[1][1] + 1)], x)
    pair = fingerprint(tensors, (x, x.long()))
    assert len({one, pair, fingerprint(tensors, (x.long(), x)), fingerprint(tensors, {"a": x, "b": x.long()})}) == 4


def of_block(change):
    """Damage that a checksum does not find: a block written whole, with other numbers in it."""

    def damage(file):
        with np.load(file) as content:
            arrays = change({name: content[name].copy() for name in content.files})
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        file.write_bytes(checksums.seal_zip(buffer.getvalue()))

    return damage


def put(name, index, value):
    def change(arrays):
        arrays[name][index] = value
        return arrays

    return of_block(change)


UNSOUND = {
    "NaN": put("mean", 0, np.nan),
    "infinity": put("points", (0, 0, 0), np.inf),
    "negative variance": put("variance", 1, -1e-9),
    "negative norm": put("points", (0, 0, 2), -1.0),
    "shorter": of_block(lambda a: a | {"mean": a["mean"][:-1], "variance": a["variance"][:-1]}),
    "other shapes": of_block(lambda a: a | {"variance": a["variance"][:-1]}),
    "a column": of_block(lambda a: a | {"mean": a["mean"][:, None], "variance": a["variance"][:, None]}),
    "float32": of_block(lambda a: a | {"mean": a["mean"].astype("float32")}),
    "integers": of_block(lambda a: a | {"mean": a["mean"].astype(int)}),
    "fewer tensors": of_block(lambda a: a | {"points": a["points"][:, 1:]}),
    "no points": of_block(lambda a: a | {"points": a["points"][:0]}),
    "missing": of_block(lambda a: {"mean": a["mean"], "variance": a["variance"]}),
    "no checksum": lambda file: np.savez(file, **dict(np.load(file))),
}


@pytest.mark.rest_slow
@pytest.mark.parametrize("damage", UNSOUND)
def test_a_block_that_cannot_be_is_drawn_again(tmp_path, folded, damage):
    model, x = toy(dim=3)
    plan = Plan(estimators="iwae", K=2, draws=12)
    undisturbed = diagnose(model, x, plan)
    diagnose(model, x, plan, folder=tmp_path, stop=After(4))
    for file in sorted(tmp_path.iterdir())[:2]:
        UNSOUND[damage](file)
    folded.clear()
    assert same(diagnose(model, x, plan, folder=tmp_path), undisturbed)
    assert len(folded) == 2 + 2


def test_two_processes_share_a_folder(tmp_path):
    """One settles while the other is at work: nothing is lost but draws."""
    model, x = toy(dim=3)
    plan = Plan(estimators="iwae", K=2, draws=12)
    first = diagnose(model, x, plan, folder=tmp_path / "blocks")
    count = itertools.count()

    def meanwhile():
        if next(count) == 2:
            first.settle()
        return False

    other = plan.replaced(K=(3,))
    found = diagnose(model, x, other, folder=tmp_path / "blocks", stop=meanwhile)
    assert same(found, diagnose(model, x, other))
    found.settle()
    assert not (tmp_path / "blocks").exists()
