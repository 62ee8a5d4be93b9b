"""How every job begins and ends: arguments, refusals, Ray, exit status.

    python -m jobs.<job> RECIPE [--out URI] [--section.field value ...]

Exit status: 0 success, 2 a wrong argument or input, a rate at which the loss diverges included (one
sentence, no traceback), 1 a failure.
"""

import contextlib
import io
import itertools
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import rich
import tyro

from medhmp.recipes import RECIPES
from medhmp.refusal import Refusal
from medhmp.run import Run

# Read by Ray when it is imported or when its processes start. A value from outside always wins.
RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_prestart_worker_first_driver": "0",  # our tasks would not take such workers
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
    "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": "600",  # that ranks wait for one another: what hangs is named
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths keep their meaning inside workers
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


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


def start_ray(quiet: bool = False) -> None:
    """Joins the cluster of the environment, or starts an embedded one on this machine."""
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    hush_ray_data()
    if ray.is_initialized():
        return
    # Workers' lines reach the driver only where somebody watches.
    ray.init(log_to_driver=watched(quiet), logging_level="ERROR", include_dashboard=False)


def hush_ray_data() -> None:
    """Leaves progress to our own lines. In every process that reads datasets: by the environment
    alone it would depend on whether Ray Data was imported before."""
    import ray.data  # sets up its logger when imported

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # else a line per execution
    ray.data.DataContext.get_current().enable_progress_bars = False


def watched(quiet: bool) -> bool:
    """Whether progress is worth printing: no ``--quiet``, and a terminal or a job server's log."""
    return not quiet and (sys.stdout.isatty() or is_submitted())


def is_submitted() -> bool:
    """Whether Ray's job server has started this job."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def say(run: Run, text: str) -> None:
    """One line about the work, for people. Never an identifier, a note or a credential."""
    if not run.quiet:
        rich.get_console().print(text, soft_wrap=True)  # a path must stay on one line


def find_refusal(error: BaseException | None) -> Refusal | None:
    """The Refusal inside an exception, also where Ray has wrapped it on its way from a worker."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        inner = getattr(current, "cause", None)  # RayTaskError
        if isinstance(inner, BaseException):
            waiting.append(inner)
        elif isinstance(current, Refusal):
            return current
        failures = getattr(current, "worker_failures", None)  # Train's WorkerGroupError
        controller = getattr(current, "controller_failure", None)  # Train's ControllerError
        waiting += [*(failures or {}).values(), controller, current.__cause__, current.__context__]
    return None


def _program() -> str:
    return f"python -m jobs.{os.path.basename(sys.argv[0]).removesuffix('.py')}"
