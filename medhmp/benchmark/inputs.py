"""Inputs for measuring featurization: FIDDLE's timing input, and dense MIMIC-III tables.

All values are drawn from a seeded generator; none is a patient's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from medhmp.arrays import Floats, Ints
from medhmp.run import Synthetic
from medhmp.storage import Folder
from medhmp.synthetic import synthesize
from medhmp.synthetic.write import BLOCK as PATIENTS
from medhmp.synthetic.write import draw_block
from medhmp.tables.csv import INTEGER, TIME, RawTables

HOURS: Final = 48
SEED: Final = 7
FIRST_ID: Final = 100_000
TICK: Final = 1e-4
"""Resolution of the times of FIDDLE's timing input, in hours."""
IDS: Final = 1000
"""IDs of FIDDLE's timing input drawn at once."""
GZIP_LEVEL: Final = 6
"""Compression of the MIMIC-III tables that PhysioNet ships."""

Rng = np.random.Generator


def write_fiddle(folder: Folder, ids: int) -> None:
    """Writes ``data.csv`` and ``pop.csv``, about 820 rows per ID: FIDDLE's own timing input.

    60 variables have a time: ten vital signs at 1.15 readings an hour; thirty labs, each for 20 to
    90 % of the IDs, every 6 to 12 hours; five results that are a number or "<1"; ten categories of
    3 to 8 values; five rates, hourly while they run, each for 10 to 40 % of the IDs. Eight have no
    time. Each (ID, t, variable) occurs once.
    """
    every = np.arange(ids)
    folder.write_bytes("pop.csv", pl.DataFrame({"ID": FIRST_ID + every}).write_csv().encode())
    rng = np.random.default_rng(SEED)
    variables = _Variables(rng)
    with folder.create("data.csv") as sink:
        for start in range(0, ids, IDS):
            drawn = variables.draw(rng, min(IDS, ids - start))
            frame = pl.concat(drawn).sort("ID", maintain_order=True)
            rows = frame.with_columns(pl.col("ID") + FIRST_ID + start)
            sink.write(rows.write_csv(include_header=start == 0).encode())


class _Variables:
    """The variables of FIDDLE's timing input; shares and gaps are drawn once for all IDs."""

    def __init__(self, rng: Rng) -> None:
        self._lab_share, self._lab_gap = rng.uniform(0.2, 0.9, 30), rng.uniform(6, 12, 30)
        self._rate_share = rng.uniform(0.1, 0.4, 5)
        self._levels = rng.integers(3, 9, 10)

    def draw(self, rng: Rng, n: int) -> Iterator[pl.DataFrame]:
        """Draws a frame for each variable, with IDs from 0 to n - 1."""
        every = np.arange(n)
        for k in range(3):
            yield _rows(f"STATIC_NUM_{k}", every, None, rng.normal(60, 15, n).round(2))
        for k in range(5):
            yield _rows(f"STATIC_CAT_{k}", every, None, _words("s", rng, 4 + 3 * k, n))
        for k in range(10):
            who, t = _moments(rng, every, 1.15 * HOURS)
            yield _rows(f"VITAL_{k:02}", who, t, rng.normal(80 + k, 10, len(t)).round(1))
        for k, (share, gap) in enumerate(zip(self._lab_share, self._lab_gap, strict=True)):
            who, t = _moments(rng, every[rng.random(n) < share], HOURS / gap)
            yield _rows(f"LAB_{k:02}", who, t, rng.gamma(2 + k % 5, 3.0, len(t)).round(2))
        for k in range(5):
            who, t = _moments(rng, every, HOURS / 8)
            below = pl.Series(rng.random(len(t)) < 0.2)
            number = pl.Series(rng.gamma(2, 2, len(t)).round(1)).cast(pl.String)
            yield _rows(f"MIX_{k:02}", who, t, pl.select(_either(below, "<1", number)).to_series())
        for k, levels in enumerate(self._levels):
            who, t = _moments(rng, every, HOURS / 4)
            yield _rows(f"CAT_{k:02}", who, t, _words("c", rng, levels, len(t)))
        for k, share in enumerate(self._rate_share):
            who, hour = _running(rng, every[rng.random(n) < share])
            yield _rows(f"RATE_{k:02}", who, hour + 0.5, rng.gamma(2, 0.05, len(who)).round(4))


