"""Bad input ends with status 2 and one sentence that says what to mend; nothing is published."""

import gzip
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.all import run_all
from jobs.embed_notes import embed_notes
from jobs.featurize import featurize
from jobs.finetune import finetune
from jobs.pretrain_admission import pretrain_admission
from jobs.pretrain_stay import pretrain_stay
from jobs.synthesize import synthesize
from jobs.tune import tune
from medhmp.command import parse
from medhmp.run import Run, Synthetic
from medhmp.storage import COMPLETE, Folder
from medhmp.synthetic import synthesize as write_tables

pytestmark = pytest.mark.ray

SECRET = "O123-secret"
"""Stands where a number or a time belongs; a refusal must not repeat what may be a patient's."""


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw tables of a few patients."""
    folder = tmp_path_factory.mktemp("raw")
    write_tables(Synthetic(patients=20), Folder(str(folder)))
    return folder


def without_table(raw: Path) -> None:
    (raw / "ICUSTAYS.csv.gz").unlink()


def without_column(table: str, column: str) -> Callable[[Path], None]:
    name = column.encode()
    return lambda raw: _rewrite(raw, table, lambda ls: [ls[0].replace(name, b"X"), *ls[1:]])


def truncated(table: str) -> Callable[[Path], None]:
    def cut(raw: Path) -> None:
        path = raw / f"{table}.csv.gz"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return cut


def without_rows(table: str) -> Callable[[Path], None]:
    return lambda raw: _rewrite(raw, table, lambda lines: lines[:1])


def without_bytes(raw: Path) -> None:
    _rewrite(raw, "ICUSTAYS", lambda lines: [])


def letters(table: str, column: str) -> Callable[[Path], None]:
    """Puts ``SECRET`` into one column of the fourth line."""

    def spoil(lines: list[bytes]) -> list[bytes]:
        at = lines[0].strip().decode().replace('"', "").split(",").index(column)
        fields = lines[3].split(b",")
        fields[at] = SECRET.encode()
        return [*lines[:3], b",".join(fields), *lines[4:]]

    return lambda raw: _rewrite(raw, table, spoil)


def _rewrite(raw: Path, table: str, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path = raw / f"{table}.csv.gz"
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join(change(lines))))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without_table, "has no table ICUSTAYS"),
        (without_column("ADMISSIONS", "DISCHTIME"), "ADMISSIONS in .* has no column DISCHTIME"),
        (without_column("LABEVENTS", "ITEMID"), "LABEVENTS in .* has no column ITEMID"),
        (truncated("CHARTEVENTS"), "CHARTEVENTS.csv.gz' is cut short or not gzip; copy or down"),
        (truncated("NOTEEVENTS"), "NOTEEVENTS.csv.gz' is cut short or not gzip; copy or down"),
        (without_rows("PATIENTS"), "table PATIENTS in .* has no rows"),
        (without_rows("PROCEDUREEVENTS_MV"), "table PROCEDUREEVENTS_MV in .* has no rows"),
        (without_bytes, "table ICUSTAYS in .* is empty"),
        (letters("PATIENTS", "SUBJECT_ID"), "PATIENTS.* column SUBJECT_ID at line 4"),
        (letters("ICUSTAYS", "INTIME"), "ICUSTAYS.* column INTIME at line 4"),
        (letters("CHARTEVENTS", "ITEMID"), "CHARTEVENTS.* column ITEMID at line 4"),
        (letters("INPUTEVENTS_MV", "AMOUNT"), "INPUTEVENTS_MV.* column AMOUNT at line 4"),
    ],
    ids=[
        *("table", "column", "column met in a task", "gzip", "gzip met last"),
        *("rows", "rows met in a task", "bytes", "id", "time", "item", "number"),
    ],
)
def test_a_damaged_table(
    ray: Any,
    raw: Path,
    tmp_path: Path,
    refused: Callable[..., str],
    damage: Callable[[Path], None],
    said: str,
) -> None:
    shutil.copytree(raw, tmp_path / "raw", ignore=shutil.ignore_patterns(COMPLETE))
    damage(tmp_path / "raw")
    source, out = f"mimic3={tmp_path}/raw", tmp_path / "out"
    sentence = refused(featurize, "smoke", "--tables.sources", source, "--out", str(out))
    assert re.search(said, sentence), sentence
    assert SECRET not in sentence
    assert not [path for path in out.rglob("*") if path.is_file()]


@pytest.mark.parametrize("job", [featurize, run_all])
@pytest.mark.parametrize(
    ("place", "said"), [("nowhere", "there is no CSV table in"), ("file", "cannot be listed")]
)
def test_a_wrong_path(
    ray: Any,
    tmp_path: Path,
    refused: Callable[..., str],
    job: Callable[[Run], None],
    place: str,
    said: str,
) -> None:
    (tmp_path / "file").touch()
    where = ("--tables.sources", f"mimic3={tmp_path}/{place}", "--out", str(tmp_path / "out"))
    sentence = refused(job, "mimic3_demo", *where)
    assert said in sentence
    assert f"'{tmp_path}/{place}'" in sentence


def test_shards_of_another_vocabulary_against_a_checkpoint(
    pretrained: Run, branch: Callable[..., Run], refused: Callable[..., str], arguments: list[str]
) -> None:
    """Also where the sizes happen to agree: the shards are told apart, not the shapes."""
    run = branch(pretrained, "raw", "pretrain_stay")
    other = [*arguments, "--features.theta-2", "0.02", "--out", run.out]
    featurize(parse(other))
    grid = ("--tune.tasks", "mortality", "--tune.starts", "stay", "--tune.models", "medhmp")
    for job, of_it in ((finetune, ("--fit.start", "stay")), (tune, grid)):
        sentence = refused(job, *other, *of_it)
        assert "pretrain_stay was pretrained on other shards than this run's; run" in sentence


@pytest.mark.parametrize(
    ("job", "of_it"),
    [
        (pretrain_admission, ()),
        (tune, ("--tune.tasks", "mortality", "--tune.starts", "stay")),
        (finetune, ("--fit.start", "stay")),
    ],
)
def test_a_checkpoint_of_another_width(
    pretrained: Run,
    branch: Callable[..., Run],
    refused: Callable[..., str],
    arguments: list[str],
    job: Callable[[Run], None],
    of_it: tuple[str, ...],
) -> None:
    run = branch(pretrained, "shards", "pretrain_stay")
    sentence = refused(job, *arguments, *of_it, "--model.width", "24", "--out", run.out)
    assert re.search(r"checkpoint.* (is|has) .*16.* this run's .*24", sentence)


def test_an_output_of_another_run(
    cohort: Run, refused: Callable[..., str], arguments: list[str]
) -> None:
    own = [*arguments, "--out", cohort.out]
    sentence = refused(featurize, *own, "--features.theta-1", "0.3")
    assert "features.theta_1 was 0.02, is 0.3" in sentence
    sentence = refused(synthesize, *own, "--tables.synthetic.seed", "7", needs_ray=False)
    assert "tables.synthetic.seed was 0, is 7" in sentence


@pytest.mark.parametrize("job", [pretrain_stay, pretrain_admission])
def test_a_pretraining_of_another_run(
    pretrained: Run, refused: Callable[..., str], arguments: list[str], job: Callable[[Run], None]
) -> None:
    other = (f"--{job.__name__}.learning-rate", "0.5")
    sentence = refused(job, *arguments, "--out", pretrained.out, *other)
    assert re.search(rf"{job.__name__}.learning_rate was .*, is 0.5\)", sentence)


@pytest.mark.parametrize("job", [embed_notes, pretrain_stay, pretrain_admission, finetune, tune])
def test_shards_of_other_fields(
    cohort: Run, refused: Callable[..., str], arguments: list[str], job: Callable[[Run], None]
) -> None:
    """A field that shaped the shards is not just ignored after them."""
    broad = ("--cohort.heart-failure-codes", "broad")
    sentence = refused(job, *arguments, "--out", cohort.out, *broad)
    assert "heart_failure_codes 'core' and this run has 'broad'; give the same --" in sentence


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "",
            "a recipe is missing; give one of smoke, tiny, tables, mimic3_demo, physionet2012",
        ),
        (
            "smok",
            "'smok' is not a recipe; give one of smoke, tiny, tables, mimic3_demo, physionet2012",
        ),
        ("smoke --model.widht 3", "Unrecognized options: --model.widht, 3; perhaps .*model.width"),
        ("smoke --model.width wide", "Error parsing --model.width: .*'wide'"),
        ("smoke --tune.starts nobody", "invalid choice 'nobody' for argument '--tune.starts'"),
        ("smoke --tables.sources /data", "tables.sources has the entry '/data'; write it as NAME="),
        ("smoke --tables.sources mimic9=/data", "'mimic9', for which there is no reader"),
    ],
)
def test_a_wrong_argument(
    ray: Any, tmp_path: Path, refused: Callable[..., str], line: str, said: str
) -> None:
    out = ("--out", str(tmp_path)) if line.startswith("smoke ") else ()
    assert re.search(said, refused(featurize, *line.split(), *out))


def test_as_a_user_sees_it(raw: Path, tmp_path: Path) -> None:
    """In a process with a Ray of its own: it says no more than this one line."""
    shutil.copytree(raw, tmp_path / "raw", ignore=shutil.ignore_patterns(COMPLETE))
    truncated("CHARTEVENTS")(tmp_path / "raw")
    source = ("--tables.sources", f"mimic3={tmp_path}/raw", "--out", str(tmp_path / "out"))
    for arguments in (["smoke", *source], ["smok", *source]):
        job = [sys.executable, "-m", "jobs.featurize", *arguments]
        ended = subprocess.run(job, capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        assert ended.stderr.startswith("python -m jobs.featurize: '")
        assert ended.stderr.count("\n") == 1, ended.stderr
        assert ended.stdout == ""
    assert not list(tmp_path.rglob(COMPLETE))
