"""The whole path: stage by stage on disk, and in one go in a bucket after a SIGKILL: one result."""

import importlib
import json
import stat
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from jobs.all import run_all
from jobs.report import report
from medhmp.command import SHAPING
from medhmp.evaluate.discrimination import METRICS
from medhmp.run import Run, fields_of
from medhmp.storage import COMPLETE, Folder, opened
from tests.leaks import found, numbers

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


FEWER = (("mortality", "readmission", "heart_failure"), ("none", "both"))
"""A task on each level and two starts, to be quick."""


def results_of(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Folder(run.out) / "report").read_bytes("results.json"))
    return found


def fewer_rows(run: Run) -> list[dict[str, Any]]:
    """Results of ``FEWER`` alone."""
    rows = results_of(run)["rows"]
    return [row for row in rows if row["task"] in FEWER[0] and row["start"] in FEWER[1]]


@pytest.fixture(scope="module")
def undisturbed(tuned: Run) -> Run:
    """The tiny run of the session with its report: every job by itself, on one Ray."""
    report(tuned)
    return tuned


def test_the_report_has_five_tasks_by_four_starts(undisturbed: Run) -> None:
    results = results_of(undisturbed)
    rows = {(row["task"], row["start"]) for row in results["rows"] if row["model"] == "medhmp"}
    assert rows == {(task, start) for task in undisturbed.tune.tasks for start in STARTS}
    assert results["skipped"] == []
    assert all(
        0 <= row[name]["value"] <= 1 for row in results["rows"] for name in ("auroc", "aupr")
    )
    assert (Path(undisturbed.out) / "report" / "index.html").stat().st_size > 10_000


def test_again_every_stage_is_skipped(undisturbed: Run, capsys: pytest.CaptureFixture[str]) -> None:
    records = [Path(undisturbed.out) / stage / COMPLETE for stage in STAGES]
    before = [path.stat().st_mtime_ns for path in records]
    run_all(replace(undisturbed, quiet=False))
    printed = capsys.readouterr().out
    assert [path.stat().st_mtime_ns for path in records] == before
    assert "0 grids run" in printed
    assert f"the report: {undisturbed.out}/report/index.html" in printed


def phrases(run: Run) -> list[str]:
    """The longest line of a few discharge notes, as they stand in the raw tables."""
    notes = pl.read_csv(Path(run.out) / "raw" / "NOTEEVENTS.csv.gz")["TEXT"].to_list()
    return [max(note.splitlines(), key=len) for note in notes[:3]]


def identifiers(run: Run) -> set[int]:
    """Identifiers of admissions and stays: numbers of six digits, some hundreds of each."""
    stays = pl.read_csv(Path(run.out) / "raw" / "ICUSTAYS.csv.gz")
    return {*stays["HADM_ID"].to_list(), *stays["ICUSTAY_ID"].to_list()}


HELD = ("raw/", "shards/stays/", "shards/admissions/", "shards/patients/", "shards/labels/",
        "shards/note_embeddings/")  # fmt: skip
"""Where the schema wants identifiers, beside every predictions.parquet."""


def check_outputs(run: Run, canaries: list[str], said: list[str], ids: set[int]) -> None:
    """No output has a credential, none but the raw tables a note, none but those that are joined
    by them an identifier."""
    folder = Folder(run.out)
    for name in folder.names():
        data = folder.read_bytes(name)
        assert found(canaries, name, data) == [], name
        if not name.startswith("raw/"):
            assert found(said, name, data) == [], name
        # The header of safetensors has the places of its bytes.
        if not name.startswith(HELD) and not name.endswith(("predictions.parquet", ".safetensors")):
            assert len(numbers(data) & ids) <= (2 if b"\0" in data else 0), name  # by chance


def check_logs(canaries: list[str], ids: set[int]) -> None:
    """No file of the session's Ray has any of them."""
    import ray

    session = Path(ray._private.worker._global_node.get_session_dir_path())
    logs = [path for path in session.rglob("*") if path.is_file()]
    assert any(path.name.startswith("worker-") for path in logs)
    for path in logs:
        data = path.read_bytes()
        assert found(canaries, path.name, data) == [], path.name
        assert len(numbers(data) & ids) < 3, path.name  # fewer: ports, processes, sizes


def test_outputs_and_ray_s_logs_keep_credentials_notes_and_identifiers(
    undisturbed: Run, canaries: list[str]
) -> None:
    said, ids = phrases(undisturbed), identifiers(undisturbed)
    assert len(canaries) >= 3
    assert len(ids) > 200
    assert found(said, "raw", Folder(undisturbed.out).read_bytes("raw/NOTEEVENTS.csv.gz"))
    check_outputs(undisturbed, canaries, said, ids)
    check_logs([*canaries, *said], ids)


def test_outputs_are_their_owner_s_alone(undisturbed: Run) -> None:
    for path in Path(undisturbed.out).rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


