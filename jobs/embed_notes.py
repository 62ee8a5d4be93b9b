"""Embeds the discharge notes with a frozen T5 encoder, then deletes their text.

    python -m jobs.embed_notes smoke --out runs/demo
    python -m jobs.embed_notes paper --out s3://bucket/run --notes.model s3://bucket/clinical-t5

Reads   OUT/shards/notes/*.parquet (hadm_id, note_hash, text)
Writes  OUT/shards/note_embeddings/*.parquet (hadm_id, embedding float32[768]), by hadm_id
Deletes OUT/shards/notes/ unless --notes.keep-text

One actor per GPU of the cluster, or per CPU where there is none. A text that several admissions
share is embedded once. The driver holds the vectors (3 kB a note) and never a text.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NoReturn

from medhmp import command
from medhmp.legend import NOTE_WIDTH
from medhmp.progress import Progress
from medhmp.refusal import Refusal
from medhmp.run import Run, fields_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import polars as pl
    import ray.data

    from medhmp.storage import Entry, Folder, Stamp

READS: Final = ("out", "overwrite", "quiet", "notes")
"""Sections and fields of a run that this job reads."""

NOTES_PER_TASK: Final = 512
ROWS_PER_FILE: Final = 1 << 16  # 200 MB
INDEX: Final = ("hadm_id", "note_hash", "file", "row_group", "row")


def embed_notes(run: Run) -> None:
    """Embeds the notes of a run and publishes their vectors. Ray must be initialized."""
    from medhmp.notes.encoder import check_encoder
    from medhmp.shards.manifest import open_shards
    from medhmp.storage import Stamp, made_elsewhere, publish

    shards = open_shards(run)
    notes, out = shards.folder / "notes", shards.folder / "note_embeddings"
    stamp = Stamp(
        fields=fields_of(run, "notes.model", "notes.max_tokens"),
        inputs={
            "shards": shards.fingerprint,
            "notes.model": check_encoder(run.notes.model),
        },
    )
    expected = shards.manifest.notes
    if _is_done(run, notes, out, stamp, expected):
        Progress(run.quiet).say(f"notes: {out} is whole{made_elsewhere(out)}; skipped")
    else:
        publish(out, stamp, _embed(run, notes, out))
    if not run.notes.keep_text:
        notes.remove()


def _embed(run: Run, notes: Folder, out: Folder) -> list[Entry]:
    from medhmp.notes.encoder import load_encoder

    index = read_index(notes)
    if run.notes.model is not None:
        load_encoder(run.notes.model)  # a refusal from here reaches the user, one from an actor not
    elif len(index):
        Progress(run.quiet).say(
            "notes: without notes.model, the vectors of a tiny random T5 carry little"
        )
    unique = index.unique("note_hash", keep="first", maintain_order=True)
    vectors = _vectors(run, notes, unique)
    slot = unique.select("note_hash").with_row_index("slot")
    rows = index.join(slot, on="note_hash").sort("hadm_id").select("hadm_id", "slot")
    if len(rows):
        Progress(run.quiet).say(
            f"notes: {len(rows):,}, {len(unique):,} different; vectors in {out}"
        )
    else:
        Progress(run.quiet).say("notes: this run has none; going on without")
    starts = range(0, max(len(rows), 1), ROWS_PER_FILE)  # without notes, one file of no rows
    return [_write(run, out, at, rows, vectors) for at in starts]


def read_index(notes: Folder) -> pl.DataFrame:
    """Where each note is: hadm_id, note_hash, file, row_group and row within it. Reads no text."""
    import polars as pl
    import pyarrow.parquet as pq

    types = (pl.Int64, pl.String, pl.String, pl.Int64, pl.Int64)
    parts = [pl.DataFrame(schema=dict(zip(INDEX, types, strict=True)))]
    for name in (n for n in notes.names() if n.endswith(".parquet")):
        with notes.open(name) as source:
            file = pq.ParquetFile(source)
            for group in range(file.num_row_groups):
                ids: Any = pl.from_arrow(file.read_row_group(group, ["hadm_id", "note_hash"]))
                where = {"file": pl.lit(name), "row_group": pl.lit(group, pl.Int64)}
                row = pl.int_range(pl.len(), dtype=pl.Int64).alias("row")
                parts.append(ids.with_columns(row, **where).select(*INDEX))
    return pl.concat(parts)


def _vectors(run: Run, notes: Folder, unique: pl.DataFrame) -> npt.NDArray[np.float32]:
    """Vectors (U, E) of the U different notes, computed by a pool of actors."""
    import numpy as np

    vectors = np.empty((len(unique), NOTE_WIDTH), np.float32)
    if not len(unique):
        return vectors
    slot = {note_hash: at for at, note_hash in enumerate(unique["note_hash"])}
    tasks = list(_tasks(unique))
    done, start = 0, time.perf_counter()
    for block in _pool(run, notes, tasks).iter_batches(batch_size=None, batch_format="pyarrow"):
        at = [slot[note_hash] for note_hash in block["note_hash"].to_pylist()]
        flat = block["embedding"].combine_chunks().flatten().to_numpy()
        vectors[at] = flat.reshape(-1, NOTE_WIDTH)
        done += len(at)
        if Progress(run.quiet).is_watched:
            rate = done / (time.perf_counter() - start)
            left = f"{(len(unique) - done) / rate:,.0f} s left"
            Progress(run.quiet).say(f"notes: {done:,} of {len(unique):,}, {rate:,.0f}/s, {left}")
    return vectors


def _tasks(unique: pl.DataFrame) -> list[dict[str, Any]]:
    """Pieces of work: rows of one row group. They, and so the bytes, depend on the notes alone."""
    tasks = []
    for (file, group), part in unique.group_by(["file", "row_group"], maintain_order=True):
        rows = part["row"].to_list()
        for at in range(0, len(rows), NOTES_PER_TASK):
            tasks.append({"file": file, "row_group": group, "rows": rows[at : at + NOTES_PER_TASK]})
    return tasks


def _pool(run: Run, notes: Folder, tasks: list[dict[str, Any]]) -> ray.data.Dataset:
    import ray

    from medhmp.notes.encoder import Embedder

    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    size = min(len(tasks), gpus or max(1, int(resources.get("CPU", 1))))
    return ray.data.from_items(tasks, override_num_blocks=len(tasks)).map_batches(
        Embedder,
        fn_constructor_args=(notes, run.notes),
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=size, initial_size=size),
        num_cpus=1,
        num_gpus=1 if gpus else 0,
    )


def _write(
    run: Run, out: Folder, at: int, rows: pl.DataFrame, vectors: npt.NDArray[np.float32]
) -> Entry:
    import pyarrow as pa

    from medhmp.notes.encoder import as_lists
    from medhmp.shards import schema

    part = rows.slice(at, ROWS_PER_FILE)
    columns = [pa.array(part["hadm_id"].to_numpy()), as_lists(vectors[part["slot"].to_numpy()])]
    table = pa.Table.from_arrays(columns, schema=schema.NOTE_EMBEDDINGS)
    name = f"part-{at // ROWS_PER_FILE:05}.parquet"
    # Random mantissas gain nothing from a dictionary.
    return out.write_parquet(name, table, row_group_size=run.shards.row_group, use_dictionary=False)


def _is_done(run: Run, notes: Folder, out: Folder, stamp: Stamp, expected: int) -> bool:
    """As ``storage.is_done``, but never removes vectors whose text is gone: none could be made."""
    from medhmp.storage import is_done

    if not expected or notes.names():
        return is_done(out, stamp, run.overwrite)
    try:
        if is_done(out, stamp):
            return True
    except Refusal:
        if not run.overwrite:
            raise
    raise Refusal(
        f"{notes} is gone, as text is deleted once it is embedded, so {out} cannot be made again; "
        "run jobs.featurize with --overwrite first, and keep the text with --notes.keep-text"
    )


def main() -> NoReturn:
    """The command line of this job."""
    command.main(__doc__, embed_notes, READS)


if __name__ == "__main__":
    main()
