"""From the sources' tables to the files of the shards, in passes over patient buckets.

    events --(a Ray task per stream)--> events per bucket --> repeats resolved --> FIDDLE fitted
        --> rows of each table per bucket --> files of equal size

A pass is a Ray task per bucket. Its results add up over buckets, and only they reach the driver. A
bucket and the small tables decide the memory.
"""

import functools
import itertools
import json
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import polars as pl
import pyarrow as pa

from medhmp.features import drift, fiddle, hierarchy, numbers, repeats
from medhmp.features.codes import KINDS
from medhmp.features.filled import Filled, filled
from medhmp.features.fitted import FittedFeatures, Transformed
from medhmp.features.numbers import FittedNumbers, NumberPlan
from medhmp.features.settings import Settings, settings_of
from medhmp.layout import MANIFEST, NOTES
from medhmp.notes.text import write_notes
from medhmp.progress import Progress
from medhmp.run import Cohort, Features, Shards, Splits, digest
from medhmp.shards import schema
from medhmp.shards.build import write
from medhmp.shards.build.bounds import (
    refuse_no_feature,
    refuse_no_training_stay,
    refuse_unfilled,
)
from medhmp.shards.build.buckets import Bucket, SourceRead, scatter
from medhmp.shards.build.codes import Coded, code_admissions
from medhmp.shards.build.index import Index
from medhmp.shards.build.journal import Journal
from medhmp.shards.build.labels import write_labels
from medhmp.shards.build.pool import Pool
from medhmp.shards.build.stopwatch import Spent
from medhmp.shards.build.targets import write_targets
from medhmp.shards.featurizer import Featurizer
from medhmp.shards.manifest import File, Manifest
from medhmp.storage import Entry, Folder
from medhmp.tables.ranges import Variable
from medhmp.tables.schema import Source

TABLES: Final = ("stays", "admissions", "patients")
SIZES: Final = (
    *("patients", "admissions", "admissions without an end"),
    *("stays", "stays without an end", "metavision_stays"),
)
"""Counts of a source that describe the cohort; the others are of rows."""


@dataclass(frozen=True)
class Sections:
    """The sections of a run that a build reads."""

    cohort: Cohort
    splits: Splits
    features: Features
    shards: Shards
    quantities: tuple[Variable, ...] = ()  # the names that sources have for what is derived of two

    @property
    def icd9_only(self) -> bool:
        return self.features.icd == "icd9_only"


@dataclass(frozen=True)
class Built:
    """The files that a build has written, and the resources that it took."""

    manifest: Manifest
    entries: list[Entry]  # of the shards
    notes: list[Entry]  # of ``notes/``
    targets: list[Entry]  # of ``targets/``; none without features.numbers
    peak: int  # bytes of the largest worker
    stages: Mapping[str, Spent]


def build(
    asked: Sections,
    fields: Mapping[str, Any],
    sources: Sequence[Source],
    shards: Folder,
    targets: Folder,
    journal: Journal,
    progress: Progress,
    frozen: Featurizer | None = None,
) -> Built:
    """Writes everything below ``shards`` and ``targets`` but ``complete.json``.

    Args:
        asked: what to build.
        fields: ``content_of`` the run, for the manifest.
        sources: their identifiers differ.
        shards: where the files go.
        targets: where the auxiliary targets go; those of an earlier build are removed.
        journal: holds the intermediate files, and what of the work is done.
        progress: is told how far the work is.
        frozen: makes the features and codes; none: a featurizer is fitted on training patients.
    """
    pool = Pool(progress.is_watched)
    index = Index.of(sources, asked.splits, asked.shards.bucket_stays, asked.icd9_only)
    if not frozen:
        refuse_no_training_stay(index)
    pool.stopwatch.begin("read")
    read, buckets = scatter(sources, index, journal, pool, progress.is_watched)
    events = sum(r.events for r in read.values())
    progress.say(f"  {events:,} events of {index.stays.height:,} stays")
    pool.stopwatch.begin("repeats")
    coded = code_admissions(sources, index, asked.features, frozen)
    featurizer = _featurizer(asked, coded, frozen, index, buckets, journal, pool)
    schemas = _schemas(featurizer)
    pool.stopwatch.begin("rows")
    rows, of_sources = _gather(featurizer, schemas, coded.admissions, index, buckets, journal, pool)
    if frozen:
        refuse_unfilled(asked.features.min_filled, of_sources, frozen, index, buckets, pool)
    drifted = _drift(frozen, of_sources, index, buckets, pool) if frozen else {}
    pool.stopwatch.begin("files")
    entries, tables = _files(asked.shards, rows, buckets, shards, journal, pool)
    pool.stopwatch.begin("labels")
    onsets = {name: of.onsets for name, of in read.items()}
    labelled, counted = write_labels(asked.cohort, asked.icd9_only, sources, onsets, index, shards)
    targets.remove()
    auxiliary = write_targets(sources, index, targets) if asked.features.numbers else []
    pool.stopwatch.begin("notes")
    ((notes, written, scanned),) = pool.each(
        write_notes, [(sources, index.admissions, shards / NOTES)]
    )
    pool.stopwatch.end()
    manifest = Manifest(
        fields=fields,
        **_counts(read, scanned, written, coded, index),  # type: ignore[arg-type]
        splits={s.name: digest(sorted(s.splits.rows())) for s in sources if s.splits is not None},
        **_content(featurizer),
        tables=tables,
        tasks=counted,
        notes=sum(written.values()),
        filled={source: of.counts() for source, of in of_sources.items()},
        drift=drifted,
    )
    entries += [*labelled, shards.write_json(MANIFEST, manifest.to_json())]
    return Built(manifest, entries, notes, auxiliary, pool.peak, pool.stopwatch.stages)


