"""A tiny run of the whole path, each stage made once, that the tests of the jobs share."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.embed_notes import embed_notes
from jobs.export import export
from jobs.featurize import featurize
from jobs.pretrain_admission import pretrain_admission
from jobs.pretrain_stay import pretrain_stay
from jobs.report import report
from jobs.synthesize import synthesize
from jobs.tune import tune
from medhmp import command
from medhmp.benchmark.processes import train_workers
from medhmp.run import Run
from medhmp.storage import COMPLETE

ARGUMENTS = shlex.split("""
    smoke --quiet --tables.synthetic.patients 160 --splits.train 0.5 --splits.validation 0.2
    --splits.test 0.3 --shards.files 6 --shards.bucket-stays 200 --model.width 16
    --pretrain-stay.epochs 8 --pretrain-stay.batch-size 32
    --pretrain-admission.epochs 2 --pretrain-admission.batch-size 32
    --finetune.epochs 2 --tune.replicates 2 --tune.models medhmp hist_gradient_boosting
    --tune.search medhmp.batch_size=32 medhmp.learning_rate=5e-3,2e-2
    hist_gradient_boosting.learning_rate=0.05 hist_gradient_boosting.max_leaf_nodes=4
    hist_gradient_boosting.max_features=0.3 hist_gradient_boosting.components=30
    --report.draws 100
""")


@pytest.fixture(scope="session")
def arguments() -> list[str]:
    """The command line of the tiny run, all but ``--out``."""
    return ARGUMENTS


@pytest.fixture(scope="session")
def featurized(ray: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Raw tables and shards, the notes in them not embedded yet."""
    run = replace(command.parse(ARGUMENTS), out=str(tmp_path_factory.mktemp("featurized")))
    synthesize(run)
    featurize(run)
    return run


@pytest.fixture(scope="session")
def cohort(featurized: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A copy of them, with note embeddings."""
    out = tmp_path_factory.mktemp("tiny")
    shutil.copytree(featurized.out, out, dirs_exist_ok=True)
    run = replace(featurized, out=str(out))
    embed_notes(run)
    return run


@pytest.fixture(scope="session")
def pretrained(cohort: Run) -> Run:
    """The same folder with both stages of pretraining."""
    pretrain_stay(cohort)
    pretrain_admission(cohort)
    return cohort


@pytest.fixture(scope="session")
def tuned(pretrained: Run) -> Run:
    """The same folder with every grid."""
    tune(pretrained)
    return pretrained


@pytest.fixture(scope="session")
def exported(tuned: Run) -> Run:
    """The same folder with its report and a folder of each model."""
    report(tuned)
    export(tuned)
    return tuned


@pytest.fixture
def branch(tmp_path: Path) -> Callable[..., Run]:
    """``branch(run, "shards", ...)``: the run in a folder of its own with copies of these parts."""

    def copied(run: Run, *parts: str, **changes: Any) -> Run:
        for part in parts:
            shutil.copytree(Path(run.out) / part, tmp_path / part, dirs_exist_ok=True)
        return replace(run, out=str(tmp_path), **changes)

    return copied


class Job:
    """A job in a process of its own, started as a user would from another folder."""

    def __init__(self, name: str, arguments: list[str], out: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"jobs.{name}", *arguments, "--out", out],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ,
            start_new_session=True,
        )
        self.printed = ("", "")
        """Stdout and stderr, once killed."""

    def ended(self, seconds: float = 300) -> tuple[int, str, str]:
        """Exit status, stdout, stderr."""
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err

    def kill_once(self, reached: Callable[[], bool], seconds: float = 300) -> None:
        """SIGKILL as soon as the output has come so far; with the driver goes any training worker,
        which would go on until Ray has seen it, and may be done by then."""
        deadline = time.monotonic() + seconds
        while not reached():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the job ended or hung before that: {self.ended(1)}")
            time.sleep(0.02)
        for pid in train_workers(self.process.pid):
            os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.printed = self.ended()[1:]


@pytest.fixture
def start_job(arguments: list[str]) -> Iterator[Callable[..., Job]]:
    """``start_job("pretrain_stay", out)``: the tiny run's command, running."""
    started: list[Job] = []

    def start(name: str, out: str, *more: str) -> Job:
        started.append(Job(name, [*arguments, *more], out))
        return started[-1]

    yield start
    for job in started:
        if job.process.poll() is None:
            job.process.kill()
            job.process.wait()


@pytest.fixture
def refused(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """``refused(job, "smoke", ...)``: the one sentence with which the job exits with status 2.

    Runs in this process, on the session's Ray. Nothing may have been published under ``--out``.
    """

    def refuse(job: Callable[[Run], None], *arguments: str, needs_ray: bool = True) -> str:
        out = Path(arguments[arguments.index("--out") + 1]) if "--out" in arguments else None
        before = whole(out)
        monkeypatch.setattr(sys, "argv", [f"jobs/{job.__name__}.py", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            command.main(job.__doc__, job, (), needs_ray=needs_ray)
        printed = capfd.readouterr().err
        assert ended.value.code == 2
        assert printed.startswith(f"python -m jobs.{job.__name__}: ")
        assert printed.count("\n") == 1, printed
        assert whole(out) == before
        return printed

    return refuse


def whole(out: Path | None) -> set[Path]:
    """Every published output below a folder."""
    return set(out.rglob(COMPLETE)) if out else set()
