"""Make the shards that training reads: raw tables to sparse features, codes, labels and splits.

    python -m jobs.featurize smoke --out runs/demo
    python -m jobs.featurize paper --tables.sources mimic3=/data/mimic-iii-1.4 --out runs/mimic3
    python -m jobs.featurize paper --tables.sources mimic3=/data/iii mimic4=/data/iv --out runs/both
    python -m jobs.featurize paper --tables.sources mimic4=/data/iv --out runs/mimic4 \\
        --features.frozen runs/mimic3/shards

Reads   the raw tables of the sources, or OUT/raw where none is named; a name decides the reader
        the manifest of features.frozen, if given: the same columns, bins and vocabularies, no fit
Writes  OUT/shards/manifest.json, {stays,admissions,patients}/part-*.parquet, labels/<task>.parquet
        OUT/shards/notes/*.parquet (text, which jobs.embed_notes deletes)
        OUT/shards/featurize.json (workers, memory, seconds of each stage)
        OUT/targets/stays.parquet with features.numbers: what came later of training stays alone

Killed and run again, it goes on with the tables and patient buckets that are not done.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from typing import TYPE_CHECKING, Final, NoReturn

from medhmp import command
from medhmp.legend import SPLITS, Task
from medhmp.progress import Progress
from medhmp.refusal import Refusal
from medhmp.run import Features, Run, fields_of

if TYPE_CHECKING:
    from medhmp.shards.manifest import Manifest, TaskCounts
    from medhmp.storage import Folder, Output

READS: Final = (
    *("out", "overwrite", "quiet", "private", "tables", "cohort", "splits", "features", "shards"),
)
"""Sections and fields of a run that this job reads."""

SMALL: Final = ("patients, ", "admissions, ", "stays, ", "codes, ", "times, ")
"""Prefixes of exclusion reasons that indicate defects in the source tables."""

MOST: Final = 8
"""Frequent variables that are named."""


def featurize(run: Run) -> None:
    """Writes ``shards/`` under ``run.out``, or finds it whole. Ray must be initialized."""
    from medhmp.layout import AUXILIARY, SHARDS
    from medhmp.replacing import move_in, room_for
    from medhmp.shards.build.own_tasks import make_own_tasks
    from medhmp.shards.build.pipeline import Sections
    from medhmp.shards.build.publish import make_shards
    from medhmp.shards.featurizer import frozen_featurizer
    from medhmp.shards.manifest import FROZEN, VARIABLES, content_of
    from medhmp.storage import Folder, Stamp, made_elsewhere, opened
    from medhmp.tables import checksums
    from medhmp.tables.ranges import fingerprint as ranges_fingerprint
    from medhmp.tables.ranges import read_variables
    from medhmp.tables.sources import READERS, folders_of, identify, open_sources

    root, progress = Folder(run.out), Progress(run.quiet)
    shards, folders = root / SHARDS, folders_of(run.tables, root)
    fields, synthetic = content_of(run, folders), fields_of(run, "tables.synthetic")
    found = {name: identify(name, folder, synthetic) for name, folder in folders.items()}
    inputs = {name: identity.hash for name, identity in found.items()}
    if ranges := ranges_fingerprint(run.tables.variables):
        inputs[VARIABLES] = ranges
    frozen = _frozen(run, shards)
    if frozen:
        inputs[FROZEN] = frozen.fingerprint
    stamp = Stamp(fields, inputs)
    checked = "; ".join(identity.checked for identity in found.values())
    room = room_for(shards, stamp, run.overwrite, resumes=True)
    sources = cache(partial(open_sources, folders, run))
    if room is None:
        progress.say(f"tables are the same ({checked})")
        progress.say(f"shards: whole already{made_elsewhere(shards)}, {shards}")
    else:
        featurizer = frozen_featurizer(frozen, fields) if frozen else None
        quantities = read_variables(run.tables.variables)
        asked = Sections(run.cohort, run.splits, run.features, run.shards, quantities)
        for name, folder in folders.items() if run.tables.checksums else ():
            if said := checksums.check(folder, READERS[name].files(folder)):
                progress.say(f"{name}: {said}")
        targets = root / AUXILIARY
        manifest, seconds = make_shards(asked, stamp, sources, room, targets, progress, featurizer)
        move_in(shards)
        progress.say(f"tables are known again by: {checked}")
        tell(progress, manifest, run.features)
        progress.say(f"shards in {seconds:.0f} s: {shards}")
    for task, counts in make_own_tasks(run, opened(shards, "featurize"), sources, progress).items():
        tell_task(progress, task, counts)
        for step, left in counts.steps:
            progress.say(f"    {left:,} {step}")


def _frozen(run: Run, shards: Folder) -> Output | None:
    """The shards whose featurizer the run takes. Refuses those that it would replace."""
    from medhmp.storage import Folder, opened

    if not run.features.frozen:
        return None
    frozen = Folder(run.features.frozen)
    if frozen.is_same(shards):
        raise Refusal(
            f"features.frozen is {shards}, which this run would replace; give another --out"
        )
    return opened(frozen, "featurize")


def tell(progress: Progress, manifest: Manifest, features: Features) -> None:
    """Tells the counts that a reader wants to see at once."""
    from medhmp.features.codes import LACKING, LOST, NO_EQUIVALENT, NO_TREE, READ_AS_ICD9
    from medhmp.report.paper import beside_the_paper
    from medhmp.tables.readings import TIMELESS

    for source, counts in manifest.counts.items():
        for reason in (NO_TREE, NO_EQUIVALENT, READ_AS_ICD9, *LACKING.values(), LOST):
            if counts.get(reason):
                progress.say(f"{source}: {counts[reason]:,} {reason}")
        if not counts["notes"]:
            progress.say(f"{source}: no discharge note; admissions go without")
        for reason, rows in manifest.left_out[source].items():
            if rows and (reason.startswith(SMALL) or reason.endswith(TIMELESS)):
                progress.say(f"{source}: left out {rows:,} {reason}")
    sizes = manifest.widths
    progress.say(
        f"  {sizes.features:,} hourly and {sizes.demographics:,} demographic features, "
        f"{sizes.diagnoses:,} diagnoses, {sizes.drugs:,} drugs",
    )
    if sizes.numbers:
        progress.say(f"  {sizes.numbers:,} numeric variables, {sizes.statistics:,} statistics")
    if not sizes.demographics:
        progress.say("  no demographic feature is left; the model learns from the hours alone")
    lines = (*_filled(manifest, features), *_drift(manifest))
    for line in (*lines, _frequent(manifest, features), *_empty(manifest)):
        progress.say(f"  {line}")
    for task, of in manifest.tasks.items():
        tell_task(progress, task, of)
    for line in beside_the_paper(manifest):
        progress.say(f"  {line}")


def tell_task(progress: Progress, task: Task, of: TaskCounts) -> None:
    """Tells the rows of a task, or why it has none or cannot be trained."""
    if of.without_rows:
        return progress.say(f"  {task}: {of.without_rows}")
    parts = [f"{split} {n:,} ({of.positives[split]:,})" for split, n in of.rows.items()]
    progress.say(f"  {task}: {', '.join(parts)} rows (positive)")
    if of.hindrance:
        progress.say(f"  {task} cannot be trained: {of.hindrance}")


def _filled(manifest: Manifest, features: Features) -> Iterator[str]:
    """How many stays of each source have hourly features, and how many features; values that the
    fit did not see."""
    from medhmp.features.filled import BEYOND, FEATURES, FILLED, STAYS, UNKNOWN

    fate = "go to the nearest bin" if features.clip else "have no feature"
    if manifest.real_valued:
        fate = "are cut"
    for source, of in manifest.filled.items():
        yield (
            f"{source}: {of[FILLED]:,} of {of[STAYS]:,} stays have hourly features, "
            f"{of[FEATURES]:,} of the {len(manifest.features):,}"
        )
        for values in ("hourly values", "demographic values"):
            every = f"of {of[values]:,} {values}"
            if beyond := of[values + BEYOND]:
                yield f"{source}: {beyond:,} {every} are{BEYOND}, and {fate}"
            if unknown := of[values + UNKNOWN]:
                yield f"{source}: {unknown:,} {every} are{UNKNOWN}, and have no feature"


def _drift(manifest: Manifest) -> Iterator[str]:
    """What each source has of the variables of frozen features."""
    from medhmp.features.drift import Variable

    for source, of in manifest.drift.items():
        found = {name: Variable(**of_name) for name, of_name in of.items()}
        there = [name for name, variable in found.items() if variable.filled]
        yield f"{source}: {len(there):,} of the {len(found):,} frozen hourly variables have columns"
        unlike = [f"{n} {v.ratio:.2g}" for n, v in found.items() if v.looks_different]
        if unlike:
            yield (
                f"{source}: {len(unlike):,} look as if in another unit (median over the fit's): "
                f"{', '.join(unlike[:MOST])}"
            )


def _frequent(manifest: Manifest, features: Features) -> str:
    """The variables that the fit took for frequent, and how near others came."""
    plan = manifest.fiddle["plan"]
    least = features.theta_freq * manifest.hours
    named = [f"{n} {of:.1f}" for n, of in plan["readings"].items()]
    count = len(plan["frequent"])
    stays = "stay of full length" if features.frequent_over == "full_length" else "stay"
    frequent = f"{count:,}" + (f" ({', '.join(named[: min(count, MOST)])})" if count else "")
    near = f"; nearest: {', '.join(named[count:])}" if named[count:] else ""
    hint = ""
    if named and not count and features.frequent_over == "all":
        hint = "; --features.frequent-over full_length leaves out stays shorter than the window"
    return f"frequent variables, of {least:g} readings a {stays} or more: {frequent}{near}{hint}"


def _empty(manifest: Manifest) -> Iterator[str]:
    """The splits without a stay."""
    for split in SPLITS:
        if not sum(manifest.rows_per_file("stays", (split,)).values()):
            yield (
                f"the {split} split has no stay; give another --splits.salt, or a larger "
                f"--splits.{split}"
            )


def main() -> NoReturn:
    """The command line of this job."""
    command.main(__doc__, featurize, READS, needs_shards=False)


if __name__ == "__main__":
    main()
