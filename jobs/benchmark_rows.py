"""Random stays and admissions of the paper's sizes, in memory and as shards."""

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from medhmp.legend import NOTE_WIDTH, Widths
from medhmp.shards import schema
from medhmp.shards.csr import Csr, from_lengths
from medhmp.shards.rows import Admissions, Stays
from medhmp.shards.stream import Plan
from medhmp.storage import Folder

PAPER: Final = Widths(hours=48, features=1318, demographics=73, diagnoses=7686, drugs=1701)
POOL: Final = 6144
"""Different rows of ids that are drawn; more rows than that repeat some."""


def random_stays(n: int, active: int, widths: Widths = PAPER, seed: int = 0) -> Stays:
    """n stays with ``active`` features on in every hour."""
    random, ids = np.random.default_rng(seed), np.arange(n)
    hours = _sets(random, n * widths.hours, active, widths.features)
    return Stays(ids, ids, hours, _sets(random, n, 10, widths.demographics))


def random_admissions(n: int, active: int, widths: Widths = PAPER, seed: int = 0) -> Admissions:
    """n admissions of one stay each, with 12 diagnoses, 20 drugs and a note."""
    random, ids = np.random.default_rng(seed), np.arange(n)
    return Admissions(
        subject_id=ids,
        row_id=ids,
        icd=_sets(random, n, 12, widths.diagnoses),
        drug=_sets(random, n, 20, widths.drugs),
        note=random.standard_normal((n, NOTE_WIDTH)).astype(np.float32),
        has_note=np.ones(n, np.bool_),
        stays=random_stays(n, active, widths, seed),
        stay_rows=Csr(from_lengths(np.ones(n, np.int64)), ids),
        max_stays=3,
    )


def write_stays(folder: Folder, stays: Stays, files: int, batch: int, budget: float) -> Plan:
    """Writes ``stays/part-*.parquet`` as featurize would; returns how to read them."""
    target = schema.stays(PAPER.hours, PAPER.features, PAPER.demographics, real_valued=False)
    rows = {}
    for at, part in enumerate(np.array_split(np.arange(len(stays)), files)):
        name = f"part-{at:05d}.parquet"
        table = _table(stays, part, target)
        (folder / "stays").write_parquet(name, table, row_group_size=4096)
        rows[name] = len(part)
    return Plan(folder.uri, "stays", rows, ("train",), batch, 0, budget, max_stays=3)


def _table(stays: Stays, rows: npt.NDArray[np.int64], target: pa.Schema) -> pa.Table:
    steps = stays.hours_per_stay
    hours = stays.hours.take((rows[:, None] * steps + np.arange(steps)).ravel())
    within = hours.offsets[np.arange(len(rows))[:, None] * steps + np.arange(steps + 1)]
    within -= within[:, :1]
    demographics = stays.demographics.take(rows)
    columns = {
        "source": pa.array(["random"] * len(rows)),
        "subject_id": pa.array(stays.subject_id[rows]),
        "hadm_id": pa.array(stays.subject_id[rows]),
        "split": pa.array(["train"] * len(rows)),
        "stay_id": pa.array(stays.row_id[rows]),
        "hour_offsets": pa.FixedSizeListArray.from_arrays(
            pa.array(within.ravel(), pa.uint32()), steps + 1
        ),
        "feature_ids": _lists(hours.offsets[::steps], hours.values),
        "demographic_ids": _lists(demographics.offsets, demographics.values),
    }
    return pa.table([columns[name] for name in target.names], schema=target)


def _lists(offsets: npt.NDArray[np.int64], values: npt.NDArray[np.generic]) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, pa.uint16()))


def _sets(random: np.random.Generator, rows: int, length: int, vocabulary: int) -> Csr:
    """Rows of ``length`` different ids each, ascending."""
    pool = random.random((min(rows, POOL), vocabulary)).argpartition(length, 1)[:, :length]
    pool.sort(1)
    drawn = pool if rows <= POOL else pool[random.integers(0, POOL, rows)]
    return Csr(from_lengths(np.full(rows, length)), drawn.ravel().astype(np.uint16))
