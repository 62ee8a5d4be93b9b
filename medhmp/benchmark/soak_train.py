"""Pretraining killed at random steps must end with an undisturbed run's weights and metrics.

The moment of a kill is chosen by the folders of checkpoints: their names give the step, and the
one without a record is being written.
"""

import hashlib
import json
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from medhmp.benchmark.processes import Job, flags
from medhmp.layout import MEASURED
from medhmp.storage import Folder
from medhmp.train import checkpoint
from medhmp.train.checkpoint import Position

StageName = Literal["pretrain_stay", "pretrain_admission"]
OUTPUT: Final[dict[StageName, str]] = {
    "pretrain_stay": "pretrain_stay",
    "pretrain_admission": "pretrain_admission/from_scratch",
}
LOST: Final = ("the driver", "a worker", "all workers", "everything")
"""Victims of a kill; *everything* is the driver, its Ray and all workers at once."""


@dataclass(frozen=True)
class SoakTrain:
    """Kills a worker, the driver, or all at once with SIGKILL, in a run of each stage with each
    number of workers.

    A kill may repeat fewer steps than the checkpoint interval. In the end the weights must be those
    of an undisturbed run bit for bit, and so must the metrics, except those that a clock decides.
    Exits with status 1 otherwise.
    """

    kills: int = 30  # per run, or as many more as the next two take
    while_writing: int = 5  # least number of them while a checkpoint is written
    mid_epoch: int = 10  # least number of them in the middle of an epoch
    stages: tuple[StageName, ...] = ("pretrain_stay", "pretrain_admission")
    workers: tuple[int, ...] = (1, 2)
    patients: int = 400  # of the synthetic cohort
    epochs: int = 60
    checkpoint_steps: int = 8  # small, so that there are many checkpoints
    width: int = 64  # R
    place: str | None = None  # folder or s3://bucket/key of all outputs; none: a temporary folder
    seed: int = 0  # of the moments

    def run(self) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as scratch:
            place = Folder(self.place or scratch)
            for job in ("synthesize", "featurize", "embed_notes"):
                Job(job, place / "made", *self._sizes).finish()
            found = [
                self._lose(place, stage, workers)
                for stage in self.stages
                for workers in self.workers
            ]
        most = max(each.pop("repeated_at_most") for each in found)
        totals = {name: float(sum(each[name] for each in found)) for name in found[0]}
        return {**totals, "runs": float(len(found)), "repeated_at_most": float(most)}

    @property
    def _sizes(self) -> list[str]:
        sizes = ["--tables.synthetic.patients", str(self.patients), "--shards.files", "6"]
        return [*sizes, "--model.width", str(self.width), "--tune.starts", "none", "admission"]

    def _lose(self, place: Folder, stage: StageName, workers: int) -> dict[str, int]:
        name = f"{stage}-{workers}"
        arguments = self._sizes + flags(
            stage,
            workers=workers,
            epochs=self.epochs,
            batch_size=32,
            checkpoint_steps=self.checkpoint_steps,
        )
        whole, killed = (place / f"{name}-{which}" for which in ("whole", "killed"))
        for out in (whole, killed):
            _copy(place / "made" / "shards", out / "shards")
        begun = time.perf_counter()
        Job(stage, whole, *arguments).finish()
        expected = content(whole / OUTPUT[stage])
        steps = int(expected[1][0]["steps"])
        print(f"{name}: undisturbed, {steps * self.epochs} steps, {_seconds(begun)}", flush=True)

        lives = Lives(
            lambda: Job(stage, killed, *arguments),
            killed / OUTPUT[stage],
            steps,
            self.checkpoint_steps,
            random.Random(self.seed),
        )
        counts = lives.lose(self.kills, self.while_writing, self.mid_epoch)
        if content(killed / OUTPUT[stage]) != expected:
            raise SystemExit(f"{name}: killed, it ended with other weights or other metrics")
        print(f"{name}: ended the same, {_seconds(begun)}; {counts}", flush=True)
        return counts


