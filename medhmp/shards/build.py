"""From the sources' tables to whole shards, in passes over patient buckets that run as Ray tasks.

    events --(a task per source)--> events per bucket --> repeats resolved --> FIDDLE fitted
        --> rows of each table per bucket --> files of equal size

What a pass learns adds up over buckets, and only that reaches the driver. Memory is set by a bucket
and by the small tables.
"""

import functools
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl
import pyarrow as pa

from medhmp import command
from medhmp.features import fiddle, repeats
from medhmp.features.codes import Kind, Vocabulary
from medhmp.features.fitted import Fitted
from medhmp.features.settings import settings_of
from medhmp.run import Run, digest
from medhmp.shards import schema, write
from medhmp.shards.coded import Coded, code_admissions
from medhmp.shards.index import Index
from medhmp.shards.labels import write_labels
from medhmp.shards.manifest import NAME, File, Manifest, content_of
from medhmp.shards.notes import write_notes
from medhmp.shards.scatter import Bucket, scatter
from medhmp.shards.tasks import Tasks
from medhmp.storage import Entry, Folder
from medhmp.tables.schema import Source

TABLES: Final = ("stays", "admissions", "patients")
WORK: Final = ".work"
SIZES: Final = ("patients", "admissions", "stays", "metavision_stays")
"""Counts of a source that describe the cohort; the others are of rows."""


@dataclass(frozen=True)
class Built:
    """What was written: entries of the shards, entries of ``notes/``, a worker's peak in bytes."""

    manifest: Manifest
    entries: list[Entry]
    notes: list[Entry]
    peak: int


@dataclass(frozen=True)
class Read:
    """What reading one source taught beside its events."""

    onsets: pl.DataFrame
    counts: Mapping[str, int]
    events: int


@dataclass(frozen=True)
class Gathered:
    """Rows of every table in the files of the buckets, and the schemas of those tables."""

    fitted: Fitted
    coded: Coded
    schemas: Mapping[str, pa.Schema]
    rows: Mapping[str, list[int]]  # table -> rows of each bucket


def build(run: Run, sources: Sequence[Source], shards: Folder) -> Built:
    """Writes everything below ``shards`` but ``complete.json``."""
    tasks, index = Tasks(command.watched(run.quiet)), Index.of(sources, run)
    work = shards / WORK
    names = tuple(source.name for source in sources)
    buckets = [Bucket(work, number, names) for number in range(run.shards.buckets)]
    try:
        read = _scatter(run, sources, index, work, tasks)
        events = sum(r.events for r in read.values())
        command.say(run, f"  {events:,} events of {index.stays.height:,} stays")
        fitted = _fit(run, index, buckets, tasks)
        gathered = _gather(run, sources, index, buckets, fitted, tasks)
        entries, tables = _files(run, gathered, buckets, shards, tasks)
        onsets = {name: of.onsets for name, of in read.items()}
        labeled, counted = write_labels(run, sources, onsets, index, shards)
        ((notes, written, scanned),) = tasks.each(
            write_notes, [(sources, index.admissions, shards / "notes")]
        )
    finally:
        work.remove()
    manifest = Manifest(
        fields=content_of(run, names),
        **_counts(read, scanned, written, gathered, index),  # type: ignore[arg-type]
        **_content(run, gathered),
        tables=tables,
        tasks=counted,
        notes=sum(written.values()),
    )
    entries += [*labeled, shards.write_json(NAME, manifest.to_json())]
    return Built(manifest, entries, notes, tasks.peak)


def _scatter(
    run: Run, sources: Sequence[Source], index: Index, work: Folder, tasks: Tasks
) -> dict[str, Read]:
    """Events of every source, by bucket."""
    show = command.watched(run.quiet)
    items = [(source, index.stays, work, run.shards.buckets, show) for source in sources]
    return {s.name: Read(*r) for s, r in zip(sources, tasks.each(scatter, items), strict=True)}


def _fit(run: Run, index: Index, buckets: Sequence[Bucket], tasks: Tasks) -> Fitted:
    """Resolves repeats in every bucket, then fits FIDDLE; both learn from training stays alone."""
    training = index.stays.filter(pl.col("split") == "train")
    own = [training.filter(pl.col("bucket") == b.number)["id"].to_numpy() for b in buckets]
    pairs, stays = list(zip(buckets, own, strict=True)), _stays_of(index, buckets)
    surveyed = tasks.each(_survey, pairs, "repeats, buckets surveyed", stays)
    resolve = functools.partial(_resolve, repeats.decide(list(surveyed)))
    list(tasks.each(resolve, [(b,) for b in buckets], "repeats, buckets resolved", stays))
    passes = itertools.count(1)

    def each(function: Callable[..., Any], items: Sequence[Any]) -> Iterator[Any]:
        what = f"features, buckets of pass {next(passes)}"
        return tasks.each(functools.partial(_of_resolved, function), items, what, stays)

    return fiddle.fit(pairs, settings_of(run), each)


def _stays_of(index: Index, buckets: Sequence[Bucket]) -> list[int]:
    """How many stays each bucket has."""
    found = dict(index.stays.group_by("bucket").len().iter_rows())
    return [found.get(bucket.number, 0) for bucket in buckets]


def _survey(bucket: Bucket, ids: Any) -> pl.DataFrame:
    return repeats.survey(bucket.events().filter(pl.col("id").is_in(ids)))


