"""Blocks of patients, and the readings that charted items take of a stay's axes.

The docstring of the package has the equation of a reading.
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, Final

import numpy as np
import polars as pl

from medhmp.arrays import Floats, Ints
from medhmp.synthetic.items import LABS, TYPICAL, UNIT_ITEMS, VITALS, fields
from medhmp.synthetic.latents import MAX_VISITS, Admissions, Bools, Patients, Stays
from medhmp.synthetic.signal import (
    AXES,
    DENSE,
    JITTER,
    LAB_HOURS,
    LAB_LOADING,
    LAYOUT_SEED,
    MISSING,
    NOISE,
    OFFSET,
    THIN,
    UNIT_HOURS,
    UNIT_LOADING,
    UNITS,
    VITAL_HOURS,
    VITAL_LOADINGS,
)

FIRST_SUBJECT: Final = 10_000
FIRST_ADMISSION: Final = 100_000
FIRST_STAY: Final = 200_000


@dataclass(frozen=True)
class Block:
    """A block of patients with their courses."""

    start: int  # number of its first patient in the cohort
    patients: Patients
    admissions: Admissions
    stays: Stays
    density: float  # divides the hours between two readings of an item

    @property
    def subject_id(self) -> Ints:
        """Id of each patient."""
        return FIRST_SUBJECT + self.start + np.arange(len(self.patients.birth))

    @property
    def hadm_id(self) -> Ints:
        """Id of each admission."""
        patient = self.start + self.admissions.patient
        return FIRST_ADMISSION + MAX_VISITS * patient + self.admissions.visit

    @property
    def stay_id(self) -> Ints:
        """Id of each stay."""
        admission = self.hadm_id[self.stays.admission] - FIRST_ADMISSION
        return FIRST_STAY + 2 * admission + self.stays.order

    def of_admissions(self, rows: Ints) -> dict[str, Any]:
        """Identifier columns of events that belong to the given admissions."""
        subjects = self.subject_id[self.admissions.patient[rows]]
        return {"SUBJECT_ID": subjects, "HADM_ID": self.hadm_id[rows]}

    def of_stays(self, rows: Ints) -> dict[str, Any]:
        """Identifier columns of events that belong to the given stays."""
        admissions = self.of_admissions(self.stays.admission[rows])
        return {**admissions, "ICUSTAY_ID": self.stay_id[rows]}

    def seconds(self, rows: Ints, hours: Floats) -> Ints:
        """Times, to the minute, of events ``hours`` after the given stays begin."""
        return self.stays.intime[rows] + np.rint(hours * 60).astype(np.int64) * 60


@dataclass(frozen=True)
class Catalog:
    """I numeric items."""

    ids: Ints
    units: list[str]
    mean: Floats
    sd: Floats
    decimals: Ints
    loadings: Floats  # (I, 6): weight of each axis
    interval: Floats  # (I, 2): least and most hours between readings


@dataclass(frozen=True)
class Readings:
    """Readings of items in stays."""

    stay: Ints  # index of the stay in its block
    item: Ints  # index of the item in its catalog
    hours: Floats  # since unit admission
    latent: Floats  # the value in SD of the item


def repeated(word: str, n: int) -> pl.Series:
    """A text column of one value; an empty value is null."""
    return pl.repeat(word or None, n, dtype=pl.String, eager=True)


def times(seconds: Ints) -> pl.Series:
    """Seconds since 1970 as a column of naive times."""
    return pl.Series(seconds * 1000).cast(pl.Datetime("ms"))


def look_up(values: list[str], rows: Ints) -> pl.Series:
    """A text column that takes ``rows`` from ``values``; an empty value is null."""
    return pl.Series([value or None for value in values], dtype=pl.String).gather(rows)


@cache
def chart_catalog() -> tuple[Catalog, Ints]:
    """Vital signs and the items of all units; and, (5, 6 + 24), the rows that each unit charts."""
    typical = {unit: values for unit, *values in fields(TYPICAL)}
    vitals = [(row[0], row[3], *row[4:]) for row in fields(VITALS)]
    own = [[(i, u, *typical[u]) for i, _, _, u in fields(UNIT_ITEMS[unit])] for unit in UNITS]
    rows = vitals + [item for items in own for item in items]
    loadings = np.concatenate([VITAL_LOADINGS, *_deal([len(items) for items in own])])
    interval = np.concatenate([VITAL_HOURS, [UNIT_HOURS] * (len(rows) - len(vitals))])
    ends = len(vitals) + np.cumsum([0, *map(len, own)])
    charted = [[*range(len(vitals)), *range(a, b)] for a, b in pairwise(ends)]
    return _catalog(rows, loadings, interval), np.array(charted)


def _deal(counts: list[int]) -> list[Floats]:
    """Draws loadings (count, 6) of each unit's items: each axis equally often, any sign."""
    rng = np.random.default_rng(LAYOUT_SEED)
    dealt = []
    for count in counts:
        axis = rng.permutation(np.arange(count) % len(AXES))
        strength = rng.uniform(*UNIT_LOADING, count) * rng.choice([-1.0, 1.0], count)
        dealt.append(strength[:, None] * np.eye(len(AXES))[axis])
    return dealt


