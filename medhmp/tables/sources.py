"""The sources of a run: which reader reads each, whether one has changed, all of them opened.

A new source is a module (or a folder with one) that satisfies ``Reader``, and one line of
``READERS``.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Final, Protocol

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from medhmp.layout import RAW
from medhmp.refusal import Refusal
from medhmp.run import Run, Tables, digest
from medhmp.storage import Folder, Trace, opened
from medhmp.tables import fiddle
from medhmp.tables.clif import reader as clif
from medhmp.tables.csv import table_of
from medhmp.tables.eicu import reader as eicu
from medhmp.tables.meds import reader as meds
from medhmp.tables.mimic import mimic3, mimic4
from medhmp.tables.physionet2012 import reader as physionet2012
from medhmp.tables.schema import ID_COLUMNS, IDS, SYNTHETIC, Source, Stream


class Reader(Protocol):
    """The module of a source. Ray's workers must be able to import it, as they run its streams."""

    def files(self, folder: Folder) -> dict[str, int | None]:
        """Size in bytes of each file that ``read`` reads, by its name below ``folder``.

        By these files a source is identified. Refuses a folder without any.
        """
        ...

    def read(self, name: str, folder_uri: str, run: Run) -> Source:
        """Opens the tables in ``folder_uri`` (local or ``s3://``) as the one set of tables.

        ``name`` becomes the source's name. Refuses what cannot be read.
        """
        ...


READERS: Final[Mapping[str, Reader]] = {
    "mimic3": mimic3,
    "mimic4": mimic4,
    "eicu": eicu,
    "clif": clif,
    "physionet2012": physionet2012,
    "meds": meds,
    "fiddle": fiddle,
    SYNTHETIC: mimic3,  # shaped as MIMIC-III
}
"""Name of a source -> its reader."""


_OF_TABLES: Final = (mimic3, mimic4, eicu, clif)
WAIVABLE: Final = tuple(dict.fromkeys(table_of(n) for of in _OF_TABLES for n in of.FOR_FEATURES))
"""Tables that ``tables.optional`` may name."""
_FOR_LABELS: Final = {table_of(name) for of in _OF_TABLES for name in of.FOR_LABELS}


def folders_of(tables: Tables, out: Folder) -> dict[str, Folder]:
    """Source -> the folder of its tables; ``raw/`` of ``out`` where the run names none.

    Refuses a name without a reader, and a name in ``tables.optional`` that is no required table's.
    """
    named = tables.named()
    for name in named:
        if name not in READERS:
            raise Refusal(
                f"tables.sources names '{name}', for which there is no reader; "
                f"the name before = must be one of {', '.join(READERS)}"
            )
    for table in tables.waived():
        if table not in (*WAIVABLE, *_FOR_LABELS):  # a reader refuses the latter, telling the task
            raise Refusal(
                f"tables.optional names '{table}', which no source must have; "
                f"it may name {', '.join(WAIVABLE)}"
            )
    return {name: Folder(uri) for name, uri in named.items()} or {SYNTHETIC: out / RAW}


@dataclass(frozen=True)
class Identity:
    """The identity of a source's tables."""

    hash: str
    checked: str  # how it was found, in a line


def identify(name: str, folder: Folder, synthetic: Mapping[str, Any]) -> Identity:
    """Tells whether a source is the one that shards were made of.

    Files up to 64 MiB count by their content, small ones first and half a gigabyte in all: a copy
    of them is the same. Larger ones count by size, time of the last change, and samples of their
    content. ``synthetic`` are the fields of the run that shape the synthetic cohort: one made with
    others is refused, and so is a damaged one.
    """
    if name == SYNTHETIC:
        cohort = opened(folder, "synthesize")
        cohort.check(synthetic, "synthesize")
        if damaged := cohort.damaged(hashed=sys.maxsize):
            raise Refusal(
                f"{folder} is damaged: {damaged} is missing or not what was written; "
                "run jobs.synthesize again with --overwrite"
            )
        return Identity(cohort.fingerprint, f"{name}: {len(cohort.files):,} files, as published")
    traces = folder.traces(READERS[name].files(folder))
    return Identity(digest([asdict(trace) for trace in traces]), f"{name}: {_checked(traces)}")


def _checked(traces: Sequence[Trace]) -> str:
    """What was looked at, in words."""
    sampled = sum(trace.changed is not None for trace in traces)
    ways = {"hashed whole": len(traces) - sampled, "by size, time and samples": sampled}
    told = ", ".join(f"{files:,} {way}" for way, files in ways.items() if files)
    return f"{len(traces):,} files, {told}"


def open_sources(folders: Mapping[str, Folder], run: Run) -> list[Source]:
    """Opens all sources of a run, with identifiers that no two of them share."""
    return apart([READERS[name].read(name, folder.uri, run) for name, folder in folders.items()])


def apart(sources: Sequence[Source]) -> list[Source]:
    """The sources with identifiers that no two of them share.

    Those of source k (from 0) are raised by k times ``IDS``. Of several sources, refuses one with
    an identifier that there is no room for.
    """
    if len(sources) > 1:
        for source in sources:
            _refuse_large(source)
    return [_raised(source, place * IDS) for place, source in enumerate(sources)]


def _refuse_large(source: Source) -> None:
    for frame in (source.patients, source.admissions, source.stays):
        for name in set(ID_COLUMNS) & set(frame.columns):
            if not frame[name].is_between(0, IDS - 1).all():
                raise Refusal(
                    f"{source.name} has a {name} below 0 or of more than 10 digits, for which "
                    "a run of several sources has no room; run this source by itself"
                )


def _raised(source: Source, by: int) -> Source:
    if not by:
        return source
    return replace(
        source,
        patients=_frame_raised(source.patients, by),
        admissions=_frame_raised(source.admissions, by),
        stays=_frame_raised(source.stays, by),
        codes=_frame_raised(source.codes, by),
        streams={name: partial(_batches_raised, s, by) for name, s in source.streams.items()},
        notes=partial(_batches_raised, source.notes, by),
        onsets=partial(_made_raised, source.onsets, by),
        unrecorded={kind: _frame_raised(of, by) for kind, of in source.unrecorded.items()},
        splits=None if source.splits is None else _frame_raised(source.splits, by),
        targets=source.targets and partial(_made_raised, source.targets, by),
    )


def _frame_raised(frame: pl.DataFrame, by: int) -> pl.DataFrame:
    return frame.with_columns(pl.col(name) + by for name in ID_COLUMNS if name in frame.columns)


def _made_raised(make: Callable[[], pl.DataFrame], by: int) -> pl.DataFrame:
    return _frame_raised(make(), by)


def _batches_raised(stream: Stream, by: int) -> Iterator[pa.RecordBatch]:
    for batch in stream():
        columns = {name: batch.column(name) for name in batch.schema.names}
        raised = {name: pc.add(columns[name], by) for name in ID_COLUMNS if name in columns}
        yield pa.record_batch({**columns, **raised}, schema=batch.schema)
