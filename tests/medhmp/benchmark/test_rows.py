"""Random shards: rows of the sizes asked for, read as any others."""

import itertools

import numpy as np
import pytest

from medhmp.benchmark.rows import DEMOGRAPHICS_EACH, DIAGNOSES_EACH, DRUGS_EACH, write_rows
from medhmp.layout import NOTE_EMBEDDINGS
from medhmp.legend import Widths
from medhmp.shards import schema
from medhmp.shards.note_vectors import read_notes
from medhmp.shards.rows import Admissions, Stays
from medhmp.storage import Folder, opened

WIDTHS = Widths(hours=3, features=25, demographics=11, diagnoses=40, drugs=23)
SIZES = (WIDTHS.hours, WIDTHS.features, WIDTHS.demographics, False)


def rows_of(offsets, ids):
    return [ids[a:b].tolist() for a, b in itertools.pairwise(offsets.tolist())]


@pytest.mark.parametrize("table", ["stays", "admissions"])
def test_shards_have_the_sizes_asked_for(tmp_path, table):
    shards = Folder(str(tmp_path))
    plan = write_rows(shards, table, 17, WIDTHS, batch_size=4, files=3, active=6)
    assert sum(plan.rows_per_file.values()) == 17
    assert plan.steps(1) == 5
    target = {
        "stays": schema.stays(*SIZES),
        "admissions": schema.admissions(*SIZES, WIDTHS.diagnoses, WIDTHS.drugs),
    }[table]
    subjects = []
    for name, rows in plan.rows_per_file.items():
        content = shards.read_parquet(f"{table}/{name}")
        assert content.column_names == target.names
        assert content.num_rows == rows
        if table == "stays":
            read = Stays.from_arrow(content)
        else:
            read = Admissions.from_arrow(
                content, 3, read_notes(opened(shards / NOTE_EMBEDDINGS, "embed_notes"))
            )
        batch = read.batch(np.arange(rows))
        subjects += batch["subject_id"].tolist()
        check(batch, "hour", "feature", 6, WIDTHS.features)
        check(batch, "demographic", "demographic", DEMOGRAPHICS_EACH, WIDTHS.demographics)
        if table == "admissions":
            check(batch, "icd", "icd", DIAGNOSES_EACH, WIDTHS.diagnoses)
            check(batch, "drug", "drug", DRUGS_EACH, WIDTHS.drugs)
            assert batch["stay_slot"].tolist() == [3 * row for row in range(rows)]
            assert batch["has_note"].all()
    assert subjects == list(range(17))


def check(batch, of, ids, each, width):
    """Every row has as many distinct ids as asked for."""
    for row in rows_of(batch[f"{of}_offsets"], batch[f"{ids}_ids"]):
        assert len(row) == len(set(row)) == each
        assert 0 <= min(row) <= max(row) < width