def _rows(name: str, who: Ints, t: Any, values: Any) -> pl.DataFrame:
    """Rows of FIDDLE's table; without ``t``, of values that do not change with time."""
    frame = pl.DataFrame({"ID": who, "variable_value": pl.Series(values).cast(pl.String)})
    time = pl.lit(None, pl.Float64) if t is None else pl.Series(t, dtype=pl.Float64)
    return frame.select("ID", t=time, variable_name=pl.lit(name), variable_value="variable_value")


def _either(when: pl.Series, text: str, other: pl.Series) -> pl.Expr:
    return pl.when(when).then(pl.lit(text)).otherwise(other)


def _words(letter: str, rng: Rng, levels: int, n: int) -> pl.Series:
    return letter + pl.Series(rng.integers(0, levels, n)).cast(pl.String)


def _moments(rng: Rng, who: Ints, mean: float) -> tuple[Ints, Floats]:
    """(ID, t) of readings, a Poisson number for each ID, ascending, no two at the same time."""
    ticks = round(HOURS / TICK)
    owner = np.repeat(who, rng.poisson(mean, len(who)))
    drawn = np.unique(owner * ticks + rng.integers(0, ticks, len(owner)))
    return drawn // ticks, np.round(drawn % ticks * TICK, 4)


def _running(rng: Rng, who: Ints) -> tuple[Ints, Ints]:
    """(ID, hour) of one period per ID, which starts at a random hour and lasts at most a day."""
    start = rng.integers(0, HOURS, len(who))
    length = np.minimum(HOURS - start, 1 + rng.integers(0, 24, len(who)))
    within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    return np.repeat(who, length), np.repeat(start, length) + within


def write_mimic3(folder: Folder, stays: int, density: float) -> None:
    """Writes a synthetic cohort with at least ``stays`` stays (whole patients, so possibly a few
    more)."""
    settings = Synthetic(patients=_patients(stays), density=density)
    synthesize(settings, folder, gzip_level=GZIP_LEVEL)


def _patients(stays: int) -> int:
    """The smallest number of patients who have at least ``stays`` stays."""
    had = 0
    for start in range(0, stays, PATIENTS):  # every patient has at least one
        block, _ = draw_block(Synthetic(), start)
        patients = block.admissions.patient[block.stays.admission]
        total = had + np.cumsum(np.bincount(patients, minlength=PATIENTS))
        if total[-1] >= stays:
            return start + int(np.argmax(total >= stays)) + 1
        had = int(total[-1])
    raise AssertionError("a patient without a stay")


TIMES: Final = {
    "CHARTEVENTS": "charttime",
    "LABEVENTS": "charttime",
    "INPUTEVENTS_MV": "starttime",
    "OUTPUTEVENTS": "charttime",
    "PROCEDUREEVENTS_MV": "starttime",
    "DATETIMEEVENTS": "charttime",
}
"""Tables of items -> the column with the time of a row."""


@dataclass(frozen=True)
class Facts:
    """Contents of MIMIC-III tables."""

    rows: int  # of items
    items: int  # different ones
    inside: float  # share of the rows within 48 hours of a stay of their admission


def facts(folder: Folder) -> Facts:
    """Reads the tables of items once and counts."""
    raw = RawTables.find(folder, ("ICUSTAYS", *TIMES))
    stays = raw.whole("ICUSTAYS", {"hadm_id": INTEGER, "intime": TIME}).group_by("hadm_id")
    begins = stays.agg(first=pl.col("intime").min(), last=pl.col("intime").max())
    rows, inside, items = 0, 0, set[int]()
    for table, time in TIMES.items():
        for block in raw.scan(table, {"hadm_id": INTEGER, "itemid": INTEGER, time: TIME}):
            own = block.join(begins, on="hadm_id")
            near = pl.any_horizontal(
                pl.col(time).is_between(begin, pl.col(begin) + pl.duration(hours=HOURS), "left")
                for begin in ("first", "last")
            )
            rows, inside = rows + block.height, inside + own.filter(near).height
            items |= set(block["itemid"].unique())
    return Facts(rows, len(items), inside / rows)
