"""Measures of an epoch: loss and its terms, speed, waiting for data, memory.

Under ``torch.distributed`` a rank's loss is its share, and the loss is the mean over the ranks.
"""

import os
import resource
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor

from medhmp.layout import terms
from medhmp.model.contrast import world_size

GIB: Final = 2**30


class Meter:
    """Sums of one epoch. Loss terms stay on the device until ``summary``, so no step waits."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._waited = 0.0
        self._rows = 0
        self._steps = 0
        self._names: list[str] = []
        self._sums = torch.zeros(0, dtype=torch.float64)  # one for each name
        if _on_gpu():
            torch.cuda.reset_peak_memory_stats()

    @property
    def seconds(self) -> float:
        """Seconds of the epoch so far."""
        return time.perf_counter() - self._start

    def waiting(self, batches: Iterable[dict[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
        """Yields batches, and times how long each took to arrive."""
        iterator = iter(batches)
        while True:
            asked = time.perf_counter()
            batch = next(iterator, None)
            self._waited += time.perf_counter() - asked
            if batch is None:
                return
            yield batch

    def fetched(self, rows: int) -> None:
        """Counts a batch, without a step."""
        self._rows += rows
        self._steps += 1

    def step(self, rows: int, loss: Tensor, report: dict[str, Tensor]) -> None:
        """Adds a step: its rows, its loss, and scalars to report, the same ones each time."""
        self.fetched(rows)
        terms = {"loss": loss, **report}
        values = torch.stack([value.detach() for value in terms.values()]).to(torch.float64)
        if self._names:
            values = self._sums.to(values.device) + values
        self._names, self._sums = list(terms), values

    def state(self) -> dict[str, Any]:
        """State for ``resume``. Its sums are on the device, and later steps do not change them;
        reading them waits for the device."""
        return {
            "rows": self._rows,
            "steps": self._steps,
            "names": self._names,
            "sums": self._sums,
            "seconds": self.seconds,
            "waited": self._waited,
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Goes on from a ``state``. The summary is then that of an undisturbed epoch, bit for bit,
        except for the fields in ``layout.MEASURED``."""
        self._rows, self._steps = state["rows"], state["steps"]
        self._names, self._sums = list(state["names"]), state["sums"]
        self._start = time.perf_counter() - state["seconds"]
        self._waited = state["waited"]

    def summary(self) -> dict[str, float]:
        """The epoch in numbers. Every rank has to call it, and waits for its device.

        Returns:
            Means over steps and ranks of the loss and of the scalars reported; ``steps``;
            ``rows_per_s`` of all ranks together; ``wait_share``, the share of time spent waiting
            for batches, mean over ranks; and of this rank ``seconds`` of the epoch, ``step_s``,
            seconds of a step without waiting, ``ended`` (Unix time), ``resident_gib`` and, on a
            GPU, ``gpu_peak_gib``.
        """
        *sums, rows, waited = self._over_ranks()
        seconds = self.seconds
        ranks, steps = world_size(), max(self._steps, 1)
        return {
            **{
                name: total / (steps * ranks) for name, total in zip(self._names, sums, strict=True)
            },
            "steps": float(self._steps),
            "rows_per_s": rows / seconds,
            "wait_share": waited / ranks / seconds,
            "step_s": (seconds - self._waited) / steps,
            "seconds": seconds,
            "ended": time.time(),
            **_memory(),
        }

    def _over_ranks(self) -> list[float]:
        """Sums over ranks, in one message: the sums over steps, then rows, then seconds waited."""
        device = self._sums.device
        if world_size() > 1 and dist.get_backend() == "nccl":
            device = torch.device("cuda", torch.cuda.current_device())
        counts = torch.tensor([self._rows, self._waited], dtype=torch.float64)
        vector = torch.cat([self._sums.to(device), counts.to(device)])
        if world_size() > 1:
            dist.all_reduce(vector)
        found: list[float] = vector.tolist()
        return found


def line(name: str, epoch: int, epochs: int, row: Mapping[str, float]) -> str:
    """The line of an epoch: loss and its terms, speed, waiting, memory, time left."""
    shown = [of for of in (*terms(row), "gradient_norm", "learning_rate") if of in row]
    values = " ".join(f"{of} {row[of]:.4g}" for of in shown)
    gpu = f" + GPU {row['gpu_peak_gib']:.1f}" if "gpu_peak_gib" in row else ""
    return (
        f"{name} {epoch + 1}/{epochs}  {values}  "
        f"{row['rows_per_s']:,.0f} rows/s  step {1000 * row['step_s']:,.1f} ms  "
        f"waiting {row['wait_share']:.1%}  {row['resident_gib']:.1f}{gpu} GiB  "
        f"{(epochs - epoch - 1) * row['seconds']:.0f} s left"
    )


def step_line(at: str, done: int, steps: int, loss: float, meter: Meter) -> str:
    """A line in the middle of an epoch: the step, a recent loss, the time that the epoch needs."""
    left = meter.seconds / done * (steps - done)
    return f"{at}  step {done}/{steps}  loss {loss:.4g}  {left:.0f} s left of the epoch"


def _memory() -> dict[str, float]:
    """GiB resident in this process and, if it uses a GPU, the peak there since the Meter began."""
    found = {"resident_gib": _resident() / GIB}
    if _on_gpu():
        found["gpu_peak_gib"] = torch.cuda.max_memory_allocated() / GIB
    return found


def _on_gpu() -> bool:
    """True if this process has used a GPU. Asking does not start one."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _resident() -> int:
    """Resident bytes of this process; without /proc, as on macOS, its peak."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
