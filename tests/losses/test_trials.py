"""What strangers brought takes a line or two by now, and reads as a plain loop does."""

import runpy

import pytest

from tests.docs.pages import ROOT

TRIALS = runpy.run_path(str(ROOT / "examples" / "trials.py"))


@pytest.mark.rest_slow
@pytest.mark.parametrize("case", TRIALS["CASES"], ids=lambda case: case.__name__)
def test_a_case_reads_as_a_plain_loop(case):
    for reading, value, errors in TRIALS["held_against"](case()).values():
        assert errors < 4, (reading, value)


def test_none_takes_more_than_two_lines():
    generated = runpy.run_path(str(ROOT / "docs" / "hooks" / "generated.py"))
    written = generated["trials"]()
    assert len(written) == len(TRIALS["CASES"]) >= 16
    assert {len(lines) for _, lines in written} == {1, 2}
    assert all(any("snrkit." in line for line in lines) for _, lines in written)
    assert "snrkit.measure_loss(loss, model, x, draws=DRAWS)" in generated["filled"]("<!-- generated: trials -->")
