"""What a sweep file means, and what is wrong with one."""

import tomllib

import pytest

from snrkit.errors import SpecError
from snrkit.specs.grid import expand, run_name


def runs(text):
    return expand(tomllib.loads(text), "grid.toml")


def test_settings_alone_are_one_run():
    (spec,) = runs('epochs = 3\nestimator = {name = "vae"}')
    assert (spec.epochs, spec.estimator.name) == (3, "vae")


def test_every_combination_the_last_axis_fastest():
    specs = runs("epochs = 3\n[grid]\nseed = [0, 1]\nestimator.K = [2, 5, 9]\nmodel.options.hidden = [[4, 4], [7]]")
    found = [(spec.seed, spec.estimator.K, tuple(spec.model.options["hidden"])) for spec in specs]
    assert found == [(s, K, h) for s in (0, 1) for K in (2, 5, 9) for h in ((4, 4), (7,))]
    assert {spec.epochs for spec in specs} == {3}


def test_runs_set_things_together_and_cross_with_the_grid():
    specs = runs(
        'estimator = {M = 3}\n[grid]\nseed = [0, 1]\n'
        '[[runs]]\nestimator = {name = "miwae", K = 8}\n[[runs]]\nestimator = {name = "iwae", M = 1, K = 64}'
    )  # fmt: skip
    found = [(spec.seed, spec.estimator.name, spec.estimator.M, spec.estimator.K) for spec in specs]
    assert found == [(s, *e) for s in (0, 1) for e in (("miwae", 3, 8), ("iwae", 1, 64))]


def test_quoted_keys_are_the_same():
    assert runs('[grid]\n"estimator.K" = [1, 2]') == runs("[grid]\nestimator.K = [1, 2]")


def test_names_say_what_and_are_distinct():
    specs = runs('[grid]\nseed = [0, 1]\nestimator.options.beta = [0.3, 0.5]\n[[runs]]\nestimator = {name = "ciwae"}')
    names = [run_name(spec) for spec in specs]
    assert len(set(names)) == 4
    assert names[0] == f"digits-ciwae-beta0.3-M1-K64-seed0-{specs[0].identity()}"
    (other,) = runs('model = {name = "gaussian"}')
    assert run_name(other) == f"digits-gaussian-iwae-M1-K64-seed0-{other.identity()}"
    # How long a run goes on is not what it is.
    assert run_name(specs[0].model_copy(update={"epochs": 7})) == names[0]


@pytest.mark.parametrize(
    ("text", "argument", "words"),
    [
        ("[grid]\nseeds = [0, 1]", "seeds", "no such setting"),
        ("[grid]\nestimator.k = [1]", "estimator.k", "no such setting"),
        ("epoch = 3", "epoch", "no such setting"),
        ('[[runs]]\nestimator = {nme = "vae"}', "estimator.nme", "no such setting"),
        ("[grid]\nseed = 3", "grid.seed", "is no list of values, got 3"),
        ("[grid]\nseed = []", "grid.seed", "is no list"),
        ("[grid]\nseed = [0, -1]", "seed", "greater than or equal to 0"),
        ("grid = 3", "grid", "is not a table"),
        ("runs = {seed = 3}", "runs", r"write \[\[runs\]\]"),
        ("runs = []", "runs", "is empty"),
        ("[grid]\nseed = [0]\n[[runs]]\nseed = 1\n[[runs]]\nseed = 2", "grid.seed", "set again by every one"),
        ("[grid]\nestimator.M = [2]\n[[runs]]\nestimator = 3", "grid.estimator.M", "set again by every one"),
        ("[grid]\nseed = [0, 1, 0]", "grid.toml", "runs 1 and 3 are both digits-iwae"),
        ("[grid]\nepochs = [3, 4]", "grid.toml", "runs 1 and 2 are both"),
        ("seed = 2\n[grid]\nseed.a = [1]", "seed.a", "'seed' is a value"),
    ],
)
def test_bad_grids(text, argument, words):
    with pytest.raises(SpecError, match=words) as caught:
        runs(text)
    assert caught.value.argument == argument
