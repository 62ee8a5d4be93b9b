"""Make the shards that training reads: raw tables to sparse features, codes, labels and splits.

    python -m jobs.featurize smoke --out runs/demo
    python -m jobs.featurize paper --tables.sources mimic3=/data/mimic-iii-1.4 --out runs/mimic3
    python -m jobs.featurize paper --tables.sources mimic3=/data/iii mimic4=/data/iv --out runs/both
    python -m jobs.featurize paper --tables.sources mimic4=/data/iv --out runs/mimic4 \
        --features.frozen runs/mimic3/shards

Reads   the raw tables of the sources, or OUT/raw where none is named; a name decides the reader
        the manifest of features.frozen, if given: the same columns, bins and vocabularies, no fit
Writes  OUT/shards/manifest.json, {stays,admissions,patients}/part-*.parquet, labels/<task>.parquet
        OUT/shards/notes/*.parquet (text, which jobs.embed_notes deletes)
        OUT/shards/featurize.json (workers, memory, seconds of each stage)

Killed and run again, it goes on with the tables and patient buckets that are not done.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import ray

from medhmp import command
from medhmp.progress import Progress
from medhmp.refusal import Refusal, find_refusal
from medhmp.report.paper_sizes import beside_the_paper
from medhmp.run import Run, digest, fields_of
from medhmp.shards.build.journal import NAME as WORK
from medhmp.shards.build.journal import Work
from medhmp.shards.build.pipeline import TABLES, build
from medhmp.shards.featurizer import Learnt
from medhmp.shards.manifest import FROZEN, Manifest, content_of, manifest_in
from medhmp.storage import Folder, Stamp, is_done, opened, publish
from medhmp.tables.schema import ReaderSettings, Source
from medhmp.tables.sources import fingerprint, folders_of, open_sources

SMALL: Final = ("patients, ", "admissions, ", "stays, ", "codes, ")
"""Prefixes of exclusion reasons that indicate defects in the source tables."""


def featurize(run: Run) -> None:
    """Writes ``shards/`` under ``run.out``, or finds it whole. Ray must be initialized."""
    folders = folders_of(run.tables, Folder(run.out))
    shards = Folder(run.out) / "shards"
    synthetic = fields_of(run, "tables.synthetic")
    inputs = {name: fingerprint(name, folder, synthetic) for name, folder in folders.items()}
    fields = content_of(run, folders)
    if given := run.features.frozen:
        inputs[FROZEN] = opened(Folder(given), "featurize").fingerprint
    stamp = Stamp(fields, inputs)
    if is_done(shards, stamp, run.overwrite):
        return Progress(run.quiet).say(f"shards: whole already, {shards}")
    frozen = _frozen(Folder(given), fields) if given else None
    started = time.perf_counter()
    settings = ReaderSettings.of(run.cohort, run.features, run.tables.meds, Progress(run.quiet))
    sources = open_sources(folders, settings)
    work = _work(run, shards, stamp)
    try:
        built = build(run, sources, shards, work, frozen)
    except Exception as error:
        if find_refusal(error):  # anything else may be over when the job is run again
            _clear(shards)
        raise
    seconds = round(time.perf_counter() - started, 1)
    workers = int(ray.cluster_resources()["CPU"])
    made = {
        "workers": workers,
        "seconds": seconds,
        "peak_worker_bytes": built.peak,
        "stages": {name: asdict(spent) for name, spent in built.stages.items()},
    }
    shards.write_json("featurize.json", made)  # not content, so not an entry
    publish(shards / "notes", stamp, built.notes)
    publish(shards, stamp, built.entries)
    work.folder.remove()
    _tell(run, built.manifest, sources)
    Progress(run.quiet).say(f"shards in {seconds:.0f} s: {shards}")


def _work(run: Run, shards: Folder, stamp: Stamp) -> Work:
    """Where a killed run was, if it was this very one; else everything it left is removed."""
    build = digest([stamp.hash, run.shards.bucket_stays])
    if work := Work.resume(shards, build):
        Progress(run.quiet).say("  going on where an earlier run was stopped")
        return work
    _clear(shards)
    return Work.begin(shards, build)


def _clear(shards: Folder) -> None:
    for name in (WORK, *TABLES, "labels", "notes"):
        (shards / name).remove()


def _frozen(shards: Folder, fields: Mapping[str, Any]) -> Learnt:
    """What other shards have learnt. Refuses those of other settings of features."""
    made = opened(shards, "featurize")
    for name, now in fields.items():
        if name.startswith(("features.", "cohort.hours")) and made.fields.get(name) != now:
            raise Refusal(
                f"the shards of features.frozen were made with {name} {made.fields.get(name)!r} "
                f"and this run has {now!r}; give the same --{name}"
            )
    return Learnt.of(manifest_in(made))


def _tell(run: Run, manifest: Manifest, sources: Sequence[Source]) -> None:
    """The counts a reader wants to see at once."""
    for source in sources:
        if not manifest.counts[source.name]["notes"]:
            Progress(run.quiet).say(f"{source.name}: no discharge note; admissions go without")
        for reason, rows in manifest.left_out[source.name].items():
            if rows and reason.startswith(SMALL):
                Progress(run.quiet).say(f"{source.name}: left out {rows:,} {reason}")
    sizes = manifest.widths
    Progress(run.quiet).say(
        f"  {sizes.features:,} hourly and {sizes.demographics:,} demographic features, "
        f"{sizes.diagnoses:,} diagnoses, {sizes.drugs:,} drugs",
    )
    for task, counts in manifest.tasks.items():
        if counts.unavailable:
            Progress(run.quiet).say(f"  {task}: {counts.unavailable}")
            continue
        parts = [f"{split} {n:,} ({counts.positives[split]:,})" for split, n in counts.rows.items()]
        Progress(run.quiet).say(f"  {task}: {', '.join(parts)} rows (positive)")
    for line in beside_the_paper(manifest):
        Progress(run.quiet).say(f"  {line}")


if __name__ == "__main__":
    command.main(__doc__, featurize)
