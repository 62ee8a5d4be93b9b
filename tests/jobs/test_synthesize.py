"""Lines of the job while it works: on a terminal patients, rows/s and time left; else little."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from jobs import synthesize as job
from medhmp.progress import Progress
from medhmp.recipes import smoke
from medhmp.refusal import Refusal
from medhmp.run import Run, Synthetic, Tables
from medhmp.storage import Folder, opened
from medhmp.synthetic.write import BLOCK

PATIENTS = BLOCK + 40


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return replace(
        smoke(), out=str(tmp_path), tables=Tables(synthetic=Synthetic(patients=PATIENTS))
    )


def test_on_a_terminal_it_tells_how_far_it_is(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Progress, "is_watched", property(lambda self: not self.quiet))
    monkeypatch.setattr(job, "SPOKEN", 0.0)
    job.synthesize(run)
    first, last, end = capsys.readouterr().out.splitlines()
    told = r"  {} of 168 patients  [\d,]+ rows/s  {} s left"
    assert re.fullmatch(told.format(BLOCK, r"\d+"), first)
    assert re.fullmatch(told.format(PATIENTS, "0"), last)
    assert end == f"raw tables of 168 patients: {run.out}/raw"


def test_elsewhere_it_tells_the_result_alone(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    job.synthesize(run)
    assert len(capsys.readouterr().out.splitlines()) == 1
    job.synthesize(replace(run, quiet=True, overwrite=True))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("ours", [False, True], ids=["alone", "beside ours"])
def test_tables_of_somebody_else_s_are_left_alone(run: Run, ours: bool, overwrite: bool) -> None:
    raw = Path(run.out) / "raw"
    if ours:
        job.synthesize(run)
    raw.mkdir(exist_ok=True)
    (raw / "MINE.csv").write_text("SUBJECT_ID\n1\n")
    before = {path.name: path.read_bytes() for path in raw.iterdir()}
    other = replace(run, tables=Tables(synthetic=Synthetic(patients=3)), overwrite=overwrite)
    with pytest.raises(Refusal, match=r"has MINE\.csv, which this job did not write.*--tables\.so"):
        job.synthesize(other)
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == before
    assert not Path(f"{raw}.new").exists()


def test_a_killed_one_s_tables_are_ours(run: Run) -> None:
    (Path(run.out) / "raw.new").mkdir()
    (Path(run.out) / "raw.new" / "PATIENTS.csv.gz").write_bytes(b"half")
    job.synthesize(run)
    assert opened(Folder(run.out) / "raw", "synthesize").damaged() is None
    assert not (Path(run.out) / "raw.new").exists()
