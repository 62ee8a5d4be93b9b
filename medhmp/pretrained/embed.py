"""The vectors of all rows of shards made by Ray tasks, file by file, and published."""

import functools
from dataclasses import asdict
from typing import Any

from medhmp.pretrained.applied import finished, journal_of, loaded
from medhmp.pretrained.model import TrainedModel
from medhmp.pretrained.vectors import CODE_KINDS, ROW_KINDS, TABLE_OF, RowKind
from medhmp.progress import Progress
from medhmp.run import Run
from medhmp.shards.build.pool import Pool
from medhmp.shards.manifest import OpenShards
from medhmp.storage import Entry, Folder, Stamp


def stamp_of(model: TrainedModel, shards: OpenShards) -> Stamp:
    """The stamp of vectors: of the model, of the rows, and of the notes that they come with."""
    inputs = {"model": model.folder.fingerprint, "shards": shards.fingerprint}
    if model.reads_vectors:
        inputs["note_embeddings"] = shards.note_embeddings.fingerprint
    return Stamp({}, inputs)


def write_vectors(
    model: TrainedModel, shards: OpenShards, room: Folder, stamp: Stamp, progress: Progress
) -> dict[str, int]:
    """Writes and publishes the vectors that the model has; returns the rows of each kind.

    Ray must be initialized.
    """
    kinds, journal = model.encoders.kinds, journal_of(room, stamp, progress)
    items = [
        (kind, name)
        for kind in ROW_KINDS
        if kind in kinds
        for name in sorted(shards.manifest.tables[TABLE_OF[kind]])
    ]
    one = functools.partial(_write_file, model.folder.folder.uri, model.run, shards, room)
    pool = Pool(progress.is_watched, gpus=1)
    rows = [1] * len(items)
    found = journal.each("files", pool, one, items, "embedding, files", rows)
    counts = dict[str, int]()
    entries = []
    for (kind, _), (entry, of_file) in zip(items, found, strict=True):
        counts[kind] = counts.get(kind, 0) + of_file
        entries.append(Entry(**entry))
    for code in (k for k in CODE_KINDS if k in kinds):
        table = model.encoders.embed_codes(code, getattr(model.manifest, code))
        entries.append(room.write_parquet(f"{code}.parquet", table))
        counts[code] = table.num_rows
    finished(room, stamp, entries, journal)
    return counts


def _write_file(
    uri: str, run: Run, shards: OpenShards, room: Folder, kind: RowKind, name: str
) -> tuple[dict[str, Any], int]:
    table = loaded(uri, run).encoders.embed_file(shards, kind, name)
    return asdict(room.write_parquet(f"{kind}/{name}", table)), table.num_rows
