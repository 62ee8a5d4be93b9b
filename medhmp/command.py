"""The beginning and the end of every job: arguments, refusals, exit status.

    python -m jobs.<job> RECIPE [--out URI] [--section.field value ...]     in a checkout
    medhmp <job> RECIPE [--out URI] [--section.field value ...]             where it is installed

Exit status: 0 success; 1 a failure; 2 a wrong argument or input, which includes a rate at which the
loss diverges and another driver that works in the same root; 130 and 143 SIGINT and SIGTERM. Each
is one sentence, and so is a failure of a disk; a traceback is a fault of ours.

Nothing heavy is imported before the arguments are right: no PyTorch, Ray, Polars or PyArrow.
"""

import contextlib
import dataclasses
import io
import itertools
import os
import re
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import tyro
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructTypeInfo

from medhmp import requests
from medhmp.interruption import Interruption, interruptible
from medhmp.progress import Progress
from medhmp.recipes import RECIPES
from medhmp.refusal import Failure, Refusal, find_failure, find_refusal
from medhmp.run import Run, fields_of
from medhmp.uris import refuse_credentials

HASTE: Final = 3.0
"""Seconds for which a store may fail before a job has begun."""

SHAPING: Final = (
    "cohort",
    "splits",
    "features",
    "shards.files",
    "shards.row_group",
    "tables.synthetic",
    "tables.meds",
    "tables.variables",
)
"""Sections and fields that shape the shards, so that a later job must be given the same."""


def main(
    doc: str | None,
    work: Callable[[Run], None],
    reads: Collection[str],
    *,
    needs_ray: bool = True,
    needs_shards: bool = True,
    begin: Callable[[str], Run] | None = None,
) -> NoReturn:
    """Runs one job from ``sys.argv`` and exits.

    ``doc`` is the job's docstring, ``reads`` the sections and fields that its help shows;
    ``needs_shards``: it refuses shards that were made with other fields. ``begin`` gives the run of
    a job whose first argument is no recipe but the folder of a trained model.
    """
    with interruptible(program()) as interruption:
        run: Run | None = None
        try:
            run = parse(sys.argv[1:], doc or "", reads, needs_shards, begin)
            run.check()
            if run.private:
                os.umask(0o077)  # of all that is written from here on, and of Ray's own files
            _check_access(run, reads)
            on_ray = _on_ray(run, interruption) if needs_ray else contextlib.nullcontext()
            with _leased(run, interruption), on_ray:
                work(run)
                if asked := requests.in_words(requests.total()):
                    Progress(run.quiet).say(f"in all{asked}", style="dim")
        except Exception as error:
            refusal = find_refusal(error)
            told = refusal or find_failure(error, run.out if run else "")
            if told is None:
                raise
            print(f"{program()}: {told}", file=sys.stderr)
            sys.exit(2 if refusal else 1)
    sys.exit(0)


@contextlib.contextmanager
def _leased(run: Run, interruption: Interruption) -> Iterator[None]:
    """Holds the lease of the run's root, which nobody else may write into meanwhile."""
    from medhmp.lease import Claim, Lease
    from medhmp.ray_session import is_embedded
    from medhmp.storage import Folder

    claim = Claim.of_this_process(program(), is_embedded())
    lease = Lease(Folder(run.out), claim, interruption.lost)
    interruption.marker, interruption.last = claim.variable, lease.release
    lease.take(Progress(run.quiet).say)
    with _undone_unless_interrupted(lease.release):
        yield


@contextlib.contextmanager
def _on_ray(run: Run, interruption: Interruption) -> Iterator[None]:
    """Has a Ray. One that was started here ends before the lease does: its tasks may write."""
    from medhmp.ray_session import end_ray, remove_folder, start_ray

    release = interruption.last

    def last() -> None:
        remove_folder()
        release()

    started = start_ray(quiet=run.quiet)
    interruption.last = last
    interruption.handle()
    with _undone_unless_interrupted(end_ray if started else lambda: None):
        yield


@contextlib.contextmanager
def _undone_unless_interrupted(undo: Callable[[], None]) -> Iterator[None]:
    """Calls ``undo`` after the block, except when a signal has ended it: then ``Interruption`` ends
    everything, in an order of its own."""
    try:
        yield
    except Exception:
        undo()
        raise
    undo()


