"""Both stages of pretraining on real Ray: what they write, hand on, resume and refuse."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jobs.pretrain_admission import pretrain_admission
from jobs.pretrain_stay import pretrain_stay
from jobs.tune import tune
from medhmp.benchmark.soak_train import content
from medhmp.refusal import Refusal
from medhmp.run import Loop, Run
from medhmp.shards.manifest import open_shards
from medhmp.storage import COMPLETE, Folder
from medhmp.train.pretrain import launch
from medhmp.train.stage import Stage, rows_to_read, setup_of

pytestmark = pytest.mark.ray

STAGE_TWO = ("pretrain_admission/from_stay", "pretrain_admission/from_scratch")


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl`` without what a clock or the memory says."""
    return content(Folder(str(folder)))[1]


def points_of(folder: Path, curve: str) -> list[float]:
    """Points of a curve as TensorBoard shows them, by epoch."""
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [event.value for event in events.Scalars(curve)]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("place", ["pretrain_stay", *STAGE_TWO])
def test_the_output_is_whole_and_the_loss_falls(pretrained: Run, place: str) -> None:
    folder = Path(pretrained.out) / place
    written = {path.name for path in folder.iterdir()}
    files = {"model.safetensors", "run.json", "metrics.jsonl"}
    assert written == files | {"tensorboard", "checkpoints", COMPLETE}
    record = json.loads((folder / COMPLETE).read_text())
    curves = [f"tensorboard/{path.name}" for path in (folder / "tensorboard").iterdir()]
    assert {f["name"]: f["sha256"] for f in record["files"]} == {
        name: sha256(folder / name) for name in (*files, *curves)
    }
    assert json.loads((folder / "run.json").read_text())["model"]["width"] == 16
    name = place.partition("/")[0]
    settings = getattr(pretrained, name)
    metrics = metrics_of(folder)
    assert [(m["stage"], m["epoch"]) for m in metrics] == [
        (name, e) for e in range(settings.epochs)
    ]
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    assert {m["learning_rate"] for m in metrics} == {settings.learning_rate}
    assert all(m["gradient_norm"] > 0 for m in metrics)
    assert points_of(folder, "loss") == pytest.approx([m["loss"] for m in metrics])
    table = "stays" if name == "pretrain_stay" else "admissions"
    rows = open_shards(pretrained).manifest.rows_per_file(table, ("train",))
    assert {m["steps"] for m in metrics} == {-(-sum(rows.values()) // settings.batch_size)}
    kept = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert len(kept) <= settings.keep
    assert kept[-1] == f"epoch-{settings.epochs:05d}-step-000000"


def test_the_whole_stay_encoder_arrives_in_stage_two(pretrained: Run) -> None:
    """Strictly, and every weight of it; all else begins fresh. What was trained from there shows
    it: its encoder is stage one's but for two epochs, and far from one that began from scratch."""
    place = Folder(pretrained.out)
    record = (place / STAGE_TWO[0]).read_json(COMPLETE)
    assert record["inputs"]["start"] == sha256(Path(f"{place}/pretrain_stay/model.safetensors"))
    stage = Stage("pretrain_admission", f"{place}/{STAGE_TWO[0]}", start=f"{place}/pretrain_stay")
    widths = open_shards(pretrained).manifest.widths
    one = load_file(f"{place}/pretrain_stay/model.safetensors")
    torch.manual_seed(0)
    two = stage.build(pretrained.model, widths).state_dict()
    torch.manual_seed(0)
    fresh = replace(stage, start=None).build(pretrained.model, widths).state_dict()
    stay = {name for name in one if name.startswith("stay.")}
    assert {f"admission.{name}" for name in stay} == {n for n in two if "admission.stay." in n}
    for name in stay:
        assert torch.equal(two[f"admission.{name}"], one[name])
        assert not torch.allclose(two[f"admission.{name}"], fresh[f"admission.{name}"])
    for name in two.keys() - {f"admission.{name}" for name in stay}:
        assert torch.equal(two[name], fresh[name])
    begun, scratch = (load_file(f"{place}/{way}/model.safetensors") for way in STAGE_TWO)
    moved, apart = (
        sum(float((model[f"admission.{name}"] - one[name]).norm()) for name in stay)
        for model in (begun, scratch)
    )
    assert moved < apart / 3


def test_more_pretrainings_leave_the_first_and_differ_in_their_seed(
    pretrained: Run, branch: Callable[..., Run]
) -> None:
    """The replicates of a grid begin from one after the other."""
    tuned = replace(pretrained.tune, starts=("stay",), tasks=("mortality",), models=("medhmp",))
    run = branch(pretrained, "shards", "pretrain_stay", pretrain_seeds=2, tune=tuned)
    root = Path(run.out)
    before = (root / "pretrain_stay" / COMPLETE).stat().st_mtime_ns
    pretrain_stay(run)
    assert (root / "pretrain_stay" / COMPLETE).stat().st_mtime_ns == before
    records = [
        json.loads((root / place / COMPLETE).read_text())
        for place in ("pretrain_stay", "seed-1/pretrain_stay")
    ]
    seeds = [record["fields"].pop("pretrain_stay.seed") for record in records]
    assert seeds == [0, 1]
    assert records[0]["fields"] == records[1]["fields"]
    weights = [
        sha256(root / place / "pretrain_stay/model.safetensors") for place in (".", "seed-1")
    ]
    assert weights[0] != weights[1]
    told = json.loads((root / "seed-1/pretrain_stay/run.json").read_text())
    assert told["pretrain_stay"]["seed"] == 1
    tune(run)
    grid = json.loads((root / "tune/mortality/medhmp/stay" / COMPLETE).read_text())
    assert [grid["inputs"][name] for name in ("start", "seed-1/start")] == weights
    shutil.rmtree(root / "seed-1")
    run_again = replace(run, overwrite=True)
    with pytest.raises(Refusal, match="seed-1/pretrain_stay is missing or not whole"):
        tune(run_again)


def test_without_steps_it_tells_the_rate_of_ingest_and_leaves_nothing(
    cohort: Run,
    branch: Callable[..., Run],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The second stage without the first. Two workers that stream, on two CPUs, would wait for ever
    if they took what the readers need."""
    run = branch(
        cohort,
        "shards",
        quiet=False,
        loop=Loop(skip_step=True),
        share_budget_gib=0.0,
        tune=replace(cohort.tune, starts=("both",)),
        pretrain_admission=replace(cohort.pretrain_admission, epochs=2, workers=2),
    )
    before = Folder(run.out).names()
    pretrain_admission(run)
    assert Folder(run.out).names() == before
    found = re.fullmatch(
        r"pretrain_admission: ingest alone ([\d,]+) rows/s, streamed \(2 epochs of (\d+) steps\); "
        "nothing was trained or written\n",
        capsys.readouterr().out,
    )
    assert found
    assert int(found[1].replace(",", "")) > 0
    setup = setup_of(run, Stage("pretrain_admission", run.out))
    assert int(found[2]) == rows_to_read(setup, open_shards(run)).steps(2)


def test_a_rerun_is_skipped(pretrained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [Path(pretrained.out) / place for place in ("pretrain_stay", *STAGE_TWO)]
    before = [(path / COMPLETE).stat().st_mtime_ns for path in paths]
    pretrain_stay(replace(pretrained, quiet=False))
    pretrain_admission(replace(pretrained, quiet=False))
    assert [(path / COMPLETE).stat().st_mtime_ns for path in paths] == before
    assert capsys.readouterr().out.count("whole already") == 3


def test_what_shapes_no_weights_makes_none_anew(
    pretrained: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run = replace(
        pretrained,
        quiet=False,
        model=replace(pretrained.model, head_dropout=0.5),
        pretrain_stay=replace(pretrained.pretrain_stay, keep=7, checkpoint_steps=3),
        pretrain_admission=replace(pretrained.pretrain_admission, keep=7, checkpoint_steps=3),
    )
    pretrain_stay(run)
    pretrain_admission(run)
    assert capsys.readouterr().out.count("whole already") == 3


def test_another_runs_output_is_refused(
    pretrained: Run, refused: Callable[..., str], arguments: list[str]
) -> None:
    other = ("--pretrain-stay.epochs", "1")
    sentence = refused(pretrain_stay, *arguments, "--out", pretrained.out, *other)
    assert "pretrain_stay.epochs was 8, is 1" in sentence
    assert "--overwrite" in sentence


def test_workers_share_the_cpus_of_the_smallest_node(
    ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two CPUs here, sixteen elsewhere. Ray by itself gives each worker one thread."""
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert [launch._threads(workers) for workers in (1, 2, 5)] == [1, 1, 1]
    monkeypatch.setattr(launch.ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 16.0}}])
    assert [launch._threads(workers) for workers in (1, 2, 5)] == [15, 7, 2]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert launch._threads(2) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert launch._threads(2) == 1
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")  # the job server's 1, not a user's
    assert launch._threads(2) == 7


@pytest.mark.parametrize(
    ("value", "threads"),
    [("3", 3), ("2,1", 2), (" 4 , 3,2", 4), ("0", None), ("", None), ("-1", None), ("many", None)],
)
def test_every_form_of_omp_num_threads_is_read(value: str, threads: int | None) -> None:
    """A list has a number for each level of nesting; libgomp ignores what is not positive."""
    assert launch.openmp_threads(value) == threads
