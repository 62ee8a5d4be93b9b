"""The beginning and the end of every job: arguments, refusals, exit status.

    python -m jobs.<job> RECIPE [--out URI] [--section.field value ...]

Exit status: 0 success, 2 a wrong argument or input, a rate at which the loss diverges included (one
sentence, no traceback), 1 a failure.
"""

import contextlib
import io
import itertools
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import tyro

from medhmp.ray_session import start_ray
from medhmp.recipes import RECIPES
from medhmp.refusal import Refusal, find_refusal
from medhmp.run import Run


def main(doc: str | None, work: Callable[[Run], None], needs_ray: bool = True) -> NoReturn:
    """Runs one job from ``sys.argv`` and exits. ``doc``, the job's docstring, is its ``--help``."""
    try:
        run = parse(sys.argv[1:], doc or "")
        run.check()
        if needs_ray:
            start_ray(quiet=run.quiet)
        work(run)
    except Exception as error:
        refusal = find_refusal(error)
        if refusal is None:
            raise
        print(f"{_program()}: {refusal}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


def parse(arguments: Sequence[str], doc: str = "") -> Run:
    """The Run of a command line: a recipe, then overrides. ``--help`` exits with status 0."""
    names = ", ".join(RECIPES)
    if not arguments or arguments[0] not in RECIPES:
        if arguments and arguments[0] in ("-h", "--help"):
            print(
                f"{doc.strip()}\n\nusage: {_program()} RECIPE [--field value ...]\nrecipes: {names}"
            )
            print(f"fields and their defaults: {_program()} RECIPE --help")
            sys.exit(0)
        given = f"'{arguments[0]}' is not a recipe" if arguments else "a recipe is missing"
        raise Refusal(f"{given}; give one of {names} as the first argument")
    recipe, overrides = arguments[0], arguments[1:]
    program, complaint = f"{_program()} {recipe}", io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                Run,
                default=RECIPES[recipe](),
                args=list(overrides),
                prog=program,
                description=doc.strip(),
            )
    except SystemExit as ended:
        if not ended.code:
            raise
        said = _first_sentence(complaint.getvalue())
        raise Refusal(f"{said}; {program} --help lists the fields") from None


def _first_sentence(box: str) -> str:
    """What tyro says in its framed message, with the field it suggests, on one line."""
    # The frame is drawn in box characters or, where the encoding has none, in ASCII.
    lines = [line.strip("│╭╮╰╯─|+ ").strip("- ") for line in box.splitlines()[1:]]
    words = list(itertools.dropwhile(lambda line: not line, lines))
    said = " ".join(itertools.takewhile(bool, words)).rstrip(".")
    near = re.search(r"Perhaps you meant:\s+(?:--)?(\S+)", " ".join(lines))
    return f"{said}; perhaps you meant --{near[1]}" if near else said


def _program() -> str:
    return f"python -m jobs.{os.path.basename(sys.argv[0]).removesuffix('.py')}"
