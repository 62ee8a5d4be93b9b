"""Both stages of pretraining, measured at the paper's sizes beside the plain form."""

import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch

from medhmp.batch import SUBJECT_ID
from medhmp.benchmark import workers
from medhmp.benchmark.parts import parts
from medhmp.benchmark.plain import PlainStays, dense
from medhmp.benchmark.rows import (
    NUMBERED,
    PAPER,
    random_admissions,
    random_numbers,
    random_stays,
    write_rows,
)
from medhmp.benchmark.step import Step, in_turn, loss_of, marking
from medhmp.ray_session import start_ray
from medhmp.run import Model
from medhmp.shards.rows import Admissions, Batch, Stays
from medhmp.shards.stream import Share, pinned
from medhmp.storage import Folder
from medhmp.train.device import to_device
from medhmp.train.objective import (
    StayReconstruction,
    build_admission_pretraining,
    build_number_pretraining,
    build_stay_pretraining,
)

GIB: Final = 2**30
STAYS: Final = 100_563
ADMISSIONS: Final = 99_000
"""Sizes of the paper's corpus."""
GLOBAL_BATCH: Final = 4096
"""The paper's batch of stage two."""
NUMBERS_WIDTH: Final = 64
"""R of MedHMP-S, which is narrower than the paper's form."""
MODES: Final = ("memory", "streamed")
"""Ways to read a share: once, or anew in every epoch."""
SQUARE: Final = 2048
"""Rows and columns of the matrix product that the arithmetic is compared with."""

Batches = Callable[[int], Iterator[Batch]]
"""The batches of an epoch."""


