"""Blocks that workers keep themselves, where they see the folder of the one who asks."""

import os
from concurrent.futures import Future
from pathlib import Path

import pytest

from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.plan import Plan
from snrkit.diagnostics.store import Store
from snrkit.fleet import dispatch, orders, shared
from snrkit.fleet.elsewhere import Elsewhere
from snrkit.fleet.fleet import Fleet
from snrkit.fleet.shared import SharedFolder, put, taken
from snrkit.specs.measure import Execution
from tests.fleet.test_measuring import same
from tests.zoo import toy

PLAN = Plan(estimators="iwae", K=2, draws=12, how=Execution(threads=1))


def test_what_a_worker_sees_it_puts_there(tmp_path):
    own = SharedFolder(tmp_path / "blocks")
    spot = own.spot(tmp_path / "blocks" / "one.npz")
    assert put(spot, b"content")
    assert taken(spot) == b"content"
    own.end()
    assert [path.name for path in (tmp_path / "blocks").iterdir()] == ["one.npz"]
    assert not put(own.spot(tmp_path / "blocks" / "late.npz"), b"content")  # nobody asks for it any more
    (tmp_path / "blocks" / "one.npz").unlink()
    SharedFolder(tmp_path / "blocks").end()
    assert not (tmp_path / "blocks").exists()


def test_the_first_that_ends_takes_nothing_from_the_others(tmp_path):
    folder = tmp_path / "blocks"
    one, other = SharedFolder(folder), SharedFolder(folder)
    (folder / ".seen-killed").write_bytes(b"of a process that was killed")
    (folder / ".block-old.npz.x.tmp.npz").write_bytes(b"half of a block")
    (folder / ".block-new.npz.x.tmp.npz").write_bytes(b"a block that another machine may be writing")
    os.utime(folder / ".block-old.npz.x.tmp.npz", (0, 0))
    one.end()
    Store(folder, "").clear()
    assert put(other.spot(folder / "late.npz"), b"content")
    assert len(list(folder.glob(".seen-*"))) == 1
    assert [path.name for path in folder.glob(".block-*")] == [".block-new.npz.x.tmp.npz"]
    (folder / "late.npz").unlink()
    (folder / ".block-new.npz.x.tmp.npz").unlink()
    other.end()
    assert not folder.exists()


def test_another_folder_of_the_same_name_is_not_taken_for_it(tmp_path):
    spot = SharedFolder(tmp_path / "blocks").spot(tmp_path / "blocks" / "one.npz")
    Path(spot.proof).write_bytes(b"another machine's")
    assert not put(spot, b"content")
    Path(spot.proof).unlink()
    assert not put(spot, b"content")
    assert taken(spot) is None


def test_a_place_that_cannot_be_written_is_left_alone(tmp_path):
    spot = SharedFolder(tmp_path / "blocks").spot(tmp_path / "blocks" / "one.npz")
    (tmp_path / "blocks" / "one.npz").mkdir()
    assert not put(spot, b"content")
    assert {path.name for path in (tmp_path / "blocks").iterdir()} == {Path(spot.proof).name, "one.npz"}


@pytest.fixture(scope="module")
def alone():
    return diagnose(*toy(dim=3), PLAN)


def measured(processes, folder):
    return diagnose(*toy(dim=3), PLAN, elsewhere=Elsewhere(Fleet(processes.hands, "cloudpickle")), folder=folder)


def test_workers_keep_blocks_and_send_word(tmp_path, processes, alone, monkeypatch):
    sent, taking = [], dispatch.Dispatch._take

    def spied(self, key, task, answer):
        if key[0] == "block":
            sent.append(answer)
        taking(self, key, task, answer)

    monkeypatch.setattr(dispatch.Dispatch, "_take", spied)
    found = measured(processes, tmp_path / "blocks")
    assert same(found, alone)
    assert [(answer.put, answer.content) for answer in sent] == [(True, None)] * 6
    names = {path.name for path in (tmp_path / "blocks").iterdir()}
    assert len(names) == 6
    assert all(name.startswith("block-") for name in names)  # no proof, nothing half written
    monkeypatch.setattr(Store, "save", lambda *_: pytest.fail("a block was drawn again"))
    assert same(diagnose(*toy(dim=3), PLAN, folder=tmp_path / "blocks"), alone)
    found.settle()
    assert not (tmp_path / "blocks").exists()


@pytest.mark.parametrize("how", ["not seen", "read late", "damaged"])
def test_storage_that_does_not_show_what_was_put_costs_nothing_but_time(tmp_path, processes, alone, monkeypatch, how):
    if how == "not seen":
        monkeypatch.setattr(SharedFolder, "spot", lambda self, file: shared.Spot(str(file), "/nowhere/at/all", b""))
    else:
        monkeypatch.setattr(dispatch, "taken", lambda _: None if how == "read late" else b"PK half a block")
    found = measured(processes, tmp_path / "blocks")
    assert same(found, alone)
    assert len(list((tmp_path / "blocks").glob("block-*.npz"))) == 6


def test_a_block_that_was_half_written_is_never_read(tmp_path, processes, alone):
    measured(processes, tmp_path / "blocks")
    block = next((tmp_path / "blocks").glob("block-*.npz"))
    half = block.with_name(f".{block.name}.killed.tmp.npz")
    half.write_bytes(block.read_bytes()[:100])
    block.unlink()
    found = measured(processes, tmp_path / "blocks")
    assert same(found, alone)
    found.settle()
    assert not (tmp_path / "blocks").exists()


def test_all_is_sent_back_once_a_file_was_not_seen():
    class Putting:
        machine, workers = orders.Machine.here(), 1

        def __init__(self):
            self.asked = []

        def submit(self, given, cargos, missing=()):
            self.asked += [order.spot is not None for order in given]
            found = Future()
            found.set_result(
                tuple(orders.Answer(put=True) if order.spot else orders.Answer(b"sent") for order in given)
            )
            return found

    spot = shared.Spot("/nowhere/file", "/nowhere/proof", b"")
    every = {n: dispatch.Task("snrkit.fleet.orders:nothing", (), (), bytes, spot=spot) for n in range(6)}
    hands = Putting()
    work = dispatch.Dispatch(hands, 1, "", lambda: False)
    work.expect(every.items())
    assert [work.result(n, task) for n, task in every.items()] == [b"sent"] * 6
    assert hands.asked.count(True) == 2  # those that were at work together
