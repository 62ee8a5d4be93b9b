#!/bin/bash
# A Ray cluster inside one Slurm allocation; it lives as long as the job.
#
#   sbatch cluster/slurm.sh all paper --tables.sources mimic3=s3://bucket/mimic-iii-1.4 --out s3://bucket/run
#
# Run from the repository, on a file system that all nodes share, with .venv made there (make demo makes it).
#SBATCH --job-name=medhmp
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --exclusive
#SBATCH --time=48:00:00
#SBATCH --requeue
#SBATCH --output=medhmp-%j.log
set -euo pipefail
mask=$(umask)
umask 077 # of Ray's token, folders and logs on every node
[ $# -ge 2 ] || { echo "usage: sbatch cluster/slurm.sh JOB RECIPE [--field value ...]" >&2; exit 2; }

job=$1
shift
source .venv/bin/activate

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
ip=$(getent ahostsv4 "$head" | awk 'NR == 1 {print $1}')
[ -n "$ip" ] || { echo "no address is known for the node $head" >&2; exit 1; }

# All nodes read the one token from the shared home before any of them starts.
ray get-auth-token --generate >/dev/null
chmod 600 ~/.ray/auth_token

# Starts Ray on every node, runs the command on the first with RAY_ADDRESS of that Ray, which alone
# it joins, and stops Ray when it ends. The job's own umask decides who may read its outputs.
srun ray symmetric-run --address "$ip:6379" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "$SLURM_CPUS_PER_TASK" -- \
    bash -c 'umask "$1"; export RAY_ADDRESS=$2; shift 2; exec medhmp "$@"' \
    bash "$mask" "$ip:6379" "$job" "$@"
