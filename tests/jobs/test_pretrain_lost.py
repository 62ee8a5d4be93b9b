"""Pretraining that loses workers, its driver or checkpoints: it ends as if it had not."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import ray.train
import torch
from safetensors.torch import load_file

from medhmp.benchmark.soak_train import content
from medhmp.layout import STAY_PRETRAINING
from medhmp.legend import Widths
from medhmp.refusal import Refusal, find_refusal
from medhmp.run import Model, Run
from medhmp.shards.manifest import open_shards
from medhmp.storage import Folder
from medhmp.train import checkpoint
from medhmp.train.checkpoint import Position
from medhmp.train.pretrain import launch
from medhmp.train.pretrain import rank as ranks
from medhmp.train.pretrain.failures import Failures, who_failed
from medhmp.train.pretrain.launch import pretrain
from medhmp.train.stage import Stage, setup_of, stamp_of

pytestmark = pytest.mark.ray

Steps = list[tuple[int, int]]


@dataclass(frozen=True)
class Faulty(Stage):
    """A stage whose workers note every step of rank 0, and meet faults. Pickled by value.

    A worker asks for its model once, before its first step. Faults are ``before_step(rank, at)``,
    ``before_record(at)``, before a checkpoint is whole, and ``at_start(rank)``.
    """

    notes: Path = Path()
    faults: Mapping[str, Callable[..., None]] = field(default_factory=dict)
    driver: int = field(default_factory=os.getpid)

    def build(self, model: Model, widths: Widths) -> Any:
        notes, faults = self.notes, self.faults
        if os.getpid() != self.driver:
            worker = ray.train.get_context().get_world_rank()
            faults.get("at_start", lambda rank: None)(worker)
            seed_step, publish = ranks.seed_step, checkpoint.publish

            def step(objective: Any, seed: int, epoch: int, step: int, rank: int) -> None:
                faults.get("before_step", lambda rank, at: None)(rank, Position(epoch, step))
                if rank == 0:
                    with notes.open("a") as file:
                        file.write(f"{epoch} {step}\n")
                seed_step(objective, seed, epoch, step, rank)

            def record(place: Folder, *rest: Any) -> None:
                at = Position.of(place.uri.rpartition("/")[2])
                faults.get("before_record", lambda at: None)(at)
                publish(place, *rest)

            ranks.seed_step, checkpoint.publish = step, record
        return super().build(model, widths)


def train(run: Run, stage: Stage) -> None:
    shards = open_shards(run)
    pretrain(setup_of(run, stage), shards, stamp_of(run, shards, stage), run.overwrite)


def once(marker: Path, fault: Callable[[], None]) -> None:
    if not marker.exists():
        marker.touch()
        fault()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def damage(folder: Folder, how: Callable[[bytes], bytes | None], name: str) -> None:
    """Changes a file of the newest whole checkpoint, or deletes it."""
    place = checkpoint.place_of(folder, checkpoint.positions(folder, whole=True)[-1])
    data = how(place.read_bytes(name))
    if data is None:
        place.delete(name)
    else:
        place.write_bytes(name, data)


def content_of(run: Run, place: str) -> tuple[str, list[dict[str, Any]]]:
    """The weights, to be the same bit for bit, and the rows but for what a clock says."""
    return content(Folder(run.out) / place)


def steps_of(notes: Path) -> Steps:
    return [(int(e), int(s)) for e, s in (line.split() for line in notes.read_text().splitlines())]


def test_one_worker_loses_its_driver_its_newest_checkpoints_and_itself(
    pretrained: Run,
    branch: Callable[..., Run],
    start_job: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Three kills: of the driver, of the worker before a step, and of it while it writes. With each
    the newest whole checkpoint is lost, too, every time in another way."""
    every = replace(pretrained.pretrain_stay, checkpoint_steps=2, keep=3)
    run = branch(pretrained, "shards", pretrain_stay=every, quiet=False)
    folder = Folder(run.out) / STAY_PRETRAINING

    def reached() -> bool:
        return any(at > Position(1, 0) for at in checkpoint.positions(folder, whole=True))

    start_job("pretrain_stay", run.out, "--pretrain-stay.checkpoint-steps", "2").kill_once(reached)
    newest = checkpoint.positions(folder, whole=True)[-1]
    assert newest < Position(run.pretrain_stay.epochs)
    damage(folder, lambda data: data[:-1] + bytes([data[-1] ^ 1]), "model.safetensors")
    first, second, notes = tmp_path / "first", tmp_path / "second", tmp_path / "steps"
    last = run.pretrain_stay.epochs - 1

    def truncate() -> None:
        damage(folder, lambda data: data[: len(data) // 2], "state.pt")
        die()

    def delete() -> None:
        damage(folder, lambda data: None, "metrics.jsonl")
        die()

    def lose(rank: int, at: Position) -> None:
        if at >= Position(last, 1):
            once(first, truncate)

    def lose_writing(at: Position) -> None:
        if first.exists() and at > Position(last, 0):
            once(second, delete)

    faults = {"before_step": lose, "before_record": lose_writing}
    train(run, Faulty("pretrain_stay", folder.uri, notes=notes, faults=faults))
    said = capsys.readouterr().out
    assert f"{newest} is not used: its model.safetensors is missing or not what was" in said
    assert first.exists()
    assert second.exists()
    steps = steps_of(notes)
    assert Position(*steps[0]) < newest
    # every step has a checkpoint here: a damaged one costs one step more
    assert len(steps) - len(set(steps)) <= 2 * (every.checkpoint_steps + 1)
    assert content_of(run, STAY_PRETRAINING) == content_of(pretrained, STAY_PRETRAINING)


def test_two_workers_take_equal_steps_and_either_may_be_lost(
    pretrained: Run, branch: Callable[..., Run], s3: str, tmp_path: Path
) -> None:
    """Unequal steps would hang in the averaging of gradients. The output of one worker, which is
    in the way, is overwritten on demand. In a bucket, rank 1 is lost before a step, then rank 0
    while it uploads a checkpoint."""
    place, name = "pretrain_admission/from_scratch", "pretrain_admission"
    two = replace(pretrained.pretrain_admission, workers=2, epochs=2, checkpoint_steps=2)
    run = branch(pretrained, "shards", place, pretrain_admission=two, overwrite=True)
    train(run, Stage(name, f"{run.out}/{place}"))
    rows = open_shards(run).manifest.rows_per_file("admissions", ("train",))
    _, metrics = content_of(run, place)
    of_rank = sum(rows.values()) // 2
    assert [m["steps"] for m in metrics] == [-(-of_rank // (two.batch_size // 2))] * 2
    assert metrics[1]["loss"] < metrics[0]["loss"]
    weights = load_file(f"{run.out}/{place}/model.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())

    first, second, notes = tmp_path / "first", tmp_path / "second", tmp_path / "steps"

    def lose(rank: int, at: Position) -> None:
        if rank == 1 and at >= Position(0, 3):
            once(first, die)

    def lose_writing(at: Position) -> None:
        if first.exists() and at >= Position(1, 1):
            once(second, die)

    there, faults = Folder(s3) / "lost", {"before_step": lose, "before_record": lose_writing}
    train(replace(run, overwrite=False), Faulty(name, there.uri, notes=notes, faults=faults))
    assert first.exists()
    assert second.exists()
    steps = steps_of(notes)
    assert 0 < len(steps) - len(set(steps)) <= 2 * two.checkpoint_steps
    assert content(there) == content_of(run, place)


def test_what_one_worker_refuses_ends_the_job_at_once(
    cohort: Run, branch: Callable[..., Run], tmp_path: Path
) -> None:
    """The other worker waits for it, in a collective that it never joins."""
    begun = tmp_path / "begun"

    def refuse(rank: int) -> None:
        if rank == 0:
            begun.open("a").write("once more\n")
        else:
            while not begun.exists():
                time.sleep(0.01)
            raise Refusal("rank 1 has nothing to read; give it something")

    two = replace(cohort.pretrain_stay, workers=2, epochs=1)
    run = branch(cohort, "shards", pretrain_stay=two)
    stage = Faulty(
        "pretrain_stay",
        f"{run.out}/pretrain_stay",
        notes=tmp_path / "steps",
        faults={"at_start": refuse},
    )
    with pytest.raises(ray.train.ControllerError) as ended:
        train(run, stage)
    assert str(find_refusal(ended.value)) == "rank 1 has nothing to read; give it something"
    assert begun.read_text().count("\n") == 1


def test_a_rank_that_hangs_is_named(
    cohort: Run, branch: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other waits for it in the averaging of gradients, and does so for so long only."""

    class AtOnce(Failures):  # local, so that the controller gets it by value
        def after_exception(self, run_context: Any, worker_exceptions: Any) -> None:
            raise RuntimeError(who_failed(worker_exceptions))

    def hang(rank: int, at: Position) -> None:
        if rank == 1 and at == Position(0, 1):
            time.sleep(600)

    monkeypatch.setenv(launch.COLLECTIVE_TIMEOUT, "8")
    monkeypatch.setattr(launch, "Failures", AtOnce)
    two = replace(cohort.pretrain_stay, workers=2, epochs=1)
    run = branch(cohort, "shards", pretrain_stay=two)
    stage = Faulty(
        "pretrain_stay",
        f"{run.out}/pretrain_stay",
        notes=tmp_path / "steps",
        faults={"before_step": hang},
    )
    with pytest.raises(ray.train.ControllerError, match=r"worker 0 .* in vain for worker 1"):
        train(run, stage)