def _fit(
    settings: Settings, index: Index, buckets: Sequence[Bucket], journal: Journal, pool: Pool
) -> tuple[list[str], FittedFeatures]:
    """Resolves repeats in every bucket, then fits FIDDLE; both learn from training stays alone.

    Returns the variables whose repeats become indicators, and the fitted features.
    """
    training = _training(index)
    own = [training.filter(pl.col("bucket") == b.number)["id"].to_numpy() for b in buckets]
    pairs, stays = list(zip(buckets, own, strict=True)), _stays_of(index, buckets)

    def choose() -> list[str]:
        found = pool.each(_find_repeats, pairs, "repeats, buckets surveyed", stays)
        return repeats.choose_indicators(list(found))

    indicators: list[str] = journal.once("indicators", choose)
    _resolve_all(indicators, settings.value_types, index, buckets, journal, pool)
    passes = itertools.count(1)

    def each(function: Callable[..., Any], items: Sequence[Any]) -> Iterator[Any]:
        number = next(passes)
        pool.stopwatch.begin(f"pass {number}")
        what = f"features, buckets of pass {number}"
        return pool.each(functools.partial(_of_resolved, function), items, what, stays)

    observed = training.select("id", hours="observed").drop_nulls()

    def fit() -> Any:
        return json.loads(fiddle.fit(pairs, settings, each, observed=observed).to_json())

    fitted = FittedFeatures.from_json(json.dumps(journal.once("fitted", fit))).published()
    known = fitted.plan.types.of  # the others' events are dropped, however they are resolved
    return [name for name in indicators if name in known], fitted


def _fit_numbers(
    plan: NumberPlan, index: Index, buckets: Sequence[Bucket], journal: Journal, pool: Pool
) -> FittedNumbers:
    """Fits the maps of numbers on training stays, of which it reads the first of their order."""
    sampled = _training(index).head(plan.sampled)
    own = [sampled.filter(pl.col("bucket") == b.number)["id"].to_numpy() for b in buckets]
    items = [(bucket, ids) for bucket, ids in zip(buckets, own, strict=True) if len(ids)]
    read_sample = functools.partial(_sampled, plan)

    def fit() -> Any:
        pool.stopwatch.begin("numbers")
        stays = [len(ids) for _, ids in items]
        found = pool.each(read_sample, items, "numbers, buckets sampled", stays)
        return numbers.fit(functools.reduce(operator.add, found), plan).to_json()

    return FittedNumbers.from_json(journal.once("numbers", fit))


def _sampled(plan: NumberPlan, bucket: Bucket, ids: Any) -> numbers.Sample:
    return numbers.sample(bucket.read("resolved"), ids, plan)


def _featurizer(
    asked: Sections,
    coded: Coded,
    frozen: Featurizer | None,
    index: Index,
    buckets: Sequence[Bucket],
    journal: Journal,
    pool: Pool,
) -> Featurizer:
    """The frozen featurizer, else one fitted on training patients; either way the repeats of every
    bucket are resolved."""
    if frozen:
        types = asked.features.types()
        _resolve_all(list(frozen.indicators), types, index, buckets, journal, pool)
        return replace(frozen, icd9_of=coded.fitted.icd9_of)
    settings, codes = settings_of(asked.cohort.hours, asked.features), coded.fitted
    indicators, fitted = _fit(settings, index, buckets, journal, pool)
    refuse_no_feature(fitted, index, buckets, pool)
    names = drift.features_of(fitted, indicators)
    typical = _typical(names, _training(index), buckets, pool)
    of_numbers = None
    if asked.features.numbers:
        plan = numbers.number_plan(fitted.plan, indicators, asked.quantities)
        of_numbers = _fit_numbers(plan, index, buckets, journal, pool)
    of_codes = (codes.vocabularies, codes.icd9_of, codes.icd9_seen)
    return Featurizer(indicators, fitted, *of_codes, typical, of_numbers)