@dataclass(frozen=True)
class Train:
    """Steps of both stages on random rows.

    They are interleaved with the plain form, read from shards as a worker reads them, and made by
    several workers.
    """

    width: int = 256  # R
    batch: int = 128  # stays per step; admissions take twice as many, one stay each
    active: int = 60  # features on in an hour
    steps: int = 15  # timed steps of each; the median counts
    threads: int = 2  # CPU threads
    device: str = "cpu"  # or cuda
    workers: int = 2  # of stage one on CPUs, of one thread and a core each; below 2: none
    streamed: int = 48  # steps of an epoch that is read from shards; 0: leave the stream out
    turns: int = 3  # such epochs, in each way of reading; the median counts
    epochs: bool = False  # as many steps of each stage as an epoch of the paper's corpus has
    paper_batch: bool = False  # a step of admissions at 4,096, and the memory it takes
    growth: int = 0  # steps of both stages over which memory must not grow; 0: none

    def run(self) -> dict[str, float]:
        found: dict[str, float] = {}
        if self.workers > 1:
            found |= workers.compare(self.workers, self.width, self.batch, self.active, self.steps)
        torch.set_num_threads(self.threads)
        torch.manual_seed(0)
        stays = self._stays(self.batch)
        admissions = self._admissions(2 * self.batch)
        for step in (stays, admissions):
            step()
        found["peak_gib"] = self._peak()
        if self.growth:  # before a higher peak, above which nothing would show
            found |= self._growth(stays, admissions)
        if self.paper_batch:
            found |= self._at_the_papers_batch()
        found |= self._beside_the_plain_form(stays, admissions)
        found |= self._parts()
        found |= self._numbers()
        if self.streamed:
            found |= self._from_shards(stays)
        if self.epochs:
            found |= self._whole_epochs()
        return found

    def _stays(self, rows: int) -> Step:
        batch = self._cut(random_stays(rows, self.active))
        return Step(build_stay_pretraining(self._model, PAPER), batch, self._device)

    def _admissions(self, rows: int) -> Step:
        batch = self._cut(random_admissions(rows, self.active))
        return Step(build_admission_pretraining(self._model, PAPER), batch, self._device, 1024)

    def _cut(self, rows: Stays | Admissions) -> Batch:
        """All rows as one batch, as a worker would have it."""
        batch = rows.batch(np.arange(len(rows)), self._on_gpu)
        return pinned(batch) if self._on_gpu else batch

    @property
    def _model(self) -> Model:
        return Model(width=self.width)

    @property
    def _device(self) -> torch.device:
        return torch.device(self.device)

    @property
    def _on_gpu(self) -> bool:
        return self._device.type == "cuda"

    def _peak(self) -> float:
        if self._on_gpu:
            return torch.cuda.max_memory_allocated() / GIB
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB

    def _beside_the_plain_form(self, stays: Step, admissions: Step) -> dict[str, float]:
        """Steps in turn: ours, the plain form, ours of stage two, and a matrix product."""
        ours = stays.objective
        assert isinstance(ours, StayReconstruction)
        plain = Step(
            PlainStays(ours), dense(to_device(stays.batch, self._device), ours), self._device
        )
        same = loss_of(plain) / loss_of(stays) - 1
        if abs(same) > 1e-5:
            raise SystemExit(f"the plain form's loss is another: {same:.2e} of ours apart")
        square = torch.randn(SQUARE, SQUARE, device=self._device)
        works = (stays, plain, admissions, lambda: square @ square)
        taken = in_turn(works, self.steps, self._device)
        seconds = [statistics.median(of) for of in taken]
        # Ratios are taken within a turn: the speed of a shared machine comes and goes.
        ratio = statistics.median(b / a for a, b in zip(taken[0], taken[1], strict=True))
        rows = (self.batch, self.batch, 2 * self.batch)
        rates = [n / s for n, s in zip(rows, seconds[:3], strict=True)]
        gemm = 2 * SQUARE**3 / seconds[3] / 1e9
        achieved = [
            work.flops / s / 1e9 for work, s in ((stays, seconds[0]), (admissions, seconds[2]))
        ]
        print(
            f"stays {rates[0]:,.0f}/s, plain form {rates[1]:,.0f}/s, ratio {ratio:.2f}; "
            f"admissions {rates[2]:,.0f}/s; GFLOP/s {achieved[0]:,.0f} and {achieved[1]:,.0f}, "
            f"a matrix product {gemm:,.0f}; losses {same:.1e} apart",
            flush=True,
        )
        return {
            "stays_per_s": rates[0],
            "stays_vs_plain": ratio,
            "plain_stays_per_s": rates[1],
            "admissions_per_s": rates[2],
            "admissions_vs_plain_stays": rates[2] / rates[1],
            "gemm_gflops": gemm,
            "stays_gflops": achieved[0],
            "admissions_gflops": achieved[1],
        }

    def _parts(self) -> dict[str, float]:
        """Milliseconds of each part of a step of stage one, in each form."""
        works = parts(self.width, self.batch, self.active, self._device)
        taken = in_turn(works.values(), self.steps, self._device)
        ms = {name: 1000 * statistics.median(of) for name, of in zip(works, taken, strict=True)}
        print("ms  " + "  ".join(f"{name} {value:.1f}" for name, value in ms.items()), flush=True)
        return {f"{name}_ms": value for name, value in ms.items()}

    def _numbers(self) -> dict[str, float]:
        """Steps of MedHMP-S's stage one at the sizes of the Challenge 2012."""
        objective = build_number_pretraining(Model(width=NUMBERS_WIDTH), NUMBERED)
        step = Step(objective, self._cut(random_numbers(self.batch)), self._device)
        ((*seconds,),) = in_turn((step,), self.steps, self._device)
        rate = self.batch / statistics.median(seconds)
        print(f"stays as numbers, width {NUMBERS_WIDTH}: {rate:,.0f}/s", flush=True)
        return {"number_stays_per_s": rate}

    def _from_shards(self, step: Step) -> dict[str, float]:
        """Epochs of the loop over shards on disk, in turn with steps on one preloaded batch."""
        start_ray(quiet=True)
        found: dict[str, float] = {}
        rows = self.batch * self.streamed
        with tempfile.TemporaryDirectory() as place:
            for mode, budget in (("memory", 1e12), ("streamed", 0)):
                shards = Folder(place) / mode
                plan = write_rows(shards, "stays", rows, PAPER, self.batch, 4, self.active)
                share = Share(replace(plan, budget=budget), 0, 1)
                found |= self._read(mode, step, share.batches(self._on_gpu, self.turns + 3))
        worst = {
            name: max(found[f"{name}_{m}"] for m in MODES)
            for name in ("stream_vs_preloaded", "wait_share")
        }
        ingest = min(found[f"skip_step_vs_train_{m}"] for m in MODES)
        return found | worst | {"skip_step_vs_train": ingest}

    def _read(self, mode: str, step: Step, batches: Batches) -> dict[str, float]:
        seconds: list[tuple[float, float]] = []  # medians of each epoch's steps and those around it
        waits = []
        half = [step.batch] * max(1, self.streamed // 2)
        list(batches(0))  # the first epoch starts what reads
        for epoch in range(1, self.turns + 1):
            streamed: list[float] = []
            preloaded: list[float] = []
            # One half before and one after, so that a machine that slows down slows both alike.
            step.epoch(marking(half, preloaded))
            waits.append(step.epoch(marking(batches(epoch), streamed))["wait_share"])
            step.epoch(marking(half, preloaded))
            seconds.append((statistics.median(streamed), statistics.median(preloaded)))
        begun = time.perf_counter()
        for epoch in range(self.turns + 1, self.turns + 3):
            for _ in batches(epoch):
                pass
        alone = 2 * self.streamed / (time.perf_counter() - begun)
        ratio = statistics.median(a / b for a, b in seconds)
        stream, preload = (statistics.median(of) for of in zip(*seconds, strict=True))
        wait = statistics.median(waits)
        print(
            f"{mode}: a step {stream:.3f} s, of one preloaded batch {preload:.3f} s, ratio "
            f"{ratio:.3f}, waiting {wait:.1%}; ingest alone {alone * self.batch:,.0f} stays/s",
            flush=True,
        )
        return {
            f"stream_vs_preloaded_{mode}": ratio,
            f"wait_share_{mode}": wait,
            f"skip_step_vs_train_{mode}": alone * stream,
        }

    def _at_the_papers_batch(self) -> dict[str, float]:
        step = self._admissions(GLOBAL_BATCH)
        ((seconds,),) = in_turn((step,), 1, self._device)
        print(
            f"admissions at {GLOBAL_BATCH:,}: {seconds:.2f} s a step, peak {self._peak():.2f} GiB"
        )
        return {f"step_s_{GLOBAL_BATCH}": seconds, f"peak_gib_{GLOBAL_BATCH}": self._peak()}

    def _growth(self, *works: Step) -> dict[str, float]:
        """GiB by which the peak rises after the first tenth of the steps."""
        for at in range(self.growth):
            for work in works:
                work()
            if at == self.growth // 10:
                before = self._peak()
        print(f"over {self.growth} steps the peak rose by {self._peak() - before:.3f} GiB")
        return {"growth_gib": self._peak() - before}

    def _whole_epochs(self) -> dict[str, float]:
        stays, admissions = self._stays(self.batch), self._admissions(GLOBAL_BATCH)
        found = {}
        for name, work, rows in (("stay", stays, STAYS), ("admission", admissions, ADMISSIONS)):
            work()
            begun = time.perf_counter()
            work.epoch([work.batch] * (rows // len(work.batch[SUBJECT_ID])))
            found[f"{name}_epoch_s"] = time.perf_counter() - begun
            print(
                f"as many steps as {rows:,} {name}s: {found[f'{name}_epoch_s']:.2f} s", flush=True
            )
        return found
