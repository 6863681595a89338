"""Waiting threads sleep soon in the program, and nowhere else, and no number depends on it."""

import os
import subprocess
import sys

import pytest

from snrkit.backend.threads import wait_asleep

READ = "import os; from snrkit.cli.main import main\ntry: main(['list', 'models'])\nexcept SystemExit: pass\n"
SHOW = "print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'))"


def said(code, **environment):
    known = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=known | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "10000 None"),
        ({"GOMP_SPINCOUNT": "7"}, "7 None"),
        ({"OMP_WAIT_POLICY": "active"}, "None active"),
    ],
)
def test_the_program_decides_where_the_user_has_not(environment, expected):
    assert said(READ + SHOW, **environment) == expected


@pytest.mark.slow
def test_the_library_leaves_the_environment_alone(monkeypatch):
    assert said(f"import os, torch, snrkit.diagnostics.measure\n{SHOW}") == "None None"
    before = dict(os.environ)
    assert not wait_asleep()  # torch is loaded in this process, so it would come too late
    assert dict(os.environ) == before


def test_torch_is_not_loaded_before_it_is_decided():
    assert said("import sys; import snrkit.cli.main; print('torch' in sys.modules)") == "False"


@pytest.mark.slow
def test_the_same_bits_however_threads_wait():
    code = (
        "import torch, hashlib; torch.set_num_threads(2); torch.manual_seed(0)\n"
        "a = torch.randn(700, 300); b = torch.tanh(a @ torch.randn(300, 500)).softmax(0).sum(1)\n"
        "print(hashlib.sha256(b.numpy().tobytes()).hexdigest())"
    )
    assert said(code) == said(code, GOMP_SPINCOUNT="10000") == said(code, OMP_WAIT_POLICY="passive")
