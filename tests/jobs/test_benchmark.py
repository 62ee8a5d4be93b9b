"""The benchmark at sizes that say nothing of speed: its last line is the documented JSON."""

import json
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from jobs.benchmark import MEASUREMENTS, main, measurement
from medhmp.benchmark.featurize import summary
from medhmp.benchmark.rows import PAPER, random_stays
from medhmp.benchmark.step import Step
from medhmp.run import Model
from medhmp.train.objective import build_stay_pretraining


@pytest.fixture
def measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., dict[str, float]]:
    """``measured("train", ...)``: the JSON object of the last line."""

    def measure(*arguments: str) -> dict[str, float]:
        monkeypatch.setattr(sys, "argv", ["jobs/benchmark.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        found: dict[str, float] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return found

    return measure


def test_synthesize_tells_speed_and_memory_of_each_size(
    measured: Callable[..., dict[str, float]],
) -> None:
    found = measured("synthesize", "--patients", "10", "20")
    assert set(found) == {f"{of}_{n}" for of in ("rows_per_s", "peak_gib") for n in (10, 20)}
    assert all(value > 0 for value in found.values())


def test_bootstrap_tells_its_seconds_and_is_that_of_scikit_learn(
    measured: Callable[..., dict[str, float]],
) -> None:
    sizes = ("--rows", "400", "--draws", "30", "--compared", "5", "--repeats", "1")
    found = measured("bootstrap", *sizes)
    assert set(found) == {"seconds", "loop_s", "largest_difference_e12"}
    assert found["largest_difference_e12"] < 1000  # 1e-9


@pytest.mark.ray
def test_featurize_tells_what_the_job_takes_of_each_size(
    measured: Callable[..., dict[str, float]],
) -> None:
    sizes = ("--fiddle", "20", "--stays", "15", "--density", "0.5", "--idle", "1")
    found = measured("featurize", *sizes)
    each = {
        "events", "stays", "wall_s", "events_per_s", "cpu_s",
        "cpu_ms_each", "peak_gib", "mib_out", "columns",
    }  # fmt: skip
    runs = {"fiddle_20", "mimic3_15"}
    whole = {"idle_gib", "cpu_s", "peak_gib", "events_per_s"}
    assert set(found) == {f"{name}_{run}" for name in each for run in runs} | whole
    assert found["stays_fiddle_20"] == 20
    assert found["stays_mimic3_15"] >= 15
    for name in ("cpu_s", "peak_gib", "events_per_s"):
        assert found[name] == found[f"{name}_fiddle_20"]
    assert all(value > 0 for value in found.values())


def test_the_cpu_of_an_id_is_the_slope_between_two_sizes() -> None:
    figures = {"cpu_s": 7.0, "peak_gib": 0.5, "events_per_s": 9.0}
    found = {f"{name}_fiddle_40": value for name, value in figures.items()}
    told = summary([20, 40], found | {"cpu_s_fiddle_20": 6.9})
    assert told == figures | {"cpu_ms_per_id": pytest.approx(5.0)}


SMALL = ("--width", "8", "--batch", "2", "--active", "3", "--steps", "2", "--threads", "1")


@pytest.mark.ray
def test_train_tells_the_speed_of_both_stages(
    measured: Callable[..., dict[str, float]], ray: object
) -> None:
    """It ends where the plain form's loss differs from ours."""
    found = measured("train", *SMALL, "--streamed", "2", "--workers", "2")
    asked = {
        "stays_per_s", "stays_vs_plain", "admissions_per_s", "wait_share", "stream_vs_preloaded",
        "skip_step_vs_train", "gemm_gflops", "stays_gflops", "admissions_gflops", "peak_gib",
        "workers_vs_one_step", "gradient_mib", "number_stays_per_s",
    }  # fmt: skip
    assert asked <= set(found)
    assert all(value >= 0 for value in found.values())


def test_train_tells_memory_where_asked(measured: Callable[..., dict[str, float]]) -> None:
    found = measured("train", *SMALL, "--streamed", "0", "--workers", "0", "--growth", "12")
    assert found["growth_gib"] >= 0
    assert "wait_share" not in found


def test_the_arithmetic_of_a_step_is_counted_whole() -> None:
    """Of stage one: three products of each recurrence, sparse ones, four dense ones of the loss."""
    S, T, F, R = 3, PAPER.hours, PAPER.features, 64
    step = Step(
        build_stay_pretraining(Model(width=R), PAPER),
        random_stays(S, active=5).batch(np.arange(S)),
        torch.device("cpu"),
    )
    recurrences = 2 * 3 * 2 * S * T * R * 4 * R
    sparse = 2 * (2 * 4 + 2) * R * step.batch["feature_ids"].numel()
    loss = 2 * (2 * S * T * R * R + 2 * F * R * R)
    assert recurrences + sparse + loss < step.flops < 1.1 * (recurrences + sparse + loss)


@pytest.mark.parametrize("arguments", [(), ("trian",)])
def test_what_to_measure_has_to_be_said(
    arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["jobs/benchmark.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("python -m jobs.benchmark: ")
    names = ", ".join(name for name in MEASUREMENTS)
    assert f"{names}, soak" in said


def test_every_measurement_is_there() -> None:
    for name in (*MEASUREMENTS, "soak"):
        assert callable(measurement(name)().run)
