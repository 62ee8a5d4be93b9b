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

Killed and run again, it goes on with the tables and patient buckets that are not done.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn

from medhmp import command
from medhmp.progress import Progress
from medhmp.run import Run, fields_of

if TYPE_CHECKING:
    from medhmp.shards.manifest import Manifest

READS: Final = (*("out", "overwrite", "quiet", "tables", "cohort", "splits", "features", "shards"),)
"""Sections and fields of a run that this job reads."""

SMALL: Final = ("patients, ", "admissions, ", "stays, ", "codes, ")
"""Prefixes of exclusion reasons that indicate defects in the source tables."""


def featurize(run: Run) -> None:
    """Writes ``shards/`` under ``run.out``, or finds it whole. Ray must be initialized."""
    from medhmp.layout import SHARDS
    from medhmp.shards.build.pipeline import Sections
    from medhmp.shards.build.publish import make_shards
    from medhmp.shards.featurizer import frozen_featurizer
    from medhmp.shards.manifest import FROZEN, content_of
    from medhmp.storage import Folder, Stamp, is_done, made_elsewhere, opened
    from medhmp.tables.sources import folders_of, identify, open_sources

    root, progress = Folder(run.out), Progress(run.quiet)
    shards, folders = root / SHARDS, folders_of(run.tables, root)
    fields, synthetic = content_of(run, folders), fields_of(run, "tables.synthetic")
    found = {name: identify(name, folder, synthetic) for name, folder in folders.items()}
    inputs = {name: identity.hash for name, identity in found.items()}
    frozen = opened(Folder(run.features.frozen), "featurize") if run.features.frozen else None
    if frozen:
        inputs[FROZEN] = frozen.fingerprint
    stamp = Stamp(fields, inputs)
    checked = "; ".join(identity.checked for identity in found.values())
    if is_done(shards, stamp, run.overwrite):
        progress.say(f"tables are the same ({checked})")
        return progress.say(f"shards: whole already{made_elsewhere(shards)}, {shards}")
    featurizer = frozen_featurizer(frozen, fields) if frozen else None
    asked = Sections(run.cohort, run.splits, run.features, run.shards)
    sources = partial(open_sources, folders, run)
    manifest, seconds = make_shards(asked, stamp, sources, shards, progress, featurizer)
    progress.say(f"tables are known again by: {checked}")
    _tell(progress, manifest)
    progress.say(f"shards in {seconds:.0f} s: {shards}")


def _tell(progress: Progress, manifest: Manifest) -> None:
    """Tells the counts that a reader wants to see at once."""
    from medhmp.report.paper import beside_the_paper

    for source, counts in manifest.counts.items():
        if not counts["notes"]:
            progress.say(f"{source}: no discharge note; admissions go without")
        for reason, rows in manifest.left_out[source].items():
            if rows and reason.startswith(SMALL):
                progress.say(f"{source}: left out {rows:,} {reason}")
    sizes = manifest.widths
    progress.say(
        f"  {sizes.features:,} hourly and {sizes.demographics:,} demographic features, "
        f"{sizes.diagnoses:,} diagnoses, {sizes.drugs:,} drugs",
    )
    for task, of in manifest.tasks.items():
        if of.unavailable:
            progress.say(f"  {task}: {of.unavailable}")
            continue
        parts = [f"{split} {n:,} ({of.positives[split]:,})" for split, n in of.rows.items()]
        progress.say(f"  {task}: {', '.join(parts)} rows (positive)")
    for line in beside_the_paper(manifest):
        progress.say(f"  {line}")


def main() -> NoReturn:
    """The command line of this job."""
    command.main(__doc__, featurize, READS, needs_shards=False)


if __name__ == "__main__":
    main()