@cache
def lab_catalog() -> Catalog:
    """Laboratory items, each on the axis that its last field names."""
    rows = [(row[0], row[5], *row[6:9]) for row in fields(LABS)]
    loadings = np.stack([LAB_LOADING * along(row[9]) for row in fields(LABS)])
    return _catalog(rows, loadings, np.array([LAB_HOURS] * len(rows)))


def along(axis: str) -> Floats:
    """The unit vector of an axis by name; a minus reverses it, no name gives zeros."""
    name = axis.lstrip("-")
    vector = np.array([float(name == a) for a in AXES])
    return -vector if axis.startswith("-") else vector


def _catalog(rows: list[tuple[str, ...]], loadings: Floats, interval: Floats) -> Catalog:
    ids, units, mean, sd, decimals = zip(*rows, strict=True)
    numbers = [np.array(column, dtype=float) for column in (ids, mean, sd, decimals)]
    return Catalog(
        numbers[0].astype(np.int64),
        list(units),
        numbers[1],
        numbers[2],
        numbers[3].astype(np.int64),
        loadings,
        interval,
    )


def read(
    rng: np.random.Generator,
    stays: Stays,
    rows: Ints,
    loadings: Floats,
    interval: Floats,
    begin: float,
) -> Readings:
    """Draws all readings of the items ``rows`` (S, k), indices of ``loadings`` and ``interval``."""
    pair, hours = schedule(rng, stays.hours, interval[rows], begin)
    weights = loadings[rows]
    level = np.einsum("ska,sa->sk", weights, stays.level).ravel()
    level += rng.normal(0, OFFSET, level.shape)
    slope = np.einsum("ska,sa->sk", weights, stays.slope).ravel()
    elapsed = np.clip((hours - 24) / 24, -1.5, 1.5)
    latent = level[pair] + slope[pair] * elapsed + rng.normal(0, NOISE, len(pair))
    return Readings(pair // rows.shape[1], rows.ravel()[pair], hours, latent)


def schedule(
    rng: np.random.Generator, length: Floats, interval: Floats, begin: float
) -> tuple[Ints, Floats]:
    """Draws (pair, hours) of all readings of S x k pairs of stay and item; intervals (S, k, 2)."""
    step = rng.uniform(interval[..., 0], interval[..., 1]).ravel()
    end = np.repeat(length, interval.shape[1])
    phase = rng.random(len(step))
    dense = np.ceil(np.maximum((np.minimum(end, DENSE) - begin) / step - phase, 0))
    thin = np.ceil(np.maximum((end - DENSE) / (step * THIN) - phase, 0))
    parts = []
    for start, pace, count in ((begin, step, dense), (DENSE, step * THIN, thin)):
        pair, turn = ragged(count.astype(np.int64))
        jitter = rng.uniform(0, JITTER, len(pair))
        parts.append((pair, start + pace[pair] * (phase[pair] + turn + jitter)))
    pair, hours = (np.concatenate(column) for column in zip(*parts, strict=True))
    kept = (rng.random(len(pair)) > MISSING) & (hours < end[pair])
    return pair[kept], hours[kept]


def ragged(counts: Ints) -> tuple[Ints, Ints]:
    """For groups of these sizes: the group of every member, and its number inside the group."""
    group = np.repeat(np.arange(len(counts)), counts)
    return group, np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)


def numbers(catalog: Catalog, readings: Readings) -> Floats:
    """Values in the items' units and decimals, at least 0; percentages at most 100."""
    item = readings.item
    ceiling = np.array([100.0 if unit == "%" else np.inf for unit in catalog.units])
    value = catalog.mean[item] + catalog.sd[item] * readings.latent
    power = 10.0 ** catalog.decimals[item]
    rounded: Floats = np.rint(np.clip(value, 0, ceiling[item]) * power) / power
    return rounded


def as_text(values: Floats) -> pl.Series:
    """Numbers as MIMIC writes them: whole numbers without decimals."""
    return pl.Series(values).cast(pl.String).str.strip_suffix(".0")


def some_stays(rng: np.random.Generator, block: Block, share: float) -> Bools:
    """True for stays drawn with the given probability."""
    return rng.random(len(block.stays.hours)) < share