def parse(
    arguments: Sequence[str],
    doc: str = "",
    reads: Collection[str] = (),
    needs_shards: bool = False,
    begin: Callable[[str], Run] | None = None,
) -> Run:
    """The Run of a command line: a recipe, then overrides. ``--help`` exits with status 0.

    ``begin`` gives the run of a first argument that is the folder of a trained model instead.
    """
    refuse_credentials(arguments)
    names, first = ", ".join(RECIPES), "MODEL" if begin else "RECIPE"
    if arguments and arguments[0] in ("-h", "--help"):
        known = "" if begin else f"\nrecipes: {names}"
        print(f"{doc.strip()}\n\nusage: {program()} {first} [--field value ...]{known}")
        print(f"fields and their defaults: {program()} {first} --help")
        sys.exit(0)
    if begin and (not arguments or arguments[0].startswith("-")):
        raise Refusal(
            "a model is missing; give its folder, which jobs.export made, as the first argument"
        )
    if not begin and (not arguments or arguments[0] not in RECIPES):
        given = f"'{arguments[0]}' is not a recipe" if arguments else "a recipe is missing"
        raise Refusal(f"{given}; give one of {names} as the first argument")
    recipe, overrides = arguments[0], arguments[1:]
    default, called = (begin or _recipe)(recipe), f"{program()} {recipe}"
    if "-h" in overrides or "--help" in overrides:
        print(f"{doc.strip()}\n\n{_about_fields(recipe, reads, needs_shards)}\n")
        tyro.cli(
            Run,
            default=default,
            args=["--help"],
            prog=called,
            description=" ",  # printed above, as it is written
            registry=_only(reads, default) if reads else None,
        )
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(Run, default=default, args=list(overrides), prog=called)
    except SystemExit:
        said = _first_sentence(complaint.getvalue())
        raise Refusal(f"{said}; {called} --help lists the fields") from None


def _recipe(name: str) -> Run:
    return RECIPES[name]()


def _check_access(run: Run, reads: Collection[str]) -> None:
    """Refuses a place in object storage that the job cannot write to, or that holds nothing for it
    to read, before Ray starts."""
    places = [(name, uri) for name, uri in run.uris() if name != "tables.sources"]
    places += [("tables.sources", uri) for uri in run.tables.named().values()]
    if not any("://" in uri for _, uri in places):
        return
    from medhmp.patience import hasty
    from medhmp.storage import Folder

    if run.out.startswith("memory://"):
        raise Refusal("--out is in the memory of one process, and a job has several; give a folder")
    try:
        with hasty(HASTE):
            Folder(run.out).check_access(writes=True)
            for name, uri in places:
                if name != "out" and is_read(name, reads):
                    Folder(uri).check_access()
    except Failure as error:
        raise Refusal(f"{error}; or check AWS_ENDPOINT_URL") from None


def is_read(name: str, reads: Collection[str]) -> bool:
    """True for a field that is among ``reads``, or in a section that is."""
    return any(f"{name}.".startswith(f"{read}.") for read in reads)


def program(job: str = "") -> str:
    """The command as it was started, ``medhmp tune`` or ``python -m jobs.tune``, or that of another
    job in the same form."""
    started = Path(sys.argv[0])
    if started.suffix == ".py":
        return f"python -m jobs.{job or started.stem}"
    return f"medhmp {job}" if job else sys.argv[0]


def _about_fields(recipe: str, reads: Collection[str], needs_shards: bool) -> str:
    """Sentences of a job's help about the fields that it does not show."""
    told = []
    if reads:
        told.append(
            "Below are the fields that this job reads. It accepts every other field of a run, so "
            "that the same overrides can be given to each of its jobs."
        )
    if needs_shards:
        told.append(
            f"Fields that shaped the shards ({', '.join(SHAPING)}) must have the values that "
            "featurize had. Its help shows them:"
        )
        told.append(f"    {program('featurize')} {recipe} --help")
    return "\n".join(textwrap.fill(text, 100, break_on_hyphens=False) for text in told)


def _only(reads: Collection[str], run: Run) -> ConstructorRegistry:
    """Makes tyro leave out of its help every field of a run that is not in ``reads``."""
    shown = fields_of(run, *reads)
    specs: dict[int, StructConstructorSpec] = {}

    def keep(section: Any, path: str) -> None:
        info = StructTypeInfo.make(type(section), section, in_union_context=False)
        spec = ConstructorRegistry.get_struct_spec(info)
        assert isinstance(spec, StructConstructorSpec)
        kept = [
            field
            for field in spec.fields
            if any(f"{name}.".startswith(f"{path}{field.name}.") for name in shown)
        ]
        specs[id(section)] = dataclasses.replace(spec, fields=tuple(kept))
        for field in kept:
            if dataclasses.is_dataclass(field.default):
                keep(field.default, f"{path}{field.name}.")

    keep(run, "")
    registry = ConstructorRegistry()
    registry.struct_rule(lambda info: specs.get(id(info.default)))
    return registry


def _first_sentence(box: str) -> str:
    """The message in tyro's frame, with the field that it suggests, on one line."""
    # The frame is drawn in box characters or, where the encoding has none, in ASCII.
    lines = [line.strip("│╭╮╰╯─|+ ").strip("- ") for line in box.splitlines()[1:]]
    words = list(itertools.dropwhile(lambda line: not line, lines))
    said = " ".join(itertools.takewhile(bool, words)).rstrip(".")
    near = re.search(r"Perhaps you meant:\s+(?:--)?(\S+)", " ".join(lines))
    return f"{said}; perhaps you meant --{near[1]}" if near else said
