"""From the sources' tables to whole shards, in passes over patient buckets that run as Ray tasks.

    events --(a task per stream)--> events per bucket --> repeats resolved --> FIDDLE fitted
        --> rows of each table per bucket --> files of equal size

What a pass learns adds up over buckets, and only that reaches the driver. Memory is set by a bucket
and by the small tables.
"""

import functools
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import polars as pl
import pyarrow as pa

from medhmp.features import fiddle, repeats
from medhmp.features.fitted import FittedFeatures
from medhmp.features.settings import settings_of
from medhmp.layout import MANIFEST
from medhmp.notes.text import write_notes
from medhmp.progress import Progress
from medhmp.run import Run, digest
from medhmp.shards import schema
from medhmp.shards.build import write
from medhmp.shards.build.buckets import Bucket, Read, scatter
from medhmp.shards.build.codes import Coded, code_admissions
from medhmp.shards.build.index import Index
from medhmp.shards.build.journal import Work
from medhmp.shards.build.labels import write_labels
from medhmp.shards.build.pool import Tasks
from medhmp.shards.build.stopwatch import Spent
from medhmp.shards.featurizer import Learnt
from medhmp.shards.manifest import File, Manifest, content_of
from medhmp.storage import Entry, Folder
from medhmp.tables.schema import Source

TABLES: Final = ("stays", "admissions", "patients")
SIZES: Final = ("patients", "admissions", "stays", "metavision_stays")
"""Counts of a source that describe the cohort; the others are of rows."""


@dataclass(frozen=True)
class Built:
    """What was written: entries of the shards, entries of ``notes/``; and what it took."""

    manifest: Manifest
    entries: list[Entry]
    notes: list[Entry]
    peak: int  # bytes of the largest worker
    stages: Mapping[str, Spent]


def build(
    run: Run, sources: Sequence[Source], shards: Folder, work: Work, frozen: Learnt | None = None
) -> Built:
    """Writes everything below ``shards`` but ``complete.json``.

    ``work`` holds the intermediate files, and what of them is whole already. With ``frozen``
    nothing is fitted.
    """
    tasks, index = Tasks(Progress(run.quiet).is_watched), Index.of(sources, run)
    names = tuple(source.name for source in sources)
    tasks.watch.begin("read")
    read, buckets = scatter(sources, index, work, tasks, Progress(run.quiet).is_watched)
    events = sum(r.events for r in read.values())
    Progress(run.quiet).say(f"  {events:,} events of {index.stays.height:,} stays")
    tasks.watch.begin("repeats")
    coded = code_admissions(sources, index, run.features, frozen)
    if frozen:
        learnt = frozen
        _resolve_all(list(frozen.indicators), index, buckets, work, tasks)
    else:
        indicators, fitted = _fit(run, index, buckets, work, tasks)
        learnt = Learnt(indicators, fitted, coded.vocabularies, coded.icd9_of)
    schemas = _schemas(run, learnt)
    tasks.watch.begin("rows")
    rows = _gather(learnt, schemas, coded.admissions, index, buckets, work, tasks)
    tasks.watch.begin("files")
    entries, tables = _files(run, rows, buckets, shards, work, tasks)
    tasks.watch.begin("labels")
    onsets = {name: of.onsets for name, of in read.items()}
    labeled, counted = write_labels(run, sources, onsets, index, shards)
    tasks.watch.begin("notes")
    ((notes, written, scanned),) = tasks.each(
        write_notes, [(sources, index.admissions, shards / "notes")]
    )
    tasks.watch.end()
    manifest = Manifest(
        fields=content_of(run, names),
        **_counts(read, scanned, written, coded, index),  # type: ignore[arg-type]
        splits={s.name: digest(sorted(s.splits.rows())) for s in sources if s.splits is not None},
        **_content(run, learnt),
        tables=tables,
        tasks=counted,
        notes=sum(written.values()),
    )
    entries += [*labeled, shards.write_json(MANIFEST, manifest.to_json())]
    return Built(manifest, entries, notes, tasks.peak, tasks.watch.stages)


def _fit(
    run: Run, index: Index, buckets: Sequence[Bucket], work: Work, tasks: Tasks
) -> tuple[list[str], FittedFeatures]:
    """Resolves repeats in every bucket, then fits FIDDLE. Both learn from training stays alone.

    The first are the variables whose repeats become indicators.
    """
    training = index.stays.filter(pl.col("split") == "train")
    own = [training.filter(pl.col("bucket") == b.number)["id"].to_numpy() for b in buckets]
    pairs, stays = list(zip(buckets, own, strict=True)), _stays_of(index, buckets)

    def survey() -> list[str]:
        surveyed = tasks.each(_survey, pairs, "repeats, buckets surveyed", stays)
        return repeats.choose_indicators(list(surveyed))

    indicators: list[str] = work.once("indicators", survey)
    _resolve_all(indicators, index, buckets, work, tasks)
    passes = itertools.count(1)

    def each(function: Callable[..., Any], items: Sequence[Any]) -> Iterator[Any]:
        number = next(passes)
        tasks.watch.begin(f"pass {number}")
        what = f"features, buckets of pass {number}"
        return tasks.each(functools.partial(_of_resolved, function), items, what, stays)

    def fit() -> Any:
        return json.loads(
            fiddle.fit(pairs, settings_of(run.cohort.hours, run.features), each).to_json()
        )

    return indicators, FittedFeatures.from_json(json.dumps(work.once("fitted", fit)))


