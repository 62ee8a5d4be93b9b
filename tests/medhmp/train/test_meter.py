"""An epoch's summary, of one process and of several.

Run as a program this file is one of several: ``test_meter.py FOLDER RANK``.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from medhmp.train.meter import Meter

SHARES = ([1.0, 2.0, 6.0], [5.0, 0.0, 1.0])
"""The losses that each rank sees, step by step."""


def summary(losses):
    meter = Meter()
    for loss in meter.waiting([{"x": torch.tensor(loss)} for loss in losses]):
        meter.step(8, loss["x"], {"halved": loss["x"] / 2})
    return meter.summary()


def process(folder: Path, rank: int) -> None:
    dist.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    (folder / f"{rank}.json").write_text(json.dumps(summary(SHARES[rank])))
    dist.destroy_process_group()


def test_one_process_averages_over_its_steps():
    found = summary(SHARES[0])
    assert found["loss"] == pytest.approx(3)
    assert found["halved"] == pytest.approx(1.5)
    assert found["steps"] == 3
    assert found["rows_per_s"] == pytest.approx(24 / found["seconds"])
    assert 0 <= found["wait_share"] <= 1


def test_the_loss_may_come_with_a_report_that_repeats_it():
    meter = Meter()
    meter.step(1, torch.tensor(2.0), {"loss": torch.tensor(2.0)})
    assert meter.summary()["loss"] == 2


def test_processes_average_over_all_their_steps_and_add_up_their_speed(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([sys.executable, __file__, str(tmp_path), str(rank)], env=environment)
        for rank in range(2)
    ]
    assert not any(process.wait(timeout=120) for process in processes)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    for found in (first, second):
        assert found["loss"] == pytest.approx(2.5)
        assert found["halved"] == pytest.approx(1.25)
        assert found["steps"] == 3
        own = 24 / first["seconds"] + 24 / second["seconds"]
        assert found["rows_per_s"] == pytest.approx(own)


if __name__ == "__main__":
    process(Path(sys.argv[1]), int(sys.argv[2]))
