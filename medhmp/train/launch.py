"""Pretraining on Ray Train: the same function for both stages, one worker or many.

The three places where Ray enters ordinary PyTorch are numbered [1] to [3]. Nothing is reported to
Ray: weights and metrics are in our own checkpoints, and a worker that reports waits until the
controller next asks for it, which is longer than an epoch may take.
"""

import os
import statistics
import tempfile
from dataclasses import dataclass, replace
from typing import Any, Literal

import ray.train
import ray.train.torch
import torch

from medhmp import command
from medhmp.legend import Widths
from medhmp.model.heads import load_start
from medhmp.refusal import Refusal
from medhmp.run import Pretrain, Run, fields_of
from medhmp.shards.manifest import Manifest, read_manifest, shards_of
from medhmp.shards.split import assert_disjoint, splits_in
from medhmp.shards.stream import FileDeal, Plan, Share, Table
from medhmp.storage import Folder, Stamp, fingerprint, is_done, publish
from medhmp.train import checkpoint, curves
from medhmp.train.loop import ingest, train
from medhmp.train.meter import line
from medhmp.train.objective import (
    AdmissionPretraining,
    StayReconstruction,
    build_admission_pretraining,
    build_stay_pretraining,
    model_fields,
    seed_epoch,
)

Objective = StayReconstruction | AdmissionPretraining


@dataclass(frozen=True)
class Stage:
    """One pretraining: what it reads, where it writes, what it starts from."""

    name: Literal["pretrain_stay", "pretrain_admission"]
    folder: str  # URI of its output
    start: str | None = None  # URI of a stage-one output whose stay encoder it begins from
    shuffled: bool = False  # the control: data shuffled between patients

    @property
    def table(self) -> Table:
        return "stays" if self.name == "pretrain_stay" else "admissions"

    def settings(self, run: Run) -> Pretrain:
        settings: Pretrain = getattr(run, self.name)
        return settings


def pretrain(run: Run, stage: Stage) -> None:
    """Trains one stage to its last epoch and publishes it, or finds it whole. Begun again after any
    interruption, it goes on from the newest whole checkpoint."""
    if run.loop.skip_step:
        return _measure_ingest(run, replace(stage, start=None))
    folder, shards = Folder(stage.folder), Folder(run.out) / "shards"
    stamp = _stamp(run, stage, shards)
    if is_done(folder, stamp, run.overwrite):
        return command.say(run, f"{stage.name}: whole already, {folder}")
    manifest = read_manifest(run)
    checkpoint.newest(folder, stamp, run.overwrite)  # refuses another run's before workers start
    plan = plan_of(run, stage)
    plan.steps(stage.settings(run).workers)
    _objective(run, stage, manifest.widths)  # refuses weights that do not fit, before workers start
    with tempfile.TemporaryDirectory() as scratch:  # Ray's own bookkeeping, nothing of ours
        result = _trainer(run, stage, stamp, plan, manifest, scratch).fit()
    metrics = result.return_value
    checkpointed = checkpoint.newest(folder, stamp)
    if checkpointed is None:
        raise RuntimeError(f"{stage.name} ended without a checkpoint in {folder}")
    entries = checkpoint.write_model(folder, checkpointed.weights, run, metrics)
    publish(folder, stamp, entries + curves.publish(folder, metrics))
    command.say(
        run, f"{stage.name}: loss {metrics[0]['loss']:.4g} to {metrics[-1]['loss']:.4g}, {folder}"
    )


def _measure_ingest(run: Run, stage: Stage) -> None:
    """``--loop.skip_step``: says how fast the workers get batches; trains and writes nothing."""
    manifest, plan = read_manifest(run), plan_of(run, stage)
    stamp = _stamp(run, stage, Folder(plan.shards))
    with tempfile.TemporaryDirectory() as scratch:
        result = _trainer(run, stage, stamp, plan, manifest, scratch).fit()
    rows = result.return_value
    rate = statistics.median(row["rows_per_s"] for row in rows)
    kept = "from memory" if Share(plan, 0, stage.settings(run).workers).is_kept else "streamed"
    command.say(
        run,
        f"{stage.name}: ingest alone {rate:,.0f} rows/s, {kept} "
        f"({len(rows)} epochs of {rows[0]['steps']:.0f} steps); nothing was trained or written",
    )


def _stamp(run: Run, stage: Stage, shards: Folder) -> Stamp:
    fields = fields_of(run, stage.name, "pretrain_on", "share_budget_gib")
    fields |= model_fields(run, stage.name)
    del fields[f"{stage.name}.keep"]  # alone of its section it shapes no weights
    inputs = {"shards": shards_of(run).fingerprint}
    if stage.table == "admissions":
        inputs["note_embeddings"] = fingerprint(shards / "note_embeddings", "embed_notes")
    if stage.start:
        begun = Folder(stage.start)
        inputs["start"] = checkpoint.pretrained(
            begun, "pretrain_stay", inputs["shards"], run.pretrain_on
        )
    return Stamp({**fields, "shuffled": stage.shuffled}, inputs)


