"""Arguments: a recipe first, typed overrides, one sentence and status 2 for a wrong one."""

import os
import subprocess
import sys

import pytest

from medhmp.command import parse
from medhmp.recipes import RECIPES
from medhmp.refusal import Refusal, find_refusal


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
    with pytest.raises(Refusal, match="smoke, mimic3_demo, physionet2012, evidence, paper"):
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


def test_a_refused_job_prints_one_line_and_no_traceback():
    ended = subprocess.run(
        [sys.executable, "-m", "jobs.pretrain_stay", "smoke", "--pretrain-stay.batch-size", "3",
         "--pretrain-stay.workers", "2"],
        capture_output=True, text=True, env=os.environ, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.strip().count("\n") == 0
    assert "batch_size is 3 for 2 workers" in ended.stderr
