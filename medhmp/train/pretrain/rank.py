"""One rank of a pretraining: what each worker process of Ray Train runs.

The places where Ray enters ordinary PyTorch are numbered, [2] to [8] here and [1] in ``launch.py``.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import ray.train
import ray.train.collective
import ray.train.torch
import torch

from medhmp.legend import Widths
from medhmp.progress import Pace
from medhmp.ray_session import hush_ray_data
from medhmp.shards.rows import Batch
from medhmp.shards.stream import Batches, Plan, Share
from medhmp.storage import Folder, Stamp
from medhmp.train import checkpoint
from medhmp.train.checkpoint import Checkpoint, Metrics, Position
from medhmp.train.loop import Diverged, ingest, train
from medhmp.train.meter import Meter, line, step_line
from medhmp.train.objective import seed_step
from medhmp.train.pretrain.curves import Curves
from medhmp.train.pretrain.probe import PROBE, Probe
from medhmp.train.pretrain.state import TrainingState
from medhmp.train.pretrain.watch import Rhythm, Watch
from medhmp.train.pretrain.writer import NotFinite, Writer
from medhmp.train.stage import Setup

INGESTED: Final = 5
"""Epochs at most that measure ingest alone."""


@dataclass(frozen=True)
class Assignment:
    """Everything that the driver gives to a rank, the same for all."""

    setup: Setup
    stamp: Stamp
    plan: Plan
    steps: int  # of an epoch
    widths: Widths
    threads: int  # of the CPU, for PyTorch
    pace: Pace  # of rank 0's lines
    probe: Probe | None = None  # of rank 0


def run_rank(config: dict[str, Assignment]) -> Metrics:
    """Trains one rank, or measures its ingest. Returns a row for every epoch, those before a
    restart included."""
    hush_ray_data()
    given = config["given"]
    torch.set_num_threads(given.threads)
    context, device = ray.train.get_context(), ray.train.torch.get_device()
    rank = context.get_world_rank()  # [2] which decides the rows that it reads
    share = Share(given.plan, rank, context.get_world_size())
    epochs, skip_step = given.setup.pretrain.epochs, given.setup.loop.skip_step
    epochs = min(epochs, INGESTED) if skip_step else epochs
    batches = share.batches(device.type == "cuda", epochs)
    if skip_step:
        return ingest(batches, range(epochs), device)
    return _train(given, batches, rank, device)


def _train(given: Assignment, batches: Batches, rank: int, device: torch.device) -> Metrics:
    stage, settings = given.setup.stage, given.setup.pretrain
    torch.manual_seed(settings.seed)
    objective = stage.build(given.setup.model, given.widths)
    # [3] to the device; gradients averaged over ranks
    model = ray.train.torch.prepare_model(objective)
    rate, decay = settings.learning_rate, settings.weight_decay
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=decay, fused=True)
    begun = _begun(given, rank)
    state, writer = TrainingState(objective, optimizer, begun), _writer(given, begun)
    curves = Curves(Folder(stage.folder), state.metrics) if rank == 0 else None
    watch = _watch(given, rank, state, writer)

    def seeded(epoch: int, first: int) -> Iterator[Batch]:
        for step, batch in enumerate(batches(epoch, first), first):
            seed_step(objective, settings.seed, epoch, step, rank)
            yield batch

    def after_step(epoch: int, done: int, loss: torch.Tensor, meter: Meter) -> None:
        watch.after_step(epoch, done, loss, meter)
        if rank == 0 and given.pace.is_due():
            at = f"{stage.name} {epoch + 1}/{settings.epochs}"
            given.pace.say(step_line(at, done, given.steps, state.guard.last, meter))

    def after_epoch(epoch: int, summary: dict[str, float]) -> bool:
        probed = _probed(given, rank, epoch, objective, device)
        row = {"stage": stage.name, "epoch": epoch, **summary, **probed}
        state.metrics.append(row)
        watch.after_epoch(epoch)
        if curves:
            curves.add(row)
        if rank == 0 and given.pace.is_due(milestone=True):
            given.pace.say(line(stage.name, epoch, settings.epochs, summary))
        return True  # nothing to report to Ray: it would wait for its controller's next look

    with _explained(Folder(stage.folder), writer):
        train(
            model,
            optimizer,
            seeded,
            range(state.start.epoch, settings.epochs),
            after_epoch,
            device,
            after_step,
            state.midway(rank),
            settings.chunk,
            bf16=True,
        )
    writer.wait()
    if curves:
        curves.close()
    return state.metrics


def _begun(given: Assignment, rank: int) -> Checkpoint | None:
    """The checkpoint to go on from: for all ranks the newest that rank 0 finds undamaged."""
    folder, found = Folder(given.setup.stage.folder), None
    if rank == 0:
        found = checkpoint.newest(folder, given.stamp, tell=given.pace.say)
    # [4] the others take it from rank 0
    at = ray.train.collective.broadcast_from_rank_zero(found.position if found else None)
    if rank == 0:
        checkpoint.remove_others(folder, at)
        return found
    return checkpoint.load(folder, at) if at else None


def _writer(given: Assignment, begun: Checkpoint | None) -> Writer:
    """The writer of checkpoints into the stage's folder."""
    setup, folder = given.setup, Folder(given.setup.stage.folder)

    def write(now: Checkpoint) -> None:
        checkpoint.save(folder, now, setup.run_json, given.stamp, setup.pretrain.keep)

    return Writer(write, begun.position if begun else None)


def _watch(given: Assignment, rank: int, state: TrainingState, writer: Writer) -> Watch:
    """The watch over a rank's steps, whose checkpoints rank 0 writes."""
    settings = given.setup.pretrain

    def save(at: Position, meters: list[dict[str, Any]], is_due: bool) -> None:
        if rank == 0 and (is_due or not writer.is_busy):
            writer.begin(state.checkpoint(at, meters))

    return Watch(
        Rhythm(given.steps, settings.epochs, settings.checkpoint_steps),
        state.guard,
        save,
        ray.train.collective.broadcast_from_rank_zero,  # [5] one pulse for all
        lambda: ray.train.get_preemption_info() is not None,  # [6] a node is about to go
    )


def _probed(
    given: Assignment, rank: int, epoch: int, objective: torch.nn.Module, device: torch.device
) -> dict[str, float]:
    """What the probe finds after an epoch, for the epoch's row; rank 0 says it. Nothing where none
    is due."""
    probe = given.probe
    if probe is None or rank or not probe.is_due(epoch):
        return {}
    found = probe(objective, device)
    at = f"{given.setup.stage.name} {epoch + 1}/{given.setup.pretrain.epochs}"
    given.pace.say(f"{at}  frozen, it predicts {probe.task} with a validation AUROC of {found:.3f}")
    return {PROBE: found}


@contextlib.contextmanager
def _explained(folder: Folder, writer: Writer) -> Iterator[None]:
    """Adds to the error that ends a rank what only all ranks together know.

    That is the last good checkpoint of a training that diverged, and the number of a rank that
    hangs.
    """
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
