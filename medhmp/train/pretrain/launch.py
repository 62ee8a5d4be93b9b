"""Pretraining on Ray Train: the same function for both stages, one worker or many.

The places where Ray enters ordinary PyTorch are numbered, [1] to [8].
"""

import contextlib
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import ray.train
import ray.train.collective
import ray.train.torch
import torch

from medhmp.progress import Progress, is_submitted
from medhmp.ray_session import RAY_ENVIRONMENT, hush_ray_data
from medhmp.refusal import Refusal
from medhmp.run import Run
from medhmp.shards.manifest import Manifest, open_shards
from medhmp.shards.rows import Batch
from medhmp.shards.stream import Plan, Share
from medhmp.storage import Folder, Stamp, is_done, made_elsewhere, patiently, publish
from medhmp.train import checkpoint
from medhmp.train.checkpoint import Checkpoint, Position
from medhmp.train.loop import Diverged, ingest, train
from medhmp.train.meter import line
from medhmp.train.objective import seed_step
from medhmp.train.pretrain import curves
from medhmp.train.pretrain.failures import Failures
from medhmp.train.pretrain.stage import Stage, objective_of, plan_of, stamp_of
from medhmp.train.pretrain.state import TrainingState
from medhmp.train.pretrain.watch import Rhythm, Watch
from medhmp.train.pretrain.writer import NotFinite, Writer

INGESTED: Final = 5
"""Epochs that measure ingest alone, at most."""
COLLECTIVE_TIMEOUT: Final = "RAY_TRAIN_COLLECTIVE_TIMEOUT_S"
"""The environment's name for how long ranks wait for one another, in Ray's collectives and ours."""


def pretrain(run: Run, stage: Stage) -> None:
    """Trains one stage to its last epoch and publishes it, or finds it whole. Begun again after any
    interruption, it goes on from the newest whole checkpoint."""
    if run.loop.skip_step:
        return _measure_ingest(run, replace(stage, start=None))
    folder, stamp = Folder(stage.folder), stamp_of(run, stage)
    if is_done(folder, stamp, run.overwrite):
        return Progress(run.quiet).say(
            f"{stage.name}: whole already{made_elsewhere(folder)}, {folder}"
        )
    manifest = open_shards(run).manifest
    # Before workers start: refuses another run's, and says what is damaged.
    checkpoint.newest(folder, stamp, run.overwrite, lambda line: Progress(run.quiet).say(line))
    plan = plan_of(run, stage)
    plan.steps(stage.settings(run).workers)  # refuses a batch larger than a share
    objective_of(run, stage, manifest.widths)  # refuses weights that do not fit
    with tempfile.TemporaryDirectory() as scratch:  # Ray's own bookkeeping, nothing of ours
        result = _trainer(run, stage, stamp, plan, manifest, scratch).fit()
    metrics = result.return_value
    last = checkpoint.newest(folder, stamp)
    if last is None or last.position != Position(stage.settings(run).epochs):
        raise RuntimeError(f"{stage.name} ended without its last checkpoint in {folder}")
    entries = checkpoint.write_model(folder, last.weights, run, metrics)
    publish(folder, stamp, entries + curves.publish(folder, metrics))
    Progress(run.quiet).say(
        f"{stage.name}: loss {metrics[0]['loss']:.4g} to {metrics[-1]['loss']:.4g}, {folder}"
    )


def _measure_ingest(run: Run, stage: Stage) -> None:
    """``--loop.skip_step``: says how fast the workers get batches; trains and writes nothing."""
    manifest, plan, stamp = open_shards(run).manifest, plan_of(run, stage), stamp_of(run, stage)
    with tempfile.TemporaryDirectory() as scratch:
        result = _trainer(run, stage, stamp, plan, manifest, scratch).fit()
    rows = result.return_value
    rate = statistics.median(row["rows_per_s"] for row in rows)
    kept = "from memory" if Share(plan, 0, stage.settings(run).workers).is_kept else "streamed"
    Progress(run.quiet).say(
        f"{stage.name}: ingest alone {rate:,.0f} rows/s, {kept} "
        f"({len(rows)} epochs of {rows[0]['steps']:.0f} steps); nothing was trained or written",
    )


def _trainer(
    run: Run, stage: Stage, stamp: Stamp, plan: Plan, manifest: Manifest, scratch: str
) -> ray.train.torch.TorchTrainer:
    settings = stage.settings(run)
    resources = ray.cluster_resources()
    check_room(settings.workers, resources)
    use_gpu = resources.get("GPU", 0) > 0
    loop = {
        "plan": plan,
        "steps": plan.steps(settings.workers),
        "run": run,
        "stage": stage,
        "stamp": stamp,
        "widths": manifest.widths,
        "show": not run.quiet,
        "threads": _threads(settings.workers),
    }
    return ray.train.torch.TorchTrainer(  # [1] W processes, each running _worker
        _worker,
        train_loop_config=loop,
        scaling_config=ray.train.ScalingConfig(
            num_workers=settings.workers,
            use_gpu=use_gpu,
            resources_per_worker={"CPU": 0.5} | ({"GPU": 1} if use_gpu else {}),
        ),
        run_config=ray.train.RunConfig(
            name=stamp.hash[:16],
            storage_path=scratch,
            failure_config=ray.train.FailureConfig(max_failures=-1),  # Failures says when to end
            callbacks=[Failures(Folder(stage.folder), run.quiet)],
            # Errors reach the driver, which says them once and without the traceback of a refusal.
            logging_config=ray.train.LoggingConfig(log_level="CRITICAL"),
        ),
        # NCCL, unlike gloo, kills a process that has waited too long, and nothing waits for it in a
        # step: given longer, the pulse that all ranks wait for (``watch.Pulse``) names who hangs.
        torch_config=ray.train.torch.TorchConfig(
            timeout_s=int(_collective_timeout() * (2 if use_gpu else 1))
        ),
    )


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


