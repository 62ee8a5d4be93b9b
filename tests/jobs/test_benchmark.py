"""The benchmark at sizes that say nothing of speed: its last line is the documented JSON."""

import json
import sys
from collections.abc import Callable

import pytest

from jobs import benchmark


@pytest.fixture
def measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., dict[str, float]]:
    """``measured("train", ...)``: the JSON object of the last line."""

    def measure(*arguments: str) -> dict[str, float]:
        monkeypatch.setattr(sys, "argv", ["jobs/benchmark.py", *arguments])
        benchmark.main()
        found: dict[str, float] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return found

    return measure


def test_synthesize_tells_speed_and_memory_of_each_size(
    measured: Callable[..., dict[str, float]],
) -> None:
    found = measured("synthesize", "--patients", "10", "20")
    assert set(found) == {f"{of}_{n}" for of in ("rows_per_s", "peak_gib") for n in (10, 20)}
    assert all(value > 0 for value in found.values())


def test_train_tells_the_speed_of_both_stages(measured: Callable[..., dict[str, float]]) -> None:
    small = ("--width", "8", "--batch", "2", "--active", "3", "--steps", "2", "--threads", "1")
    found = measured("train", *small)
    assert set(found) == {"stays_per_s", "admissions_per_s"}
    assert all(value > 0 for value in found.values())


def test_what_to_measure_has_to_be_said(measured: Callable[..., dict[str, float]]) -> None:
    with pytest.raises(SystemExit) as ended:
        measured()
    assert ended.value.code == 2
