"""Names of other packages beside our own."""

import subprocess
import sys

import pytest

from snrkit import registry
from snrkit.errors import CapabilityError, SpecError
from snrkit.estimators import ESTIMATORS
from snrkit.estimators.iwae import Iwae
from snrkit.registry import Registry, makers, plugins
from snrkit.report.style import ESTIMATORS as STYLES
from snrkit.report.style import estimator_label, estimator_style
from tests.support.plugin import install

OURS = {"iwae": "snrkit.estimators.iwae:Iwae"}
OWN = "from snrkit.estimators.iwae import Iwae\nclass Mine(Iwae):\n    name = 'mine'\n"


def estimators(what="snrkit.estimators.base:Estimator"):
    return Registry("estimator", OURS, "snrkit.estimators", what)


def test_names_are_ours_and_then_those_of_other_packages_which_are_not_imported(site):
    entries = {"mine": "own_estimators:Mine", "broken": "broken_estimators:Any"}
    install(
        site, "own-estimators", "1.2", {"snrkit.estimators": entries}, own_estimators=OWN, broken_estimators="1 / 0"
    )
    assert estimators().names == ["iwae", "broken", "mine"]
    estimators().require("mine")
    assert not {"own_estimators", "broken_estimators"} & set(sys.modules)
    assert estimators().load("mine").name == "mine"
    assert issubclass(estimators().load("mine"), Iwae)


def test_a_package_that_cannot_be_imported_is_named(site):
    install(
        site, "no-good", "1.0", {"snrkit.estimators": {"mine": "no_good:Any", "gone": "nowhere:Any"}}, no_good="1 / 0"
    )
    with pytest.raises(
        CapabilityError, match=r"'mine' of no-good cannot be imported \(ZeroDivisionError: .*uninstall it"
    ):
        estimators().load("mine")
    with pytest.raises(CapabilityError, match=r"'gone' of no-good cannot be imported \(ModuleNotFoundError"):
        estimators().load("gone")


@pytest.mark.parametrize("attribute", ["text", "dict", "Iwae"])
def test_what_is_no_estimator_or_has_another_name_is_refused(site, attribute):
    source = (
        f"from snrkit.estimators.iwae import Iwae\ntext = 'a string'\n{'dict = dict' if attribute == 'dict' else ''}"
    )
    install(site, "own", "1.0", {"snrkit.estimators": {"mine": f"own:{attribute}"}}, own=source)
    why = "calls itself 'iwae'" if attribute == "Iwae" else "is no Estimator"
    with pytest.raises(CapabilityError, match=f"'mine' of own {why}"):
        estimators().load("mine")


def test_one_name_in_two_packages_is_refused_by_the_names_of_both(site):
    install(site, "first", "1.0", {"snrkit.estimators": {"mine": "own:Mine"}}, own=OWN)
    install(site, "second", "1.0", {"snrkit.estimators": {"mine": "own:Mine"}})
    with pytest.raises(SpecError, match="'mine' is a name in two packages, first and second; uninstall second"):
        estimators().load("mine")


def test_a_name_of_ours_is_refused_to_others(site):
    install(site, "third", "1.0", {"snrkit.estimators": {"iwae": "own:Mine"}}, own=OWN)
    for use in (lambda: estimators().names, lambda: estimators().load("unknown")):
        with pytest.raises(SpecError, match="'iwae' is a name in two packages, snrkit and third"):
            use()
    assert estimators().load("iwae") is Iwae  # what is ours stays so


def test_groups_do_not_mix(site):
    install(
        site, "own", "1.0", {"snrkit.models": {"mine": "own:Mine"}, "other.estimators": {"mine": "own:Mine"}}, own=OWN
    )
    assert estimators().names == ["iwae"]
    with pytest.raises(SpecError, match="unknown estimator 'mine'; choose from iwae"):
        estimators().load("mine")
    assert Registry("sheet", OURS).names == ["iwae"]


def test_what_is_ours_is_found_without_looking_at_what_is_installed(monkeypatch):
    monkeypatch.setattr(registry, "_installed", lambda _: pytest.fail("looked"))
    ESTIMATORS.require("iwae")
    assert ESTIMATORS.load("iwae") is Iwae
    assert makers(Iwae(), Iwae) == []


def test_help_does_not_look_at_what_is_installed():
    script = (
        "import sys; from snrkit.cli.main import main; main(['--help']); print('importlib.metadata' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "False"


def test_a_plugin_is_known_by_version_and_source(site):
    install(site, "own", "1.0", {"snrkit.estimators": {"mine": "own:Mine"}}, own=OWN)
    (plugin,) = plugins()
    assert (plugin.name, plugin.version, plugin.modules) == ("own", "1.0", {"own"})
    assert (plugins("snrkit.estimators"), plugins("snrkit.figures")) == ([plugin], [])
    mine = estimators().load("mine")
    before = makers(mine())
    assert before == makers(mine) == [plugin.identity]
    (site / "own.py").write_text(f"{OWN}# changed\n")
    registry.source_digest.cache_clear()
    assert makers(mine()) != before


def test_estimators_of_others_have_a_style_by_their_name():
    assert estimator_style("iwae") == STYLES["iwae"]
    assert estimator_label("tempered", "power=0.5") == "tempered (power = 0.5)"
    styles = {estimator_style(name)[:2] for name in ("tempered", "other", "mine", "yours")}
    assert len(styles) == 4
    assert estimator_style("tempered") == ("#54931f", "<", "tempered")  # the same on every day and machine
