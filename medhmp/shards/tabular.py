"""Rows as counted features, for models that take a plain matrix.

One count per feature: the hours it is on, plus demographics and codes. The same information as the
networks get, less the order of hours. Or statistics of numbers (``features.numbers``) beside counts
of everything that is no number.
"""

import numpy as np

from medhmp.arrays import Floats32
from medhmp.legend import Widths
from medhmp.shards.csr import Csr
from medhmp.shards.rows import Admissions, Patients, Stays


def counted(rows: Stays | Admissions | Patients, widths: Widths) -> Floats32:
    """Counts (n, D) of n rows. D is F + P for stays, F + P + C + G + E for admissions, C for
    patients."""
    if isinstance(rows, Stays):
        return np.hstack(_stay_counts(rows, widths))
    if isinstance(rows, Patients):
        # Visits lie one after another, so the codes of a patient's visits do, too.
        return _count(Csr(rows.icd.offsets[rows.visits.offsets], rows.icd.values), widths.diagnoses)
    stays = [_sum_rows(part, rows.stay_rows) for part in _stay_counts(rows.stays, widths)]
    codes = [_count(rows.icd, widths.diagnoses), _count(rows.drug, widths.drugs)]
    return np.hstack([*stays, *codes, rows.note])


def blocks(rows: Stays | Admissions | Patients, widths: Widths) -> tuple[int, ...]:
    """Columns of ``counted`` by kind: of stays, of diagnoses, of drugs, of the note."""
    stays = widths.features + widths.demographics
    if isinstance(rows, Stays):
        return (stays,)
    if isinstance(rows, Patients):
        return (widths.diagnoses,)
    return (stays, widths.diagnoses, widths.drugs, rows.note.shape[1])


def with_statistics(rows: Stays | Admissions | Patients, widths: Widths) -> Floats32:
    """Statistics as ranks (n, Q), NaN where there is none, then counts of what is no number.

    Those are demographics for stays; for admissions, whose statistics are means over their stays,
    also diagnoses, drugs and the note.
    """
    assert not isinstance(rows, Patients)  # the catalog has no such model of patients
    if isinstance(rows, Stays):
        assert rows.statistics is not None
        return np.hstack([rows.statistics, _stay_counts(rows, widths)[1]])
    assert rows.stays.statistics is not None
    of_stays = _mean_rows(rows.stays.statistics, rows.stay_rows)
    demographics = _sum_rows(_stay_counts(rows.stays, widths)[1], rows.stay_rows)
    codes = [_count(rows.icd, widths.diagnoses), _count(rows.drug, widths.drugs)]
    return np.hstack([of_stays, demographics, *codes, rows.note])


def statistics_blocks(rows: Stays | Admissions | Patients, widths: Widths) -> tuple[int, ...]:
    """Columns of ``with_statistics`` by kind, the statistics first."""
    assert not isinstance(rows, Patients)
    of_stays = (widths.statistics, widths.demographics)
    if isinstance(rows, Stays):
        return of_stays
    return (*of_stays, widths.diagnoses, widths.drugs, rows.note.shape[1])


def _stay_counts(stays: Stays, widths: Widths) -> tuple[Floats32, Floats32]:
    """Counts (n, F) of hours with each feature on, or sums of its values; demographics (n, P)."""
    whole = Csr(stays.hours.offsets[:: max(stays.hours_per_stay, 1)], stays.hours.values)
    return (
        _count(whole, widths.features, stays.feature_values),
        _count(stays.demographics, widths.demographics, stays.demographic_values),
    )


def _count(ids: Csr, width: int, weights: Floats32 | None = None) -> Floats32:
    row = np.repeat(np.arange(len(ids)), ids.lengths)
    flat = np.bincount(row * width + ids.values.astype(np.int64), weights, len(ids) * width)
    return flat.reshape(len(ids), width).astype(np.float32)


def _sum_rows(matrix: Floats32, groups: Csr) -> Floats32:
    """Row i: the sum of the matrix's rows in group i."""
    total = np.zeros((len(groups) + 1, matrix.shape[1]), np.float32)
    owner = np.repeat(np.arange(len(groups)), groups.lengths)
    np.add.at(total, owner, matrix[groups.values.astype(np.int64)])
    return total[:-1]


def _mean_rows(matrix: Floats32, groups: Csr) -> Floats32:
    """Row i: the mean of the known values of the matrix's rows in group i; NaN without any."""
    total = _sum_rows(np.nan_to_num(matrix), groups)
    counts = _sum_rows((~np.isnan(matrix)).astype(np.float32), groups)
    none = np.full_like(total, np.nan)
    return np.divide(total, counts, out=none, where=counts > 0)
