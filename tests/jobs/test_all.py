"""The whole path: stage by stage, in one go after a SIGKILL, and in a bucket give one result."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.all import run_all
from jobs.report import report
from medhmp.evaluate.discrimination import METRICS
from medhmp.legend import LEVELS
from medhmp.run import Run
from medhmp.storage import COMPLETE, Folder

pytestmark = pytest.mark.ray

STARTS = ("none", "stay", "admission", "both")
STAGES = (
    "raw",
    "shards",
    "shards/note_embeddings",
    "pretrain_stay",
    "pretrain_admission/from_stay",
    "pretrain_admission/from_scratch",
    "report",
)


def results_of(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Folder(run.out) / "report").read_bytes("results.json"))
    return found


@pytest.fixture(scope="module")
def undisturbed(tuned: Run) -> Run:
    """The tiny run of the session with its report: every job by itself, on one Ray."""
    report(tuned)
    return tuned


def test_the_report_has_five_tasks_by_four_starts(undisturbed: Run) -> None:
    results = results_of(undisturbed)
    rows = {(row["task"], row["start"]) for row in results["rows"] if row["model"] == "medhmp"}
    assert rows == {(task, start) for task in LEVELS for start in STARTS}
    assert results["skipped"] == []
    assert all(
        0 <= row[name]["value"] <= 1 for row in results["rows"] for name in ("auroc", "aupr")
    )
    assert (Path(undisturbed.out) / "report" / "index.html").stat().st_size > 10_000


def test_killed_and_started_again_it_ends_as_the_undisturbed_run(
    undisturbed: Run, tmp_path: Path, start_job: Callable[..., Any]
) -> None:
    """SIGKILL in the middle of the grid; the same command then goes on with the missing cells."""
    out = str(tmp_path / "run")
    cells = lambda: list(Path(out).glob("tune/*/*/*/trials/*.json"))  # noqa: E731
    start_job("all", out).kill_once(lambda: len(cells()) >= 3)
    assert not list(Path(out).glob(f"tune/*/*/*/{COMPLETE}"))
    done = [*cells(), *(Path(out) / stage / COMPLETE for stage in STAGES[:-1])]
    before = {path: path.stat().st_mtime_ns for path in done}
    status, printed, errors = start_job("all", out).ended()
    assert status == 0, errors
    assert "Traceback" not in errors
    assert {path: path.stat().st_mtime_ns for path in done} == before
    assert results_of(replace(undisturbed, out=out)) == results_of(undisturbed)
    assert printed == ""  # --quiet


def test_again_every_stage_is_skipped(undisturbed: Run, capsys: pytest.CaptureFixture[str]) -> None:
    records = [Path(undisturbed.out) / stage / COMPLETE for stage in STAGES]
    before = [path.stat().st_mtime_ns for path in records]
    run_all(replace(undisturbed, quiet=False))
    printed = capsys.readouterr().out
    assert [path.stat().st_mtime_ns for path in records] == before
    assert printed.count("whole") == 5
    assert "0 grids run" in printed
    assert f"{undisturbed.out}/report/index.html" in printed.replace("\n", "")


@pytest.mark.s3
def test_in_a_bucket_the_metrics_are_those_on_disk(undisturbed: Run, s3: str) -> None:
    run = replace(undisturbed, out=f"{s3}/run")
    run_all(run)
    names = set(Folder(run.out).names())
    here = {str(p.relative_to(undisturbed.out)) for p in Path(undisturbed.out).rglob("*")}
    published = {
        str(path.relative_to(undisturbed.out)) for path in Path(undisturbed.out).rglob(COMPLETE)
    }
    assert {name for name in published if not name.startswith("finetune/")} <= names
    assert {f"{stage}/{COMPLETE}" for stage in STAGES} <= names
    assert {"raw/CHARTEVENTS.csv.gz", "raw/truth.parquet", "shards/manifest.json"} <= names & here
    assert any(name.startswith("pretrain_stay/checkpoints/") for name in names)
    assert any(name.startswith("tune/mortality/medhmp/both/trials/") for name in names)
    there, local = results_of(run), results_of(undisturbed)
    assert len(there["rows"]) == len(local["rows"])
    for ours, theirs in zip(there["rows"], local["rows"], strict=True):
        assert [ours[k] for k in ("task", "model", "start", "n", "events", "chosen")] == [
            theirs[k] for k in ("task", "model", "start", "n", "events", "chosen")
        ]
        for name in METRICS:
            assert ours[name] == pytest.approx(theirs[name], abs=1e-6, nan_ok=True)
    assert there["gain"] == pytest.approx(local["gain"], abs=1e-6)
    for task in LEVELS:
        best = f"tune/{task}/medhmp/none/best.json"
        (ours, theirs) = (Folder(out).read_json(best) for out in (run.out, undisturbed.out))
        assert ours["mean_val_loss"] == pytest.approx(theirs["mean_val_loss"], abs=1e-6)
