"""Columns of the Parquet shards.

Shards are sparse. A stay is CSR over its hours: ``feature_ids`` lists the features that are on,
hour after hour, and ``hour_offsets`` (T+1 of them) says where each hour begins: hour t holds
``feature_ids[hour_offsets[t]:hour_offsets[t + 1]]``. ``feature_values`` and ``demographic_values``,
as long as their ids, exist only when features are real numbers (``features.discretize`` false).

With ``features.numbers`` a stay has the same CSR of numbers: ``number_ids``, ``number_offsets`` and
``number_values`` are the last number of each hour and numeric variable as its rank-Gaussian, from
which hours since the last reading follow. ``statistics`` (Q of them, NaN where there is none) are
ranks among training stays. The manifest has the names, and the quantiles that give numbers back.

Rows are ordered by hash(salt, subject_id), then admission time, then stay_id, so neighbors in a
file are unrelated patients and the bytes do not depend on who wrote them.

The tensors that a batch of rows becomes, and their keys, are in ``medhmp/batch.py``: a list here
has the name of its key there.
"""

import pyarrow as pa

from medhmp.batch import DEMOGRAPHICS, DRUG, HOURS, ICD, NUMBERS, STATISTICS
from medhmp.layout import TIME


def id_type(vocabulary: int) -> pa.DataType:
    """The narrowest unsigned type that holds the ids of a vocabulary of this size."""
    return pa.uint16() if vocabulary <= 1 << 16 else pa.uint32()


def stay_fields(
    hours: int,
    features: int,
    demographics: int,
    real_valued: bool,
    numbers: int = 0,
    statistics: int = 0,
) -> list[pa.Field]:
    """Fields of one stay's content: the CSR over hours, and its demographic features; with numeric
    variables, the CSR of their numbers over hours, and statistics of them."""
    fields = [
        pa.field("stay_id", pa.int64()),
        pa.field(HOURS.offsets, pa.list_(pa.uint32(), hours + 1)),
        pa.field(HOURS.ids, pa.list_(id_type(features))),
    ]
    if real_valued:
        fields.append(pa.field(HOURS.values, pa.list_(pa.float32())))
    fields.append(pa.field(DEMOGRAPHICS.ids, pa.list_(id_type(demographics))))
    if real_valued:
        fields.append(pa.field(DEMOGRAPHICS.values, pa.list_(pa.float32())))
    if numbers:
        fields += [
            pa.field(NUMBERS.offsets, pa.list_(pa.uint32(), hours + 1)),
            pa.field(NUMBERS.ids, pa.list_(id_type(numbers))),
            pa.field(NUMBERS.values, pa.list_(pa.float32())),
            pa.field(STATISTICS, pa.list_(pa.float32(), statistics)),
        ]
    return fields


def stays(
    hours: int,
    features: int,
    demographics: int,
    real_valued: bool,
    numbers: int = 0,
    statistics: int = 0,
) -> pa.Schema:
    """One row per ICU stay."""
    return pa.schema(
        [
            pa.field("source", pa.string()),
            pa.field("subject_id", pa.int64()),
            pa.field("hadm_id", pa.int64()),
            pa.field("split", pa.string()),
            pa.field("intime", TIME),
            *stay_fields(hours, features, demographics, real_valued, numbers, statistics),
        ]
    )


def admissions(
    hours: int,
    features: int,
    demographics: int,
    real_valued: bool,
    diagnoses: int,
    drugs: int,
    numbers: int = 0,
    statistics: int = 0,
) -> pa.Schema:
    """One row per admission; its stays are nested, in time order."""
    of_numbers = (numbers, statistics)
    stay = pa.struct(stay_fields(hours, features, demographics, real_valued, *of_numbers))
    return pa.schema(
        [
            pa.field("source", pa.string()),
            pa.field("subject_id", pa.int64()),
            pa.field("hadm_id", pa.int64()),
            pa.field("split", pa.string()),
            pa.field("admitted", TIME),
            pa.field("discharged", TIME),
            pa.field(ICD.ids, pa.list_(id_type(diagnoses))),
            pa.field(DRUG.ids, pa.list_(id_type(drugs))),
            pa.field("stays", pa.list_(stay)),
        ]
    )


def patients(diagnoses: int) -> pa.Schema:
    """One row per patient; admissions are nested, in time order."""
    visit = pa.struct(
        [
            pa.field("hadm_id", pa.int64()),
            pa.field("admitted", TIME),
            pa.field("discharged", TIME),
            pa.field(ICD.ids, pa.list_(id_type(diagnoses))),
        ]
    )
    return pa.schema(
        [
            pa.field("source", pa.string()),
            pa.field("subject_id", pa.int64()),
            pa.field("split", pa.string()),
            pa.field("visits", pa.list_(visit)),
        ]
    )