def _resolve_all(
    indicators: list[str], index: Index, buckets: Sequence[Bucket], work: Work, tasks: Tasks
) -> None:
    resolve = functools.partial(_resolve, indicators)
    items, stays = [(b,) for b in buckets], _stays_of(index, buckets)
    work.each("resolved", tasks, resolve, items, "repeats, buckets resolved", stays)


def _stays_of(index: Index, buckets: Sequence[Bucket]) -> list[int]:
    """How many stays each bucket has."""
    found = dict(index.stays.group_by("bucket").len().iter_rows())
    return [found.get(bucket.number, 0) for bucket in buckets]


def _survey(bucket: Bucket, ids: Any) -> pl.DataFrame:
    return repeats.find_repeats(bucket.events().filter(pl.col("id").is_in(ids)))


def _resolve(indicators: list[str], bucket: Bucket) -> int:
    resolved = repeats.resolve(bucket.events(), indicators)
    return bucket.write("resolved", resolved.to_arrow(compat_level=pl.CompatLevel.oldest()))


def _of_resolved(function: Callable[..., Any], bucket: Bucket, ids: Any) -> Any:
    return function(bucket.read("resolved"), ids)


def _gather(
    learnt: Learnt,
    schemas: Mapping[str, pa.Schema],
    admissions: pl.DataFrame,
    index: Index,
    buckets: Sequence[Bucket],
    work: Work,
    tasks: Tasks,
) -> dict[str, list[int]]:
    """Rows of every table, bucket by bucket; how many each bucket has. ``admissions`` are coded."""
    frames = (index.patients, admissions, index.stays)
    own = [(b, *(f.filter(pl.col("bucket") == b.number) for f in frames)) for b in buckets]
    write_rows = functools.partial(_rows, learnt.fitted, schemas)
    stays = _stays_of(index, buckets)
    counted = work.each("rows", tasks, write_rows, own, "rows, buckets", stays)
    return {table: [count[table] for count in counted] for table in schemas}


def _schemas(run: Run, learnt: Learnt) -> dict[str, pa.Schema]:
    fitted = learnt.fitted
    stay = (
        fitted.plan.settings.bins,
        len(fitted.hourly.names),
        len(fitted.static.names),
        not run.features.discretize,
    )
    diagnoses, drugs = len(learnt.vocabularies["diagnosis"]), len(learnt.vocabularies["drug"])
    return {
        "stays": schema.stays(*stay),
        "admissions": schema.admissions(*stay, diagnoses, drugs),
        "patients": schema.patients(diagnoses),
    }


def _rows(
    fitted: FittedFeatures,
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
    run: Run,
    rows: Mapping[str, list[int]],
    buckets: Sequence[Bucket],
    shards: Folder,
    work: Work,
    tasks: Tasks,
) -> tuple[list[Entry], dict[str, dict[str, File]]]:
    """Cuts every table into files; returns their entries, and their counts by table and name."""
    items = []
    for table, counts in rows.items():
        parts = [(b.work / table, b.name, n) for b, n in zip(buckets, counts, strict=True)]
        for number, (start, stop) in enumerate(write.cut(sum(counts), run.shards.files)):
            name = f"{table}/part-{number:05}.parquet"
            items.append((parts, start, stop, shards, name, run.shards.row_group))
    entries: list[Entry] = []
    tables: dict[str, dict[str, File]] = {table: {} for table in rows}
    rows_of = [stop - start for _, start, stop, *_ in items]
    for entry, file in work.each("files", tasks, _file, items, "files", rows_of):
        entries.append(Entry(**entry))
        table, name = entry["name"].split("/")
        tables[table][name] = File(**file)
    return entries, tables


def _file(*arguments: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    entry, file = write.write_file(*arguments)
    return asdict(entry), asdict(file)


def _counts(
    read: Mapping[str, Read],
    scanned: Mapping[str, Mapping[str, int]],
    notes: Mapping[str, int],
    coded: Coded,
    index: Index,
) -> dict[str, dict[str, dict[str, int]]]:
    """Each source's counts, told apart: of the cohort, of raw tables, of what was left out."""
    sizes, rows, left_out = {}, {}, {}
    for source, of in read.items():
        counts = {**of.counts, **scanned[source]}
        tables = {name: n for name, n in counts.items() if name.isupper()}
        cohort = {name: n for name, n in counts.items() if name in SIZES}
        sizes[source] = {**cohort, "events": of.events, "notes": notes[source]}
        sizes[source] |= coded.counts.get(source, {})
        rows[source] = dict(sorted(tables.items()))
        rest = counts.keys() - tables.keys() - cohort.keys()
        left_out[source] = {name: counts[name] for name in sorted(rest)}
        left_out[source] |= index.left_out[source]
    return {"counts": sizes, "rows_read": rows, "left_out": left_out}


def _content(run: Run, learnt: Learnt) -> dict[str, Any]:
    """Names behind the ids, their hashes, and the fitted featurizer."""
    names = {
        "features": learnt.fitted.hourly.names,
        "demographics": learnt.fitted.static.names,
        "diagnoses": learnt.vocabularies["diagnosis"].codes,
        "drugs": learnt.vocabularies["drug"].codes,
    }
    return {
        **names,
        "hours": learnt.fitted.plan.settings.bins,
        "real_valued": not run.features.discretize,
        "vocabularies": {name: digest(list(of)) for name, of in names.items()},
        "icd9_of": learnt.icd9_of,
        "indicators": learnt.indicators,
        "fiddle": json.loads(learnt.fitted.to_json()),
    }