def plan_of(run: Run, stage: Stage) -> Plan:
    """The rows that a stage reads: of training patients, unless ``pretrain_on`` says otherwise."""
    settings, shards = stage.settings(run), Folder(run.out) / "shards"
    manifest = read_manifest(run)
    assert_disjoint(*(splits_in(shards, manifest, name) for name in ("patients", stage.table)))
    splits = ("train",) if run.pretrain_on == "train" else ("train", "validation", "test")
    return Plan(
        shards=shards.uri,
        table=stage.table,
        rows_per_file=manifest.rows_per_file(stage.table, splits),
        splits=splits,
        batch_size=settings.batch_size // settings.workers,
        seed=settings.seed,
        budget=run.share_budget_gib * 2**30,
        max_stays=run.model.max_stays,
        shuffle_between_patients=stage.shuffled,
    )


def _trainer(
    run: Run, stage: Stage, stamp: Stamp, plan: Plan, manifest: Manifest, scratch: str
) -> ray.train.torch.TorchTrainer:
    settings = stage.settings(run)
    use_gpu = ray.cluster_resources().get("GPU", 0) >= settings.workers
    _check_room(settings)
    fs, base = (Folder(plan.shards) / plan.table).resolve()
    dataset = ray.data.read_parquet(
        [f"{base}/{name}" for name in plan.rows_per_file], filesystem=fs
    )
    loop = {
        "run": run,
        "stage": stage,
        "stamp": stamp,
        "widths": manifest.widths,
        "show": command.watched(run.quiet),
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
            failure_config=ray.train.FailureConfig(max_failures=3),  # lost workers
            callbacks=[EndAtOnce()],
            # Errors reach the driver, which says them once and without the traceback of a refusal.
            logging_config=ray.train.LoggingConfig(log_level="CRITICAL"),
        ),
        datasets={"train": dataset},
        dataset_config=FileDeal(plan),
    )


class EndAtOnce(ray.train.UserCallback):  # type: ignore[misc]
    """Ends a run that a worker refuses, a diverged one too: begun again, it would end the same.

    Ray starts all workers again for whatever one of them raises, but not for what its controller
    raises, which is where this runs. Other workers, which may wait for the refusing one, are ended.
    """

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        for error in worker_exceptions.values():
            if refusal := command.find_refusal(error):
                raise refusal


def _check_room(settings: Pretrain) -> None:
    """Ray Data needs a CPU that no training worker holds, or both wait for ever."""
    cpus = ray.cluster_resources().get("CPU", 0)
    if cpus < 0.5 * settings.workers + 1:
        raise Refusal(
            f"{settings.workers} workers would leave no CPU of the cluster's {cpus:g} for reading; "
            "use fewer workers or a larger cluster"
        )


def _threads(workers: int) -> int:
    """CPU threads of a worker's PyTorch: ``OMP_NUM_THREADS`` where the job has it, else the
    worker's part of the smallest node, wherever it comes to run. By itself Ray would give it one,
    since it reserves less than a CPU, and leave the others idle."""
    if given := os.environ.get("OMP_NUM_THREADS"):
        return int(given)
    cpus = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    return max(1, int(min(filter(None, cpus), default=1) // workers))


def _worker(config: dict[str, Any]) -> list[dict[str, Any]]:
    """One rank's training. Returns the metrics of every epoch, the resumed ones included."""
    command.hush_ray_data()
    torch.set_num_threads(config["threads"])
    run, stage, stamp = config["run"], config["stage"], config["stamp"]
    settings, folder = stage.settings(run), Folder(stage.folder)
    context = ray.train.get_context()
    rank = context.get_world_rank()
    device = ray.train.torch.get_device()
    share = ray.train.get_dataset_shard("train")  # [2] this rank's
    batches = share.batches(device.type == "cuda", settings.epochs)
    if run.loop.skip_step:
        return ingest(batches, range(settings.epochs), device)

    torch.manual_seed(settings.seed)
    objective = _objective(run, stage, config["widths"])
    begun = checkpoint.newest(folder, stamp)
    if begun:
        objective.load_state_dict(begun.weights, strict=True)
    # [3] to the device; gradients averaged over ranks
    model = ray.train.torch.prepare_model(objective)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    if begun:
        optimizer.load_state_dict(begun.state["optimizer"])
    metrics = list(begun.metrics) if begun else []
    drawn = curves.Curves(folder, metrics) if rank == 0 else None

    def seeded(epoch: int) -> Any:
        seed_epoch(objective, settings.seed, epoch, rank)
        return batches(epoch)

    def after_epoch(epoch: int, summary: dict[str, float]) -> bool:
        metrics.append({"stage": stage.name, "epoch": epoch, **summary})
        if rank == 0:
            state = {"optimizer": optimizer.state_dict()}
            now = checkpoint.Checkpoint(epoch, objective.state_dict(), state, metrics)
            checkpoint.save(folder, now, run, stamp, settings.keep)
            if config["show"]:
                print(line(stage.name, epoch, settings.epochs, summary), flush=True)
        if drawn:
            drawn.add(metrics[-1])
        return True

    start = begun.epoch + 1 if begun else 0
    epochs = range(start, settings.epochs)
    train(model, optimizer, seeded, epochs, after_epoch, device, settings.chunk)
    if drawn:
        drawn.close()
    return metrics


def _objective(run: Run, stage: Stage, widths: Widths) -> Objective:
    if stage.name == "pretrain_stay":
        return build_stay_pretraining(run.model, widths)
    objective = build_admission_pretraining(run.model, widths)
    if stage.start:
        load_start(
            objective.admission, checkpoint.read_weights(Folder(stage.start), "pretrain_stay")
        )
    return objective
