"""Workers of Dask as SLURM jobs, and a command of snrkit on them.

    python examples/slurm/dask_cluster.py snr --ckpt "$SCRATCH/grid" --K 1,10,100

Needs ``pip install "snrkit[cluster]" dask-jobqueue``. With ``--dry-run`` first it prints the job that SLURM would be given.
"""

import subprocess
import sys

try:
    from dask_jobqueue import SLURMCluster
except ImportError:
    sys.exit("dask_cluster.py: needs dask-jobqueue; pip install 'snrkit[cluster]' dask-jobqueue")

WORKERS = 8


def main(argv: list[str]) -> int:
    """The exit code of the command."""
    cluster = SLURMCluster(
        # A worker to a job, with one thread of torch, so that numbers do not depend on how many cores a node has.
        cores=1, processes=1, memory="4GB", walltime="01:00:00", job_script_prologue=["export OMP_NUM_THREADS=1"],
    )  # fmt: skip
    with cluster:
        if argv[:1] == ["--dry-run"]:
            sys.stdout.write(cluster.job_script())
            return 0
        cluster.scale(jobs=WORKERS)
        # Jobs may stand in the queue for hours; snrkit waits for a worker a minute. Later ones join as they come.
        print(f"waiting for the first of {WORKERS} jobs", file=sys.stderr, flush=True)
        cluster.wait_for_workers(1)
        return subprocess.run(["snrkit", *argv, "--scheduler", cluster.scheduler_address], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
