"""Arguments: a recipe first, typed overrides, one sentence and status 2 for a wrong one."""

import errno
import importlib
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from medhmp.command import SHAPING, parse
from medhmp.recipes import RECIPES
from medhmp.refusal import Refusal, find_failure, find_refusal
from medhmp.run import Meds, Run, Synthetic, Tables, fields_of
from medhmp.shards.manifest import SYNTHETIC, content_of
from medhmp.train.objective import model_fields

ROOT = Path(__file__).resolve().parents[2]
JOBS = sorted(path.stem for path in ROOT.glob("jobs/[a-z]*.py"))
OF_A_MODEL = ("predict", "embed")
"""Jobs whose first argument is no recipe but the folder of a trained model."""
OF_A_RUN = [name for name in JOBS if name not in ("benchmark", *OF_A_MODEL)]
HEAVY = ("torch", "ray", "polars", "pyarrow", "numpy", "sklearn", "transformers", "matplotlib")


def test_overrides_are_typed_and_nested():
    run = parse(
        ["smoke", "--out", "o", "--model.width", "32", "--tables.sources", "mimic3=/a", "mimic4=/b"]
    )
    assert (run.out, run.model.width) == ("o", 32)
    assert run.tables.named() == {"mimic3": "/a", "mimic4": "/b"}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_passes_its_own_check(name):
    parse([name]).check()


@pytest.mark.parametrize("arguments", [[], ["smok"]])
def test_a_missing_or_unknown_recipe_lists_them(arguments):
    with pytest.raises(
        Refusal, match="smoke, tiny, tables, mimic3_demo, physionet2012, evidence, paper"
    ):
        parse(arguments)


@pytest.mark.parametrize(
    "arguments", [["smoke", "--model.widht", "3"], ["smoke", "--model.width", "wide"]]
)
def test_an_unknown_field_or_a_wrong_type_is_refused_in_one_line(arguments):
    with pytest.raises(Refusal, match=r"^[^\n]*model\.wid[^\n]*$"):
        parse(arguments)


def test_a_refusal_is_found_behind_other_exceptions():
    def refuse():
        try:
            raise Refusal("the thing")
        except Refusal as error:
            raise RuntimeError("wrapped") from error

    with pytest.raises(RuntimeError) as caught:
        refuse()
    assert str(find_refusal(caught.value)) == "the thing"
    assert find_refusal(RuntimeError("a bug")) is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "", "/a/b"), r"^cannot write '/a/b' \(No space left on device\); "),
        (OSError(errno.EDQUOT, ""), r"^cannot write a file of '/out' or of the temporary folder "),
        (PermissionError(errno.EACCES, "", "/a"), r"^cannot read or write '/a' \(Permission den"),
        (type("OutOfDiskError", (Exception,), {})(), r"^Ray has no room to spill objects to: "),
    ],
)
def test_a_failing_disk_is_found_behind_other_exceptions(error, said):
    wrapped = RuntimeError("worker 0 failed")
    wrapped.worker_failures = {0: error}
    assert re.match(said, str(find_failure(wrapped, "/out")))
    assert find_failure(RuntimeError("a bug")) is None
    assert find_failure(FileNotFoundError(errno.ENOENT, "", "/a")) is None