def _resolve(indicated: list[str], bucket: Bucket) -> int:
    resolved = repeats.resolve(bucket.events(), indicated)
    return bucket.write("resolved", resolved.to_arrow(compat_level=pl.CompatLevel.oldest()))


def _of_resolved(function: Callable[..., Any], bucket: Bucket, ids: Any) -> Any:
    return function(bucket.read("resolved"), ids)


def _gather(
    run: Run,
    sources: Sequence[Source],
    index: Index,
    buckets: Sequence[Bucket],
    fitted: Fitted,
    tasks: Tasks,
) -> Gathered:
    """Rows of every table, bucket by bucket, with codes as ids of the training vocabularies."""
    coded = code_admissions(sources, index, run.features)
    schemas = _schemas(run, fitted, coded.vocabularies)
    frames = (index.patients, coded.admissions, index.stays)
    own = [(b, *(f.filter(pl.col("bucket") == b.number) for f in frames)) for b in buckets]
    write_rows = functools.partial(_rows, fitted, schemas)
    counted = list(tasks.each(write_rows, own, "rows, buckets", _stays_of(index, buckets)))
    rows = {table: [count[table] for count in counted] for table in schemas}
    return Gathered(fitted, coded, schemas, rows)


def _schemas(
    run: Run, fitted: Fitted, vocabularies: Mapping[Kind, Vocabulary]
) -> dict[str, pa.Schema]:
    stay = (
        fitted.plan.settings.bins,
        len(fitted.hourly.names),
        len(fitted.static.names),
        not run.features.discretize,
    )
    diagnoses, drugs = len(vocabularies["diagnosis"]), len(vocabularies["drug"])
    return {
        "stays": schema.stays(*stay),
        "admissions": schema.admissions(*stay, diagnoses, drugs),
        "patients": schema.patients(diagnoses),
    }


def _rows(
    fitted: Fitted,
    schemas: Mapping[str, pa.Schema],
    bucket: Bucket,
    patients: pl.DataFrame,
    admissions: pl.DataFrame,
    stays: pl.DataFrame,
) -> dict[str, int]:
    """Writes one bucket's rows of every table; returns how many."""
    features = fiddle.transform(bucket.read("resolved"), stays["id"].to_numpy(), fitted)
    rows = write.stays_table(stays, features, schemas["stays"])
    tables = {
        "stays": rows,
        "admissions": write.admissions_table(admissions, stays, rows, schemas["admissions"]),
        "patients": write.patients_table(patients, admissions, schemas["patients"]),
    }
    return {name: bucket.write(name, table) for name, table in tables.items()}


def _files(
    run: Run, gathered: Gathered, buckets: Sequence[Bucket], shards: Folder, tasks: Tasks
) -> tuple[list[Entry], dict[str, dict[str, File]]]:
    """Cuts every table into files; returns their entries, and their counts by table and name."""
    items = []
    for table, rows in gathered.rows.items():
        parts = [(b.work / table, b.name, n) for b, n in zip(buckets, rows, strict=True)]
        for number, (start, stop) in enumerate(write.cut(sum(rows), run.shards.files)):
            name = f"{table}/part-{number:05}.parquet"
            items.append((parts, start, stop, shards, name, run.shards.row_group))
    entries: list[Entry] = []
    tables: dict[str, dict[str, File]] = {table: {} for table in gathered.rows}
    rows_of = [stop - start for _, start, stop, *_ in items]
    for entry, file in tasks.each(write.write_file, items, "files", rows_of):
        table, name = entry.name.split("/")
        entries.append(entry)
        tables[table][name] = file
    return entries, tables


def _counts(
    read: Mapping[str, Read],
    scanned: Mapping[str, Mapping[str, int]],
    notes: Mapping[str, int],
    gathered: Gathered,
    index: Index,
) -> dict[str, dict[str, dict[str, int]]]:
    """Each source's counts, told apart: of the cohort, of raw tables, of what was left out."""
    sizes, rows, left_out = {}, {}, {}
    for source, of in read.items():
        counts = {**of.counts, **scanned[source]}
        tables = {name: n for name, n in counts.items() if name.isupper()}
        cohort = {name: n for name, n in counts.items() if name in SIZES}
        sizes[source] = {**cohort, "events": of.events, "notes": notes[source]}
        sizes[source] |= gathered.coded.counts.get(source, {})
        rows[source] = dict(sorted(tables.items()))
        rest = counts.keys() - tables.keys() - cohort.keys()
        left_out[source] = {name: counts[name] for name in sorted(rest)}
        left_out[source] |= index.left_out[source]
    return {"counts": sizes, "rows_read": rows, "left_out": left_out}


def _content(run: Run, gathered: Gathered) -> dict[str, Any]:
    """Names behind the ids, their hashes, and the fitted featurizer."""
    names = {
        "features": gathered.fitted.hourly.names,
        "demographics": gathered.fitted.static.names,
        "diagnoses": gathered.coded.vocabularies["diagnosis"].codes,
        "drugs": gathered.coded.vocabularies["drug"].codes,
    }
    return {
        **names,
        "hours": gathered.fitted.plan.settings.bins,
        "real_valued": not run.features.discretize,
        "vocabularies": {name: digest(list(of)) for name, of in names.items()},
        "icd9_of": gathered.coded.icd9_of,
        "fiddle": json.loads(gathered.fitted.to_json()),
    }