MADE_BY = {
    "raw": "synthesize",
    "shards": "featurize",
    "shards/note_embeddings": "embed_notes",
    "targets": "featurize",
    "pretrain_stay": "pretrain_stay",
    "pretrain_admission": "pretrain_admission",
    "tune": "tune",
    "report": "report",
}
"""Folder -> the job that writes its outputs."""


def test_a_job_s_help_has_every_field_that_its_output_depends_on(undisturbed: Run) -> None:
    """Fields that shaped the shards are named in the help as featurize's."""
    earlier = fields_of(undisturbed, *SHAPING)
    jobs = {job: importlib.import_module(f"jobs.{job}").READS for job in [*MADE_BY.values(), "all"]}
    outputs = [path.parent for path in Path(undisturbed.out).rglob(COMPLETE)]
    made = {}
    for output in outputs:
        place = str(output.relative_to(undisturbed.out))
        if "checkpoints" in place or place == "shards/notes" or place.startswith("models/"):
            continue  # a model's folder has the fields of what it was taken from
        folder = place if place in MADE_BY else place.partition("/")[0]
        made[folder] = MADE_BY[folder]
        stamped = opened(Folder(str(output)), made[folder]).fields.keys() - {"shuffled", "numbers"}
        shown = fields_of(undisturbed, *jobs[made[folder]]).keys()
        assert [name for name in stamped if not is_told(name, shown | earlier.keys())] == []
        of_all = fields_of(undisturbed, *jobs["all"]).keys()
        assert [name for name in stamped if not is_told(name, of_all)] == []
    assert made == MADE_BY


def is_told(name: str, fields: Collection[str]) -> bool:
    """True for one of the fields, and for a part of one: ``tune.search.learning_rate``."""
    return any(f"{name}.".startswith(f"{field}.") for field in fields)


def written(run: Run, names: Iterable[str]) -> dict[str, Any]:
    """Time of the last write of each of these files."""
    return {name: getattr(Folder(run.out).state(name), "changed", None) for name in names}


@pytest.mark.s3
def test_killed_and_started_again_in_a_bucket_it_ends_as_the_undisturbed_run_on_disk(
    undisturbed: Run,
    start_job: Callable[..., Any],
    s3: str,
    canaries: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """SIGKILL in the middle of the grid; the same command then goes on with the missing cells."""
    fewer = replace(undisturbed.tune, tasks=FEWER[0], starts=FEWER[1])
    run = replace(undisturbed, out=f"{s3}/run", tune=fewer)
    command = ("all", run.out, "--tune.tasks", *FEWER[0], "--tune.starts", *FEWER[1])

    def cells() -> list[str]:
        time.sleep(0.3)  # a server that is always asked answers nobody else
        names = (Folder(run.out) / "tune").names()
        return [f"tune/{n}" for n in names if "/trials/" in n and n.endswith(".json")]

    killed = start_job(*command, "--no-quiet")
    killed.kill_once(lambda: len(cells()) >= 3)
    assert not [n for n in (Folder(run.out) / "tune").names() if n.endswith(COMPLETE)]
    stages = [stage for stage in STAGES if "scratch" not in stage]
    before = written(run, [*cells(), *(f"{stage}/{COMPLETE}" for stage in stages[:-1])])
    run_all(replace(run, quiet=False))
    assert written(run, before) == before
    said, ids = phrases(undisturbed), identifiers(undisturbed)
    console = "".join((*killed.printed, *capfd.readouterr()))
    assert "pretrain_stay: loss" in console
    assert found([*canaries, *said], "console", console.encode()) == []
    assert not numbers(console.encode()) & ids
    check_outputs(run, canaries, said, ids)
    check_logs([*canaries, *said], ids)

    names = Folder(run.out).names()
    assert {f"{stage}/{COMPLETE}" for stage in stages} <= set(names)
    assert {"raw/CHARTEVENTS.csv.gz", "raw/truth.parquet", "report/index.html"} <= set(names)
    for begin in ("pretrain_stay/checkpoints/epoch-", "tune/mortality/medhmp/both/trials/batch-"):
        assert any(name.startswith(begin) for name in names)
    assert not any(name.startswith("shards/notes/") for name in names)

    there = results_of(run)["rows"]
    here = fewer_rows(undisturbed)
    same = ("task", "model", "start", "n", "events", "chosen")
    assert [[r[k] for k in same] for r in there] == [[r[k] for k in same] for r in here]
    for ours, theirs in zip(there, here, strict=True):
        for metric in METRICS:
            one, other = dict(ours[metric]), dict(theirs[metric])
            assert one.pop("chance") == other.pop("chance")
            assert one == pytest.approx(other, abs=1e-6)
        place = f"tune/{ours['task']}/{ours['model']}/{ours['start']}"
        chosen = [Folder(out) / place for out in (run.out, undisturbed.out)]
        losses = [folder.read_json("best.json")["mean_val_loss"] for folder in chosen]
        assert losses[0] == pytest.approx(losses[1], abs=1e-6)