def test_a_refused_job_prints_one_line_and_no_traceback():
    ended = subprocess.run(
        [sys.executable, "-m", "jobs.pretrain_stay", "smoke", "--pretrain-stay.batch-size", "3",
         "--pretrain-stay.workers", "2"],
        capture_output=True, text=True, env=os.environ, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.strip().count("\n") == 0
    assert "batch_size is 3 for 2 workers" in ended.stderr


@pytest.mark.parametrize(
    ("more", "folder", "file"), [((), 0o700, 0o600), (("--no-private",), 0o750, 0o640)]
)
def test_outputs_are_their_owner_s_alone_unless_told_otherwise(tmp_path, more, folder, file):
    place = tmp_path / "runs" / "small"
    subprocess.run(
        [sys.executable, "-m", "jobs.synthesize", "smoke", "--out", str(place), "--quiet",
         "--tables.synthetic.patients", "4", *more],
        cwd=ROOT, check=True, umask=0o027,
    )  # fmt: skip
    made = list((tmp_path / "runs").rglob("*"))
    assert {path.name for path in made} >= {"small", "raw", "complete.json", "CHARTEVENTS.csv.gz"}
    for path in (tmp_path / "runs", *made):
        assert stat.S_IMODE(path.stat().st_mode) == (folder if path.is_dir() else file), path


def start(job: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A job in a process that tells, after its own errors, what it has imported."""
    command = [sys.executable, "-X", "importtime", "-m", f"jobs.{job}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.parametrize(
    ("job", "arguments", "status"),
    [
        *((job, ("--help",), 0) for job in JOBS),
        *((job, ("smoke", "--help"), 0) for job in ("all", "tune")),
        ("tune", ("smoke", "--tune.sedes", "5"), 2),
        ("tune", ("smok",), 2),
        ("featurize", ("smoke", "--tables.sources", "/data"), 2),  # what check() refuses
        ("benchmark", ("trian",), 2),
    ],
)
def test_nothing_heavy_is_imported_before_the_arguments_are_right(job, arguments, status):
    ended = start(job, *arguments)
    assert ended.returncode == status
    imported = set(re.findall(r"\| +(\S+)$", ended.stderr, re.MULTILINE))
    assert "medhmp.command" in imported
    assert imported.isdisjoint(HEAVY)


def shown(job: str, recipe: str = "smoke") -> str:
    return start(job, recipe, "--help").stdout


def options(text: str) -> set[str]:
    """Fields whose options a help shows, as the run spells them."""
    found = re.findall(r"^│ --([a-z][\w.-]*)", text, re.MULTILINE)
    return {name.replace("-", "_") for name in found}


@pytest.mark.parametrize("job", OF_A_RUN)
def test_help_shows_the_fields_that_a_job_reads_and_no_others(job):
    reads = importlib.import_module(f"jobs.{job}").READS
    text = shown(job)
    assert options(text) == set(fields_of(RECIPES["smoke"](), *reads))
    assert "It accepts every other field of a run" in text
    later = job not in ("all", "paper_tables", "synthesize", "featurize")
    assert ("Fields that shaped the shards" in text) == later
    assert ("\n    python -m jobs.featurize smoke --help\n" in text) == later
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("job", OF_A_MODEL)
def test_a_job_of_a_model_says_that_it_takes_one(job):
    assert f"usage: python -m jobs.{job} MODEL [--field value ...]" in start(job, "--help").stdout
    ended = start(job, "--out", "o")
    assert ended.returncode == 2
    assert "a model is missing; give its folder" in ended.stderr


def test_a_field_that_is_not_shown_is_accepted():
    assert "pretrain_stay" not in {name.partition(".")[0] for name in options(shown("tune"))}
    parse(["smoke", "--pretrain-stay.epochs", "3"]).check()


def test_the_comment_of_a_field_heads_no_section():
    text = shown("featurize")
    headed = re.findall(r"^╭─ (tables\S*) options.*\n│ (.+?) *│$", text, re.MULTILINE)
    sections = (("tables", Tables), ("tables.synthetic", Synthetic), ("tables.meds", Meds))
    for (name, head), (section, of) in zip(headed, sections, strict=True):
        assert name == section
        assert (of.__doc__ or "").startswith(head)


def test_help_shows_the_defaults_of_the_recipe():
    assert "patients to generate (default: 1200)" in shown("synthesize")
    assert "patients to generate (default: 2000)" in shown("synthesize", "paper")


def test_every_field_that_shapes_shards_is_said_to():
    run = Run()
    assert content_of(run, [SYNTHETIC, "meds"]).keys() <= fields_of(run, *SHAPING).keys()


@pytest.mark.parametrize(
    ("job", "objective"),
    [("pretrain_stay", "pretrain_stay"), ("pretrain_stay", "pretrain_numbers"),
     ("pretrain_admission", "pretrain_admission"), ("finetune", "fit"), ("tune", "fit")],
)  # fmt: skip
def test_a_job_shows_the_fields_of_the_model_that_it_reads(job, objective):
    run = Run()
    reads = fields_of(run, *importlib.import_module(f"jobs.{job}").READS)
    assert model_fields(run, objective).keys() <= reads.keys()
