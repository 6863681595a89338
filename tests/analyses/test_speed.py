"""The benchmark's sections at a size that means nothing, the visit that runs them in time, and checkouts compared."""

import re
import time
from types import SimpleNamespace

import pandas as pd
import pytest

from analyses.speed import against, visit
from analyses.speed.run import SECTIONS, main
from analyses.speed.sections import crews
from analyses.speed.sections.sizes import _CPU, _CUDA
from analyses.speed.sections.timing import MOST_CALLS, interleaved, paced

NO_TIMES = ["rounds repeated", "beside it, µs"]
QUICK = ("engines", "measure", "training", "evaluation", "ensembles", "agreement", "losses", "fleet")


@pytest.mark.slow
@pytest.mark.parametrize("section", QUICK)
def test_a_section_runs_on_a_processor_in_little_time(section, tmp_path, capsys):
    main([section, "--quick", "--out", str(tmp_path)])
    (table,) = (tmp_path / "results").glob(f"*/{section}.csv")
    # What a draw takes beside a bare pass is a difference of two times, which may be on either side of nothing.
    counts_and_times = pd.read_csv(table).select_dtypes("number").drop(columns=NO_TIMES, errors="ignore")
    assert len(counts_and_times) >= 1
    assert (counts_and_times.min() > 0).all()
    assert f"### {section}" in (tmp_path / "RESULTS.md").read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_monitored_training_is_the_same_to_the_bit_by_every_library_at_hand(tmp_path):
    main(["monitoring", "--quick", "--out", str(tmp_path)])
    (table,) = (tmp_path / "results").glob("*/monitoring.csv")
    found = pd.read_csv(table)
    assert set(found["the same to the bit"]) == {"yes"}
    assert (found["measurements"] >= 1).all()


def test_quick_numbers_are_not_kept_beside_the_real_ones():
    with pytest.raises(SystemExit, match="--out"):
        main(["engines", "--quick"])


def test_every_part_of_a_visit_is_there_and_has_time_to_begin():
    assert {part.name for part in visit.PARTS} - {"tests"} <= set(SECTIONS)
    assert all(part.most_s >= visit._LEAST_S for part in visit.PARTS)


def part(name, code, most_s=30.0):
    return visit.Part(name, ("-c", code), most_s)


@pytest.mark.slow
def test_a_visit_ends_what_takes_too_long_goes_on_and_keeps_what_was_printed(tmp_path, monkeypatch):
    monkeypatch.setattr(visit, "_LEAST_S", 1.0)
    # A grandchild must not outlive its part, nor keep the visit waiting.
    hanging = "import subprocess, sys; print('begun'); subprocess.run(['sleep', '60'])"
    parts = [part("slow", hanging, 8.0), part("bad", "print(1); raise SystemExit(3)"), part("good", "print('fine')")]
    start = time.monotonic()
    outcomes = visit.carry_out(parts, 60, tmp_path)
    assert time.monotonic() - start < 30
    assert [re.sub(r" \d+ s$", "", outcome) for outcome in outcomes.values()] == ["ended after", "failed in", "done in"]
    assert {path.name: path.read_text() for path in tmp_path.glob("*.txt")} == {
        "slow.txt": "begun\n", "bad.txt": "1\n", "good.txt": "fine\n",
    }  # fmt: skip
    assert (tmp_path / "RESULTS.md").exists()


def test_a_visit_leaves_out_what_there_is_no_time_for(tmp_path):
    outcomes = visit.carry_out([part("late", "print(1)")], visit._LEAST_S, None)
    assert outcomes == {"late": "left out: no time"}


def test_a_visit_says_by_its_exit_code_whether_all_was_done(monkeypatch, capsys):
    for code, expected in (("pass", 0), ("raise SystemExit(1)", 1)):
        monkeypatch.setattr(visit, "PARTS", (part("only", code),))
        with pytest.raises(SystemExit) as stopped:
            visit.main(["--minutes", "1"])
        assert stopped.value.code == expected


def test_a_call_is_paced_by_its_own_speed_and_never_beyond_what_is_wanted():
    made = []

    def make(items):
        made.append(items)
        return lambda: time.sleep(0.002 * items)

    _, items = paced(make, 2, 0.1, 1000)
    assert items % 2 == 0
    assert 2 <= items <= 50
    assert paced(make, 4, 0.1, 6)[1] == 4


@pytest.mark.parametrize(("sizes", "points"), [(_CUDA, 60_000), (_CPU, 10_000)])
def test_an_epoch_of_the_benchmark_has_room_for_rounds_that_are_all_repeated(sizes, points):
    """A step beyond it has no points, and on CUDA no row in the table of bounds."""
    assert sizes.steps * MOST_CALLS * crews.BATCH <= points


def test_steps_that_no_epoch_has_room_for_are_refused():
    crew = SimpleNamespace(steps=2 * MOST_CALLS - 1)
    with pytest.raises(ValueError, match="give images"):
        crews.steps([crew], 2)


def test_rounds_end_with_the_time():
    found = interleaved({"nap": (lambda: time.sleep(0.05), 1)}, within=0.0)
    assert found["nap"].rounds == 1
    assert found["nap"].median == pytest.approx(50, rel=0.5)


@pytest.mark.slow
def test_a_checkout_is_compared_with_another(capsys):
    against.main([str(visit.ROOT), "readings", "--rounds", "1", "--seconds", "0"])
    row = capsys.readouterr().out.splitlines()[-1].split(" | ")
    assert row[0] == "| readings"
    assert float(row[3]) > 0


def test_a_folder_without_snrkit_is_no_checkout(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        against.main([str(tmp_path)])
    assert stopped.value.code == 2
    assert "holds no snrkit" in capsys.readouterr().err
