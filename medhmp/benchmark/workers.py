"""A step of several processes beside a step of one, each with one thread and a core of its own."""

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

from medhmp.benchmark.rows import PAPER, random_stays
from medhmp.run import Model
from medhmp.shards.rows import Batch
from medhmp.train.backward import backward
from medhmp.train.objective import build_stay_pretraining


def compare(workers: int, width: int, batch: int, active: int, steps: int) -> dict[str, float]:
    """Times steps of ``workers`` processes that average gradients, in turn with steps of one."""
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
    # Ratios are taken within a turn: the speed of a shared machine comes and goes.
    ratio = statistics.median(a / b for a, b in zip(together, alone, strict=True))
    seconds = statistics.median(alone)
    print(
        f"{workers} workers of one thread: a step {statistics.median(together):.3f} s, of one "
        f"alone {seconds:.3f} s, ratio {ratio:.3f}; "
        f"{size / 2**20:.1f} MiB of gradients averaged a step",
        flush=True,
    )
    return {
        "workers_vs_one_step": ratio,
        "one_worker_step_s": seconds,
        "gradient_mib": size / 2**20,
    }


def _worker(
    place: str, rank: int, world: int, core: int, width: int, rows: int, active: int, steps: int
) -> tuple[list[float], list[float], int]:
    """Seconds of steps of all workers and of rank 0 alone, in turn; bytes of a gradient."""
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
    together: list[float] = []
    alone: list[float] = []
    for _ in range(steps + 1):
        dist.barrier()
        together.append(_second_of_two(averaged, batch, optimizers[0]))
        dist.barrier()
        if rank == 0:
            alone.append(_second_of_two(single, batch, optimizers[1]))
    dist.barrier()
    dist.destroy_process_group()
    size = sum(p.numel() * p.element_size() for p in objective.parameters())
    return together[1:], alone[1:], size  # the first turn warms up


def _second_of_two(objective: Any, batch: Batch, optimizer: torch.optim.Optimizer) -> float:
    """Seconds of a step after another like it, as in a loop (see ``step.in_turn``)."""
    for _ in range(2):
        begun = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        backward(objective, batch)
        optimizer.step()
    return time.perf_counter() - begun