class Lives:
    """A run that is killed and begun again until it ends."""

    def __init__(
        self,
        begin: Callable[[], Job],
        folder: Folder,
        steps: int,
        interval: int,
        moments: random.Random,
    ) -> None:
        """``steps``: of an epoch; ``interval``: a kill repeats fewer steps than this."""
        self._begin, self._folder, self._steps = begin, folder, steps
        self._interval, self._moments = interval, moments
        self._job = begin()

    def lose(self, kills: int, while_writing: int, mid_epoch: int) -> dict[str, int]:
        """Kills at least that often, then lets the run end; returns the counts."""
        least = {"kills": kills, "while_writing": while_writing, "mid_epoch": mid_epoch}
        counts = {**dict.fromkeys(least, 0), "repeated_at_most": 0}
        while any(counts[what] < times for what, times in least.items()):
            left = max(kills - counts["kills"], 1)
            wants_writing = while_writing - counts["while_writing"] >= left * self._moments.random()
            lost = self._moments.choice(LOST[2:] if wants_writing else LOST)
            at = self._lose_at_a_moment(lost, wants_writing)
            begun, whole = self._seen()
            # After the driver's loss training goes on a little, so the moment itself is not seen.
            is_writing = lost != "the driver" and begun != whole
            repeated = self._done(begun) - self._done(whole) + self._interval // 2 - 1
            counts["kills"] += 1
            counts["while_writing"] += is_writing
            counts["mid_epoch"] += at.step > 0
            counts["repeated_at_most"] = max(counts["repeated_at_most"], repeated)
            how = "while it is written" if is_writing else "between checkpoints"
            print(
                f"  kill {counts['kills']}: {lost}, at {at} or soon after, {how}; "
                f"goes on from {whole}",
                flush=True,
            )
            if repeated >= max(self._interval, 2):
                raise SystemExit(f"up to {repeated} steps would be repeated, of {self._interval}")
            if self._job.has_ended:
                self._job = self._begin()
        self._job.finish()
        return counts

    def _lose_at_a_moment(self, lost: str, wants_writing: bool) -> Position:
        """Kills after a random wait, or while a checkpoint is written; returns the position.

        Before that it waits for some more checkpoints, so that each life makes progress.
        """
        _, whole = self._seen()
        further, seen = self._moments.randint(2, 4), {whole}
        since = time.perf_counter()
        while len(seen) <= further:
            seen.add(self._look()[0])
        victims = self._victims(lost)  # found beforehand: this takes longer than writing
        if wants_writing:
            begun = whole
            while begun == whole:
                begun, whole = self._look()
        else:
            each = (time.perf_counter() - since) / len(seen)
            time.sleep(self._moments.uniform(0, min(2 * each, 0.5)))
            begun, _ = self._seen()
        self._job.kill(victims)
        return begun

    def _look(self) -> tuple[Position, Position]:
        if self._job.has_ended:
            raise SystemExit("the run ended before its last kill; give it more --epochs")
        time.sleep(0.0005)
        return self._seen()

    def _victims(self, lost: str) -> list[int]:
        processes = self._job.processes()
        if lost == "a worker":
            return [self._moments.choice(processes["workers"])]
        return processes["workers" if lost == "all workers" else lost]

    def _seen(self) -> tuple[Position, Position]:
        """The newest checkpoint begun and the newest one whole.

        The whole one is read first, so that it is never newer than the one begun.
        """
        start = Position(0)
        whole = max(checkpoint.positions(self._folder, whole=True), default=start)
        return max(checkpoint.positions(self._folder), default=start), whole

    def _done(self, at: Position) -> int:
        return at.epoch * self._steps + at.step


def content(folder: Folder) -> tuple[str, list[dict[str, Any]]]:
    """SHA-256 of the weights, and the metrics without those that a clock decides."""
    lines = folder.read_bytes("metrics.jsonl").decode().splitlines()
    rows = [json.loads(line) for line in lines]
    weights = hashlib.sha256(folder.read_bytes("model.safetensors")).hexdigest()
    return weights, [{name: row[name] for name in row.keys() - set(MEASURED)} for row in rows]


def _copy(source: Folder, target: Folder) -> None:
    for name in source.names():
        target.write_bytes(name, source.read_bytes(name))


def _seconds(begun: float) -> str:
    return f"{time.perf_counter() - begun:.0f} s"
