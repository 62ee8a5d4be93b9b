"""Pretraining on Ray Train: the same for both stages, one worker or many.

This is the driver's part; ``rank.py`` is each worker's.
"""

import os
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import ray.train
import ray.train.torch

from medhmp.progress import is_submitted
from medhmp.ray_session import RAY_ENVIRONMENT
from medhmp.refusal import Refusal
from medhmp.replacing import move_in, room_for
from medhmp.shards.manifest import OpenShards
from medhmp.shards.stream import Plan, Share
from medhmp.storage import Folder, Stamp, made_elsewhere, publish
from medhmp.train import checkpoint
from medhmp.train.checkpoint import Metrics, Position
from medhmp.train.pretrain.curves import write_curves
from medhmp.train.pretrain.failures import Failures
from medhmp.train.pretrain.probe import Probe
from medhmp.train.pretrain.rank import Assignment, run_rank
from medhmp.train.stage import Setup, rows_to_read
from medhmp.train.tracking import track_stage

COLLECTIVE_TIMEOUT: Final = "RAY_TRAIN_COLLECTIVE_TIMEOUT_S"
"""The environment's name for the seconds that ranks wait for one another, in Ray's collectives and
ours."""


def pretrain(setup: Setup, shards: OpenShards, stamp: Stamp, overwrite: bool) -> None:
    """Trains one stage to its last epoch and publishes it, or finds it whole.

    Begun again after any interruption, it goes on from the newest whole checkpoint. With
    ``loop.skip_step`` it says how fast the workers get batches; trains and writes nothing.
    """
    if setup.loop.skip_step:
        return _measure_ingest(setup, shards, stamp)
    stage, settings, progress = setup.stage, setup.pretrain, setup.progress
    folder = Folder(stage.folder)
    room = room_for(folder, stamp, overwrite, resumes=True)
    if room is None:
        return progress.say(f"{stage.name}: whole already{made_elsewhere(folder)}, {folder}")
    plan = rows_to_read(setup, shards)
    plan.steps(settings.workers)  # refuses a batch larger than a share
    check_room(settings.workers, ray.cluster_resources())
    stage.build(setup.model, shards.widths)  # refuses weights that do not fit
    # Before workers start: refuses another run's, and says what is damaged. Nothing that could be
    # refused comes after it, as under overwrite it removes.
    checkpoint.newest(room, stamp, overwrite, progress.say)
    if left := plan.rows - settings.workers * plan.rows_per_rank(settings.workers):
        progress.say(
            f"{stage.name}: {plan.rows:,} rows; every epoch leaves out {left}, not always the same"
        )
    setup = replace(setup, stage=replace(stage, folder=room.uri))
    metrics = _run_ranks(setup, shards, stamp, plan)
    last = checkpoint.newest(room, stamp)
    if last is None or last.position != Position(settings.epochs):
        raise RuntimeError(f"{stage.name} ended without its last checkpoint in {room}")
    model = checkpoint.dump_weights(last.weights)
    entries = checkpoint.write_model(room, model, setup.run_json, metrics)
    publish(room, stamp, entries + write_curves(room, metrics))
    move_in(folder)
    track_stage(setup.tracker, setup.name, stage.title, stamp.fields, metrics, progress)
    progress.say(
        f"{stage.name}: loss {metrics[0]['loss']:.4g} to {metrics[-1]['loss']:.4g}, {folder}"
    )


def _measure_ingest(setup: Setup, shards: OpenShards, stamp: Stamp) -> None:
    plan = rows_to_read(setup, shards)
    rows = _run_ranks(setup, shards, stamp, plan)
    rate = statistics.median(row["rows_per_s"] for row in rows)
    kept = "from memory" if Share(plan, 0, setup.pretrain.workers).is_kept else "streamed"
    setup.progress.say(
        f"{setup.stage.name}: ingest alone {rate:,.0f} rows/s, {kept} "
        f"({len(rows)} epochs of {rows[0]['steps']:.0f} steps); nothing was trained or written",
    )