def _training(index: Index) -> pl.DataFrame:
    return index.stays.filter(pl.col("split") == "train")


def _resolve_all(
    indicators: list[str],
    value_types: Mapping[str, str],
    index: Index,
    buckets: Sequence[Bucket],
    journal: Journal,
    pool: Pool,
) -> None:
    """Resolves repeats in every bucket. Refuses hierarchical values of any bucket, all at once."""
    resolve = functools.partial(_resolve, indicators, value_types)
    items, stays = [(b,) for b in buckets], _stays_of(index, buckets)
    unknown = journal.each("resolved", pool, resolve, items, "repeats, buckets resolved", stays)
    hierarchy.refuse(itertools.chain.from_iterable(unknown))


def _stays_of(index: Index, buckets: Sequence[Bucket]) -> list[int]:
    """Counts the stays of each bucket."""
    found = dict(index.stays.group_by("bucket").len().iter_rows())
    return [found.get(bucket.number, 0) for bucket in buckets]


def _find_repeats(bucket: Bucket, ids: Any) -> pl.DataFrame:
    return repeats.find_repeats(bucket.events().filter(pl.col("id").is_in(ids)))


def _resolve(
    indicators: list[str], value_types: Mapping[str, str], bucket: Bucket
) -> list[hierarchy.Unknown]:
    events = bucket.events()
    resolved = repeats.resolve(events, indicators)
    bucket.write("resolved", resolved.to_arrow(compat_level=pl.CompatLevel.oldest()))
    return hierarchy.unknown(events, value_types)


def _of_resolved(function: Callable[..., Any], bucket: Bucket, ids: Any) -> Any:
    return function(bucket.read("resolved"), ids)


def _gather(
    featurizer: Featurizer,
    schemas: Mapping[str, pa.Schema],
    admissions: pl.DataFrame,
    index: Index,
    buckets: Sequence[Bucket],
    journal: Journal,
    pool: Pool,
) -> tuple[dict[str, list[int]], dict[str, Filled]]:
    """Writes the rows of every table, bucket by bucket; returns how many each bucket has, and what
    the stays of each source fill of the columns.

    ``admissions`` are coded.
    """
    frames = (index.patients, admissions, index.stays)
    own = [(b, *(f.filter(pl.col("bucket") == b.number) for f in frames)) for b in buckets]
    write_rows = functools.partial(_rows, featurizer.fitted, featurizer.numbers, schemas)
    stays = _stays_of(index, buckets)
    counted = journal.each("rows", pool, write_rows, own, "rows, buckets", stays)
    found = dict.fromkeys(index.patients["source"].unique().sort(), Filled())
    for _, of_sources in counted:
        for source, raw in of_sources.items():
            found[source] += Filled.from_json(raw)
    return {table: [rows[table] for rows, _ in counted] for table in schemas}, found


def _schemas(featurizer: Featurizer) -> dict[str, pa.Schema]:
    fitted = featurizer.fitted
    stay = (
        fitted.plan.settings.bins,
        len(fitted.hourly.names),
        len(fitted.static.names),
        not fitted.plan.settings.discretize,
    )
    diagnoses, drugs = (len(featurizer.vocabularies[kind]) for kind in KINDS)
    of_numbers = (0, 0)
    if featurizer.numbers:
        of_numbers = len(featurizer.numbers.variables), len(featurizer.numbers.statistics)
    return {
        "stays": schema.stays(*stay, *of_numbers),
        "admissions": schema.admissions(*stay, diagnoses, drugs, *of_numbers),
        "patients": schema.patients(diagnoses),
    }


def _rows(
    fitted: FittedFeatures,
    fitted_numbers: FittedNumbers | None,
    schemas: Mapping[str, pa.Schema],
    bucket: Bucket,
    patients: pl.DataFrame,
    admissions: pl.DataFrame,
    stays: pl.DataFrame,
) -> tuple[dict[str, int], dict[str, Any]]:
    """Writes one bucket's rows of every table; returns how many, and each source's ``Filled``."""
    events, ids = bucket.read("resolved"), stays["id"].to_numpy()
    features = fiddle.transform(events, ids, fitted)
    known = numbers.transform(events, ids, fitted_numbers) if fitted_numbers else None
    rows = write.stays_table(stays, features, schemas["stays"], known)
    tables = {
        "stays": rows,
        "admissions": write.admissions_table(admissions, stays, rows, schemas["admissions"]),
        "patients": write.patients_table(patients, admissions, schemas["patients"]),
    }
    written = {name: bucket.write(name, table) for name, table in tables.items()}
    return written, filled_by_source(features, stays["source"], fitted)


