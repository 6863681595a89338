"""Settings as version 0.1.0 wrote them: what they become, that their runs keep their names, what contradicts itself."""

import pytest

from snrkit.errors import SpecError
from snrkit.specs.grid import expand, run_name
from snrkit.specs.run import RunSpec


def parsed(beta, options):
    return RunSpec.parse({"estimator": {"name": "ciwae", "K": 5, "options": options}, "beta": beta}, "test")


def new(**options):
    return RunSpec.parse({"estimator": {"name": "ciwae", "K": 5, "options": options}}, "test")


@pytest.mark.parametrize(
    ("beta", "options", "now", "name"),
    [
        ({"learn": "off", "lr": 0.001, "stages": []}, {}, {}, "f8233eb973"),
        ({"learn": "off"}, {"beta": 0.3}, {"beta": 0.3}, "e169dc0608"),
        ({"learn": "free"}, {"beta": 0.4}, {"beta": {"learn": "free", "start": 0.4}}, "9e22e6b1e4"),
        ({"learn": "bounded", "lr": 0.01, "stages": []}, {}, {"beta": {"learn": "bounded", "lr": 0.01}}, "3290da1648"),
        ({"stages": [0.2, 0.7], "lr": 0.001}, {}, {"beta": [0.2, 0.7]}, "b926d1bf7a"),
    ],
)
def test_a_table_beta_is_the_option_and_its_run_keeps_its_name(beta, options, now, name):
    old, found = parsed(beta, options), new(**now)
    assert old == found
    assert old.identity() == found.identity() == name
    assert RunSpec.from_toml(old.to_toml(), "text") == old
    assert "[beta]" not in old.to_toml()


def test_other_options_that_change_have_names_of_their_own_and_defaults_that_are_given_rename_none():
    found = [
        new(gamma=option).identity()
        for option in (0.5, [0.5], {"learn": "free"}, {"learn": "free", "start": 0.5}, {"learn": "bounded"})
    ]
    assert len(set(found)) == len(found)
    assert new(gamma={"learn": "free", "lr": 1e-3}).identity() == found[2]


def test_a_sweep_over_the_old_table_has_the_old_folders():
    text = {"estimator": {"name": "ciwae", "options": {"beta": 0.4}}, "grid": {"beta": {"learn": ["free", "bounded"]}}}
    names = [run_name(spec) for spec in expand(text, "test")]
    assert names == [f"digits-ciwae-beta0.4-M1-K64-seed0-{name}" for name in ("1f5f8d3d5a", "42768ea097")]


@pytest.mark.parametrize(
    ("beta", "options", "argument", "words"),
    [
        ({"lr": 0.5}, {}, "beta.lr", "nothing is learnt"),
        ({"stages": [0.5]}, {"beta": 0.5}, "beta.stages", "give estimator.options.beta alone"),
        ({"stages": [0.5], "learn": "free"}, {}, "beta.stages", "give estimator.options.beta alone"),
        ({"stages": 0.5}, {}, "beta.stages", "is no list"),
        ({"learn": "free"}, {"beta": [0.5]}, "beta.learn", "give estimator.options.beta alone"),
        ({"speed": 3}, {}, "beta.speed", "no such setting"),
        ({"learn": "free", "speed": 3}, {}, "estimator.options.beta.speed", "no such setting"),
        ({"learn": "sideways"}, {}, "estimator.options.beta.learn", "'free' or 'bounded'"),
        ({"learn": "free", "lr": 0}, {}, "estimator.options.beta.lr", "greater than 0"),
        (0.5, {}, "beta", "no such setting"),
    ],
)
def test_what_contradicts_itself_is_refused(beta, options, argument, words):
    with pytest.raises(SpecError, match=words) as caught:
        parsed(beta, options)
    assert caught.value.argument == argument


@pytest.mark.parametrize(
    ("option", "argument", "words"),
    [
        ([], "estimator.options.beta", "at least 1 item"),
        ([0.5, "x"], "estimator.options.beta.1", "valid number"),
        ({"lr": 0.1}, "estimator.options.beta.learn", "required"),
        ({"learn": "free", "start": float("nan")}, "estimator.options.beta.start", "finite"),
    ],
)
def test_an_option_of_no_form_is_refused_by_its_place(option, argument, words):
    with pytest.raises(SpecError, match=words) as caught:
        new(beta=option)
    assert caught.value.argument == argument
