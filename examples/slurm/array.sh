#!/bin/bash
# A command of snrkit on many runs as an array of SLURM jobs, each with a part of the runs of its own:
#
#     train=$(sbatch --parsable examples/slurm/array.sh sweep grid.toml --out "$SCRATCH/grid")
#     sbatch --dependency=afterok:$train examples/slurm/array.sh snr --ckpt "$SCRATCH/grid" --K 1,10,100
#
# Parts count from 1. Some of them anew, of as many as before: PARTS=8 sbatch --array=3,7 examples/slurm/array.sh ...
# What would be trained: the same with --dry-run at the end, on any machine.
#SBATCH --array=1-8
#SBATCH --time=01:00:00
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --output=snrkit-%A_%a.log
#SBATCH --requeue
# A minute before its time is over a job is told so: what is finished is saved, and snrkit exits with 130.
#SBATCH --signal=TERM@60

# As many threads as the job has cores, and the same number in every job: 1 and 2 threads differ in the last bits.
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
# Since SLURM 22.05 a step has one core unless it is told so by a variable of its own.
export SRUN_CPUS_PER_TASK="$OMP_NUM_THREADS"

srun snrkit "$@" --quiet --shard "$SLURM_ARRAY_TASK_ID/${PARTS:-$SLURM_ARRAY_TASK_MAX}"
code=$?

# 130: out of time; 4: no room, another process is at work on a run, or one has no checkpoint yet. Both may go well later.
# 2 (bad input), 3 (diverged) and 1 would not, so the job fails.
if [ $code -eq 130 ] || [ $code -eq 4 ]; then
    if [ "${SLURM_RESTART_COUNT:-0}" -lt 20 ]; then
        scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    fi
fi
exit $code
