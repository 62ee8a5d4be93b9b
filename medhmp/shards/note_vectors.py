"""The published vectors of a run's notes, of the admissions that are asked for."""

import pyarrow as pa

from medhmp.arrays import Ints
from medhmp.shards.row_groups import filtered
from medhmp.shards.rows import NoteVectors
from medhmp.storage import Output


def read_notes(vectors: Output, hadm: Ints | None = None) -> NoteVectors:
    """Reads published vectors of notes. Refuses a file that is missing or altered.

    ``hadm``: the admissions whose notes are kept in memory; none: all of them.
    """
    wanted = None if hadm is None else pa.array(hadm)
    tables = [
        found
        for name in vectors.files
        if name.endswith(".parquet")
        for found in filtered(vectors.folder, name, vectors.files[name].sha256, "hadm_id", wanted)
    ]
    return NoteVectors.from_arrow(pa.concat_tables(tables)) if tables else NoteVectors.none()
