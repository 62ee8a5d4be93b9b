"""An epoch's summary, of one process and of several.

Run as a program this file is one of several: ``test_meter.py FOLDER RANK``.
"""

import io
import json
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from medhmp.layout import MEASURED, terms
from medhmp.train.meter import Meter, line, step_line

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
    assert 0 < found["step_s"] * 3 <= found["seconds"]
    assert abs(found["ended"] - time.time()) < 600
    assert 0.01 < found["resident_gib"] < 64
    assert set(found) == {"loss", "halved", "steps", *MEASURED} - {"gpu_peak_gib"}


def test_the_loss_may_come_with_a_report_that_repeats_it():
    meter = Meter()
    meter.step(1, torch.tensor(2.0), {"loss": torch.tensor(2.0)})
    assert meter.summary()["loss"] == 2


TERMS = st.floats(-1e6, 1e6, width=32)


@given(st.lists(st.tuples(TERMS, TERMS), min_size=1, max_size=20), st.integers(0, 20))
def test_a_resumed_epoch_ends_with_the_same_means_bit_for_bit(losses, kill):
    def steps(meter, of):
        for loss, codes in of:
            meter.step(4, torch.tensor(loss), {"codes": torch.tensor(codes)})

    undisturbed, killed, resumed = Meter(), Meter(), Meter()
    steps(undisturbed, losses)
    steps(killed, losses[:kill])
    buffer = io.BytesIO()
    torch.save(killed.state(), buffer)
    steps(killed, losses[:3])  # what comes after a checkpoint changes nothing in it
    buffer.seek(0)
    resumed.resume(torch.load(buffer, weights_only=True))
    steps(resumed, losses[kill:])
    found, expected = resumed.summary(), undisturbed.summary()
    assert found.keys() == expected.keys()
    assert {k: found[k] for k in found.keys() - MEASURED} == {
        k: expected[k] for k in expected.keys() - MEASURED
    }


def test_a_resumed_epoch_counts_the_time_and_rows_from_before():
    meter = Meter()
    state = meter.state() | {"seconds": 100.0, "waited": 50.0, "rows": 1000, "steps": 10}
    meter.resume(state)
    meter.fetched(10)
    found = meter.summary()
    assert found["seconds"] == pytest.approx(100, abs=5)
    assert found["wait_share"] == pytest.approx(0.5, abs=0.05)
    assert found["rows_per_s"] == pytest.approx(1010 / found["seconds"])
    assert found["step_s"] == pytest.approx(50 / 11, abs=0.5)


def test_a_step_waits_for_no_device():
    """On the meta device there are no values: reading one would fail."""
    meter = Meter()
    for _ in range(2):
        meter.step(2, torch.ones((), device="meta"), {"codes": torch.ones((), device="meta")})
    assert meter.state()["sums"].is_meta


def test_terms_are_what_the_objective_reported():
    row = dict.fromkeys(("stage", "epoch", "codes", "loss", *MEASURED, "gradient_norm"), 0.0)
    assert terms(row) == ["loss", "codes"]


def test_the_line_tells_all_that_is_measured():
    row = {
        **{"loss": 0.51234, "codes": 2.0, "gradient_norm": 0.25, "learning_rate": 5e-4},
        **{"steps": 7.0, "rows_per_s": 1234.5, "wait_share": 0.0123, "step_s": 0.38},
        **{"seconds": 3.0, "ended": 1e9, "resident_gib": 0.75, "gpu_peak_gib": 9.5},
    }
    assert line("pretrain_stay", 1, 5, row) == (
        "pretrain_stay 2/5  loss 0.5123 codes 2 gradient_norm 0.25 learning_rate 0.0005  "
        "1,234 rows/s  step 380.0 ms  waiting 1.2%  0.8 + GPU 9.5 GiB  9 s left"
    )


def test_the_line_in_the_middle_of_an_epoch_tells_its_step_and_the_time_left(monkeypatch):
    monkeypatch.setattr(Meter, "seconds", 30.0)
    told = step_line("pretrain_stay 2/5", 200, 800, 0.51234, Meter())
    assert told == "pretrain_stay 2/5  step 200/800  loss 0.5123  90 s left of the epoch"


def test_processes_average_over_all_their_steps_and_add_up_their_speed(tmp_path, run_ranks):
    run_ranks(__file__, 2)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    for found in (first, second):
        assert found["loss"] == pytest.approx(2.5)
        assert found["halved"] == pytest.approx(1.25)
        assert found["steps"] == 3
        assert found["rows_per_s"] == pytest.approx(48 / found["seconds"])
    waits = [found["wait_share"] * found["seconds"] for found in (first, second)]
    assert waits[0] == pytest.approx(waits[1])  # the mean of both


if __name__ == "__main__":
    process(Path(sys.argv[1]), int(sys.argv[2]))