def _run_ranks(setup: Setup, shards: OpenShards, stamp: Stamp, plan: Plan) -> Metrics:
    """Runs all workers to their end; the rows of rank 0."""
    settings, resources = setup.pretrain, ray.cluster_resources()
    check_room(settings.workers, resources)
    use_gpu = resources.get("GPU", 0) > 0
    given = Assignment(
        setup,
        stamp,
        plan,
        plan.steps(settings.workers),
        shards.widths,
        _threads(settings.workers),
        setup.progress.pace(),
        _probe(setup, shards),
    )
    with tempfile.TemporaryDirectory() as scratch:  # Ray's own bookkeeping, nothing of ours
        trainer = ray.train.torch.TorchTrainer(  # [1] W processes, each running run_rank
            run_rank,
            train_loop_config={"given": given},
            scaling_config=ray.train.ScalingConfig(
                num_workers=settings.workers,
                use_gpu=use_gpu,
                resources_per_worker={"CPU": 0.5} | ({"GPU": 1} if use_gpu else {}),
            ),
            run_config=ray.train.RunConfig(
                name=stamp.hash[:16],
                storage_path=scratch,
                # Failures says when to end.
                failure_config=ray.train.FailureConfig(max_failures=-1),
                callbacks=[Failures(Folder(setup.stage.folder), setup.progress.quiet)],
                # Errors reach the driver, which says them once; a refusal without its traceback.
                logging_config=ray.train.LoggingConfig(log_level="CRITICAL"),
            ),
            # NCCL, unlike gloo, kills a process that has waited too long, and nothing waits for it
            # in a step. Given longer, the pulse that all ranks wait for (``watch.Pulse``) names
            # the rank that hangs.
            torch_config=ray.train.torch.TorchConfig(
                timeout_s=int(_collective_timeout() * (2 if use_gpu else 1))
            ),
        )
        metrics: Metrics = trainer.fit().return_value
    return metrics


def _probe(setup: Setup, shards: OpenShards) -> Probe | None:
    """The probe of a stage that reads stays, if the run asks for one."""
    stage, every = setup.stage, setup.pretrain.probe_epochs
    if stage.table != "stays" or not every:
        return None
    return Probe(shards, stage.numbers, setup.cohort, setup.model, every)


def _collective_timeout() -> float:
    return float(os.environ.get(COLLECTIVE_TIMEOUT, RAY_ENVIRONMENT[COLLECTIVE_TIMEOUT]))


def check_room(workers: int, resources: Mapping[str, float]) -> None:
    """Refuses a cluster in which workers would leave Ray Data no CPU, so that both would wait for
    ever, and one with GPUs but not one for each: that it trained on CPUs would be found late."""
    cpus, gpus = resources.get("CPU", 0), resources.get("GPU", 0)
    if cpus < 0.5 * workers + 1:
        raise Refusal(
            f"{workers} workers would leave no CPU of the cluster's {cpus:g} for reading; "
            "use fewer workers or a larger cluster"
        )
    if 0 < gpus < workers:
        raise Refusal(
            f"{workers} workers need a GPU each and the cluster has {gpus:g}; "
            "use fewer workers or a larger cluster"
        )


def openmp_threads(value: str) -> int | None:
    """Threads of the outermost level in a value of OMP_NUM_THREADS: one number, or a list with one
    number for each level of nesting (OpenMP 5.2, section 21.1.2). None where the first is not a
    positive number, which OpenMP's libraries ignore too."""
    first = value.split(",")[0].strip()
    return (int(first) or None) if first.isdecimal() else None


def _threads(workers: int) -> int:
    """CPU threads per worker: OMP_NUM_THREADS if set (except the 1 that Ray's job server sets by
    itself), else the smallest node's CPUs divided by the workers, minus one for prefetching."""
    given = openmp_threads(os.environ.get("OMP_NUM_THREADS", ""))
    if given and not (given == 1 and is_submitted()):
        return given
    cpus = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    return max(1, int(min(filter(None, cpus), default=1) // workers) - 1)
