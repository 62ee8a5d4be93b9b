"""A step of several processes against one, each of one thread and on a core of its own."""

import copy
import multiprocessing
import os
import statistics
import tempfile
import time
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from jobs.benchmark.rows import PAPER, random_stays
from medhmp.run import Model
from medhmp.train.grad_cache import backward
from medhmp.train.objective import build_stay_pretraining


def compare(workers: int, width: int, batch: int, active: int, steps: int) -> dict[str, float]:
    """The median step of ``workers`` processes, gradients averaged, against that of one alone."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < workers:
        print(f"{workers} workers on cores of their own: this machine has {len(cores)}; left out")
        return {}
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as place, context.Pool(workers) as pool:
        given = [
            (place, rank, workers, cores[rank], width, batch, active, steps)
            for rank in range(workers)
        ]
        together, alone, size = pool.starmap(_worker, given, chunksize=1)[0]
    print(
        f"{workers} workers of one thread: a step {together:.3f} s, of one alone {alone:.3f} s; "
        f"{size / 2**20:.1f} MiB of gradients averaged a step",
        flush=True,
    )
    return {
        "workers_vs_one_step": together / alone,
        "one_worker_step_s": alone,
        "gradient_mib": size / 2**20,
    }


def _worker(
    place: str, rank: int, world: int, core: int, width: int, rows: int, active: int, steps: int
) -> tuple[float, float, int]:
    """Medians of steps of all workers and of rank 0 alone, in turn; bytes of a gradient."""
    os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{place}/meeting", rank=rank, world_size=world)
    torch.manual_seed(0)
    objective = build_stay_pretraining(Model(width=width), PAPER)
    batch = random_stays(rows, active, seed=rank).batch(np.arange(rows))
    single = copy.deepcopy(objective)
    averaged = DistributedDataParallel(objective)
    optimizers = [
        torch.optim.AdamW(each.parameters(), lr=5e-4, fused=True) for each in (averaged, single)
    ]
    together, alone = [], []
    for _ in range(steps + 1):
        dist.barrier()
        together.append(_seconds(averaged, batch, optimizers[0]))
        dist.barrier()
        if rank == 0:
            alone.append(_seconds(single, batch, optimizers[1]))
    dist.barrier()
    dist.destroy_process_group()
    size = sum(p.numel() * p.element_size() for p in objective.parameters())
    return statistics.median(together[1:]), statistics.median(alone[1:] or [0.0]), size


def _seconds(objective: Any, batch: Any, optimizer: torch.optim.Optimizer) -> float:
    begun = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    backward(objective, batch)
    optimizer.step()
    return time.perf_counter() - begun