def _threads(workers: int) -> int:
    """CPU threads of a worker's PyTorch: ``OMP_NUM_THREADS`` where the job has it, else the
    worker's part of the smallest node, wherever it comes to run, less one for what makes batches:
    threads that wait for one another all wait for one that has no CPU. By itself Ray would give it
    one, since it reserves less than a CPU, and leave the others idle; so it does to a job that its
    job server starts, whose 1 is nobody's wish."""
    given = os.environ.get("OMP_NUM_THREADS")
    if given and not (given == "1" and is_submitted()):
        return int(given)
    cpus = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    return max(1, int(min(filter(None, cpus), default=1) // workers) - 1)


def _worker(config: dict[str, Any]) -> list[dict[str, Any]]:
    """One rank's training. Returns the metrics of every epoch, the resumed ones included."""
    hush_ray_data()
    torch.set_num_threads(config["threads"])
    run, stage, stamp = config["run"], config["stage"], config["stamp"]
    settings, folder = stage.settings(run), Folder(stage.folder)
    context, device = ray.train.get_context(), ray.train.torch.get_device()
    rank = context.get_world_rank()  # [2] which tells the rows that it reads
    share = Share(config["plan"], rank, context.get_world_size())
    epochs = min(settings.epochs, INGESTED) if run.loop.skip_step else settings.epochs
    batches = share.batches(device.type == "cuda", epochs)
    if run.loop.skip_step:
        return ingest(batches, range(epochs), device)

    torch.manual_seed(settings.seed)
    objective = objective_of(run, stage, config["widths"])
    # [3] to the device; gradients averaged over ranks
    model = ray.train.torch.prepare_model(objective)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    tell = _tell if config["show"] else _keep_quiet
    begun = _begun(folder, stamp, rank, tell)
    state = TrainingState(objective, optimizer, begun)
    drawn = curves.Curves(folder, state.metrics) if rank == 0 else None
    writer = Writer(
        lambda now: patiently(
            folder, lambda: checkpoint.save(folder, now, run, stamp, settings.keep)
        ),
        begun.position if begun else None,
    )

    def seeded(epoch: int, first: int) -> Iterator[Batch]:
        for step, batch in enumerate(batches(epoch, first), first):
            seed_step(objective, settings.seed, epoch, step, rank)
            yield batch

    def save(at: Position, meters: list[dict[str, Any]], is_due: bool) -> None:
        if rank == 0 and (is_due or not writer.is_busy):
            writer.begin(state.checkpoint(at, meters))

    watch = Watch(
        Rhythm(config["steps"], settings.epochs, settings.checkpoint_steps),
        state.guard,
        save,
        ray.train.collective.broadcast_from_rank_zero,  # [5] one pulse for all
        lambda: ray.train.get_preemption_info() is not None,  # [6] a node is about to go
    )

    def after_epoch(epoch: int, summary: dict[str, float]) -> bool:
        row = {"stage": stage.name, "epoch": epoch, **summary}
        state.metrics.append(row)
        watch.after_epoch(epoch)
        if drawn:
            drawn.add(row)
        if rank == 0:
            tell(line(stage.name, epoch, settings.epochs, summary))
        return True  # nothing to report to Ray: it would wait for its controller's next look

    with _explained(folder, writer):
        train(
            model,
            optimizer,
            seeded,
            range(state.start.epoch, epochs),
            after_epoch,
            device,
            watch.after_step,
            state.midway(rank),
            settings.chunk,
            bf16=True,
        )
    writer.wait()
    if drawn:
        drawn.close()
    return state.metrics


def _tell(text: str) -> None:
    print(text, flush=True)


def _keep_quiet(text: str) -> None:
    pass


def _begun(
    folder: Folder, stamp: Stamp, rank: int, tell: Callable[[str], None]
) -> Checkpoint | None:
    """The checkpoint to go on from: the same for all ranks, the newest that rank 0 finds sound."""
    found = None
    if rank == 0:
        found = patiently(folder, lambda: checkpoint.newest(folder, stamp, tell=tell))
    # [4] the others take it from rank 0
    at = ray.train.collective.broadcast_from_rank_zero(found.position if found else None)
    if rank == 0:
        checkpoint.remove_others(folder, at)
        return found
    return checkpoint.load(folder, at) if at else None


@contextlib.contextmanager
def _explained(folder: Folder, writer: Writer) -> Iterator[None]:
    """Adds to what ends a rank's training what only all ranks together know: the last good
    checkpoint of one that diverged, the number of a rank that hangs."""
    try:
        yield
    except NotFinite:
        raise
    except Diverged as error:
        with contextlib.suppress(NotFinite):
            writer.wait()
        # [7] only rank 0 writes
        last = ray.train.collective.broadcast_from_rank_zero(writer.last)
        good = f"the last good checkpoint is {checkpoint.place_of(folder, last)}"
        raise Diverged(f"{error}; {good if last else 'no checkpoint is good'}") from None
    except RuntimeError as error:
        if "timed out" in str(error).lower():
            ray.train.collective.barrier()  # [8] raises an error that names who does not come
        raise