def filled_by_source(
    features: Transformed, sources: pl.Series, fitted: FittedFeatures
) -> dict[str, Any]:
    """Source -> what its stays fill of the columns, as JSON. ``sources`` (n) are of each stay."""
    assert features.recorded is not None
    return {
        source: filled(features.recorded, (sources == source).to_numpy(), fitted.elapsed).to_json()
        for source in sources.unique().sort()
    }


def _drift(
    frozen: Featurizer,
    of_sources: Mapping[str, Filled],
    index: Index,
    buckets: Sequence[Bucket],
    pool: Pool,
) -> dict[str, dict[str, Any]]:
    """Source -> what its stays have of each hourly variable of the frozen features, as JSON."""
    features = drift.features_of(frozen.fitted, frozen.indicators)
    found = {}
    for source, of in of_sources.items():
        stays = index.stays.filter(pl.col("source") == source)
        there = _typical(features, stays, buckets, pool)
        both = drift.compared(features, frozen.typical, of.features, there)
        found[source] = {name: asdict(variable) for name, variable in both.items()}
    return found


def _typical(
    names: Iterable[str], stays: pl.DataFrame, buckets: Sequence[Bucket], pool: Pool
) -> dict[str, drift.Typical]:
    """The readings of stays of the index under these names."""
    own = [(b, stays.filter(pl.col("bucket") == b.number)["id"]) for b in buckets]
    count = functools.partial(_readings, tuple(names))
    return drift.typical(drift.added(list(pool.each(count, own))))


def _readings(names: tuple[str, ...], bucket: Bucket, ids: pl.Series) -> drift.Readings:
    return drift.readings(names, bucket.read("resolved"), ids)


def _files(
    sizes: Shards,
    rows: Mapping[str, list[int]],
    buckets: Sequence[Bucket],
    shards: Folder,
    journal: Journal,
    pool: Pool,
) -> tuple[list[Entry], dict[str, dict[str, File]]]:
    """Cuts every table into files; returns their entries, and their counts by table and name."""
    items = []
    for table, counts in rows.items():
        parts = [(b.work / table, b.name, n) for b, n in zip(buckets, counts, strict=True)]
        for number, (start, stop) in enumerate(write.file_bounds(sum(counts), sizes.files)):
            name = f"{table}/part-{number:05}.parquet"
            items.append((parts, start, stop, shards, name, sizes.row_group))
    entries: list[Entry] = []
    tables: dict[str, dict[str, File]] = {table: {} for table in rows}
    rows_of = [stop - start for _, start, stop, *_ in items]
    for entry, file in journal.each("files", pool, _file, items, "files", rows_of):
        entries.append(Entry(**entry))
        table, name = entry["name"].split("/")
        tables[table][name] = File(**file)
    return entries, tables


def _file(*arguments: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    entry, file = write.write_file(*arguments)
    return asdict(entry), asdict(file)


def _counts(
    read: Mapping[str, SourceRead],
    scanned: Mapping[str, Mapping[str, int]],
    notes: Mapping[str, int],
    coded: Coded,
    index: Index,
) -> dict[str, dict[str, dict[str, int]]]:
    """Sorts each source's counts into those of the cohort, of raw tables, and of rows left out."""
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


def _content(featurizer: Featurizer) -> dict[str, Any]:
    """The manifest's fields that describe the featurizer: names by id, their hashes, the fit."""
    fitted = featurizer.fitted
    names = {
        "features": fitted.hourly.names,
        "demographics": fitted.static.names,
        "diagnoses": featurizer.vocabularies["diagnosis"].codes,
        "drugs": featurizer.vocabularies["drug"].codes,
    }
    return {
        **names,
        "hours": fitted.plan.settings.bins,
        "real_valued": not fitted.plan.settings.discretize,
        "vocabularies": {name: digest(list(of)) for name, of in names.items()},
        "icd9_of": featurizer.icd9_of,
        "icd9_seen": featurizer.icd9_seen,
        "indicators": featurizer.indicators,
        "fiddle": json.loads(fitted.to_json()),
        "typical": {name: asdict(of) for name, of in featurizer.typical.items()},
        "numbers": featurizer.numbers.to_json() if featurizer.numbers else {},
    }
