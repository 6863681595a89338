"""One process per GPU, as far as a machine without any can tell: what each sees, and that all are of one kind."""

import os

import pytest
import torch
from torch import nn

from snrkit.errors import SpecError
from snrkit.fleet.hands import Processes, devices
from snrkit.fleet.models import packed, unpacked

SEEN = {
    "numbers": ("2,0", ["2", "0"]),
    "names": (" GPU-5a , MIG-7b", ["GPU-5a", "MIG-7b"]),
    "none": ("", []),
    "none at all": ("-1", []),
    "what follows one that is none": ("1,-1,0", ["1"]),
    "all": (None, ["0", "1", "2"]),
}


@pytest.mark.parametrize("case", SEEN)
def test_devices_are_those_that_this_process_sees(monkeypatch, case):
    told, seen = SEEN[case]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if told is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    assert devices() == seen


def test_each_process_sees_one_in_turn_and_so_do_those_that_take_the_place_of_the_lost(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-5a,MIG-7b")
    hands = Processes(2)
    try:
        for _ in range(2):
            executor = hands._executor
            found = {executor.submit(_seen).result(60) for _ in range(2)}
            while len(found) < 2:
                found |= {future.result(60) for future in [executor.submit(_seen) for _ in range(8)]}
            assert {device for device, _ in found} == {"GPU-5a", "MIG-7b"}
            hands.renew()
    finally:
        hands.close(now=True)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-5a,MIG-7b"


def _seen():
    return os.environ["CUDA_VISIBLE_DEVICES"], os.getpid()


@pytest.mark.parametrize("kind", ["cpu", "NVIDIA T4"])
def test_a_worker_with_another_gpu_is_refused(monkeypatch, kind):
    sent = packed(nn.Linear(2, 1), None, "cloudpickle", torch.device("cpu"))
    assert sent["kind"] == "cpu"
    unpacked(sent)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100")
    with pytest.raises(SpecError, match=f"a worker has NVIDIA H100, and {kind} is used here"):
        unpacked({**sent, "device": "cuda", "kind": kind})
