"""The scripts for SLURM do what they say, where stand-ins take the place of SLURM's own programs and variables."""

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from snrkit.runs.folder import RunDir

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "slurm" / "array.sh"
GRID = """
epochs = 1
eval_points = 3
data = {name = "gaussian", size = 9, dim = 2}
model = {name = "gaussian"}
[grid]
seed = [0, 1, 2]
"""


@pytest.fixture
def job(tmp_path):
    """A job of the array, of which ``program`` is called as snrkit; gives exit code, output, errors and what it asked."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "grid.toml").write_text(GRID)

    def write(name, text):
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)

    write("srun", 'exec "$@"')
    write("scontrol", f'echo "$@" >> {tmp_path}/asked')

    def run(*argv, task="1", tasks="2", program=f'exec "{sys.executable}" -m snrkit "$@"', **more):
        write("snrkit", program)
        own = {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "SLURM_ARRAY_TASK_ID": task,
            "SLURM_ARRAY_TASK_MAX": tasks, "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_COUNT": tasks,
            "SLURM_ARRAY_JOB_ID": "77", "SLURM_CPUS_PER_TASK": "1",
        } | more  # fmt: skip
        done = subprocess.run(
            ["bash", SCRIPT, *map(str, argv)], env=os.environ | own, capture_output=True, text=True, check=False
        )
        asked = tmp_path / "asked"
        return done.returncode, done.stdout, done.stderr, asked.read_text() if asked.exists() else ""

    return run


@pytest.mark.slow
def test_a_dry_run_of_each_job_says_what_it_would_train(job, tmp_path):
    argv = ["sweep", tmp_path / "grid.toml", "--out", tmp_path / "out", "--device", "cpu", "--dry-run"]
    code, out, err, asked = job(*argv)
    assert (code, err, asked) == (0, "", "")
    assert out.endswith("part 1/2: 2 waiting\n")
    assert not (tmp_path / "out").exists()


ENDS = {"done": (0, ""), "bad input": (2, ""), "diverged": (3, ""), "no room": (4, "requeue 77_3\n"), "fault": (1, ""),
        "out of time": (130, "requeue 77_3\n")}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_what_may_go_well_later_is_begun_again_and_nothing_else(job, end):
    code, asked = ENDS[end]
    program = f'echo "$OMP_NUM_THREADS $@"; exit {code}'
    found = job("snr", "--ckpt", "runs", task="3", tasks="8", program=program, SLURM_CPUS_PER_TASK="2")
    assert found == (code, "2 snr --ckpt runs --quiet --shard 3/8\n", "", asked)
    assert job("snr", program=program, task="3", SLURM_RESTART_COUNT="20")[3] == asked  # no more than before


def test_some_jobs_anew_have_the_parts_that_they_had(job):
    assert job("snr", program='echo "$@"', task="3", tasks="7", PARTS="8")[1].endswith("--shard 3/8\n")


def test_an_array_that_counts_from_0_is_refused(job, tmp_path):
    code, _, err, _ = job("sweep", tmp_path / "grid.toml", task="0", tasks="7")
    assert code == 2
    assert "they count from 1" in err


@pytest.mark.slow
def test_an_array_of_jobs_trains_all(job, tmp_path):
    argv = ["sweep", tmp_path / "grid.toml", "--out", tmp_path / "out", "--device", "cpu"]
    assert [job(*argv, task=task)[0] for task in ("2", "1")] == [0, 0]
    assert [RunDir(run).state() for run in (tmp_path / "out").iterdir()] == ["done"] * 3


@pytest.mark.slow
def test_many_small_measurements_by_several_processes_two_of_them_killed(tmp_path):
    words = [
        sys.executable,
        ROOT / "examples" / "job_array.py",
        "--runs",
        "8",
        "--parts",
        "2",
        "--out",
        tmp_path / "made",
    ]
    places = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(word) for word in words], env=places, capture_output=True, text=True, check=True)
    assert "8 runs measured, each in one part" in done.stdout
    assert "nothing twice, nothing half done" in done.stdout
    assert "0 runs: none in that state" in done.stdout
    assert (tmp_path / "made" / "figures" / "snr_vs_k.png").exists()


class Cluster:
    """Stands in for ``dask_jobqueue.SLURMCluster``."""

    def __init__(self, **options):
        self.options, self.jobs, self.there = options, 0, 0
        self.scheduler_address = "tcp://10.0.0.1:8786"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.jobs = 0

    def scale(self, jobs):
        self.jobs = jobs

    def wait_for_workers(self, count):  # jobs may stand in the queue for longer than snrkit waits
        assert self.jobs
        self.there = count

    def job_script(self):
        return f"#SBATCH {self.options}\n"


def test_the_script_for_dask_asks_for_workers_of_one_thread_and_names_their_scheduler(monkeypatch, capsys):
    module = types.ModuleType("dask_jobqueue")
    made = []
    module.SLURMCluster = lambda **options: made.append(Cluster(**options)) or made[-1]
    monkeypatch.setitem(sys.modules, "dask_jobqueue", module)
    called = []
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda words, **_: called.append((words, made[-1].there)) or types.SimpleNamespace(returncode=4),
    )
    names = {"__name__": "example"}
    exec(compile((ROOT / "examples" / "slurm" / "dask_cluster.py").read_text(), "dask_cluster.py", "exec"), names)
    assert names["main"](["--dry-run", "snr"]) == 0
    assert "'cores': 1" in capsys.readouterr().out
    assert names["main"](["snr", "--ckpt", "runs"]) == 4
    assert called == [(["snrkit", "snr", "--ckpt", "runs", "--scheduler", "tcp://10.0.0.1:8786"], 1)]


def test_the_script_for_dask_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(SystemExit, match="needs dask-jobqueue; pip install"):
        exec((ROOT / "examples" / "slurm" / "dask_cluster.py").read_text(), {"__name__": "example"})
