#!/bin/bash
# One run over 2 nodes of 4 GPUs: sbatch scripts/slurm.sh --config=configs/decoupled.py:full ...
# Change the numbers to your cluster's; --account and --partition are often needed too.
#SBATCH --job-name=jax_avemo
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out

# One task a GPU, and no --gpus-per-task: JAX gives task i of a node the i-th GPU it sees.
# --signal reaches the tasks (not this script) 120 s before the end: the run is saved. It may come
# up to a minute early. Since SLURM 22.05 srun no longer takes --cpus-per-task from sbatch.
# One task that fails ends the step at once instead of leaving it to the time limit.
srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=1 --label \
    python -u -m jax_avemo.main "$@"
status=$?

# 143: stopped by that signal and saved. The same job goes on from there.
if [ "$status" -eq 143 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
